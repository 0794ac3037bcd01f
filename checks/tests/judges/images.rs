//! Disks, initramfs and archives of the root file system `odd`: what they hold,
//! as e2fsprogs, GNU cpio and GNU tar see it, is what the manifest says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::tools::{Tools, big, text};

/// What the manifest says, in the form `type mode owner [numbers] path`: size of
/// a file, major and minor of a device, target of a link.
fn expected() -> BTreeSet<String> {
    let mut lines: BTreeSet<String> = include_str!("odd.txt").lines().map(str::to_owned).collect();
    let long = format!("{}.txt", "n".repeat(251));
    lines.insert(format!("- 0644 0:0 5 names/{long}"));
    lines.insert(format!("l 0777 0:0 names/link -> {long}"));
    lines.insert(format!("- 0644 0:0 {} var/big", big().len()));
    let mut deep = "usr/share".to_owned();
    for index in 0..8 {
        deep = format!("{deep}/d{index:02}-{}", "x".repeat(40));
        lines.insert(format!("d 0755 0:0 {deep}"));
    }
    lines.insert(format!("- 0644 0:0 5 {deep}/leaf"));
    lines
}

/// Compares sets of lines; what differs is easier to read than both.
fn check(judge: &str, got: BTreeSet<String>) {
    let expected = expected();
    let missing: Vec<_> = expected.difference(&got).collect();
    let odd: Vec<_> = got.difference(&expected).collect();
    assert!(
        missing.is_empty() && odd.is_empty(),
        "{judge}\nexpected, not seen: {missing:#?}\nseen, not expected: {odd:#?}"
    );
}

#[test]
fn images_hold_what_the_manifest_says() {
    let tools = Tools::build();
    let image = tools.kiln("image.odd", "image");
    for format in ["ext3", "ext4"] {
        disk(&tools, &image.join(format!("disk.{format}")), format);
    }
    let packed = fs::read(image.join("initramfs.cpio.gz")).expect("it was built");
    initramfs(&tools, &unpacked(&packed));
    for (compressor, suffix) in [("xz", "xz"), ("zstd", "zst")] {
        let packed = fs::read(image.join(format!("rootfs.tar.{suffix}"))).expect("it was built");
        archive(&tools, &tools.stdout(compressor, &["-dc"], &packed));
    }
}

/// gzip is a script in some distributions; the bytes are judged by another
/// library than the one that wrote them.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(packed);
    std::io::Read::read_to_end(&mut reader, &mut plain).expect("it is one gzip member");
    plain
}

fn disk(tools: &Tools, disk: &Path, format: &str) {
    let checked = tools.run("e2fsck", &["-fn", text(disk)], &[]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let features = tools.stdout("dumpe2fs", &["-h", text(disk)], &[]);
    let features = String::from_utf8_lossy(&features).into_owned();
    assert_eq!(features.contains("extent"), format == "ext4", "{features}");
    assert!(features.contains("has_journal"), "{features}");
    assert!(
        features.contains("Filesystem volume name:   oddities"),
        "{features}"
    );

    let seen: BTreeSet<String> = expected()
        .iter()
        .map(|line| stat(tools, disk, path_of(line)))
        .collect();
    check(format, seen);
    assert!(stat(tools, disk, "").starts_with("d 0755 0:0"));
    // Nothing else is in it: ten reserved inodes and lost+found.
    let summary = String::from_utf8_lossy(&checked.stdout).into_owned();
    let used = format!(": {}/", expected().len() + 11);
    assert!(summary.contains(&used), "{used} in {summary}");

    let copy = tools.path("big");
    debugfs(tools, disk, &format!("dump /var/big {}", text(&copy)));
    assert!(fs::read(&copy).expect("it was copied") == big());
}

/// The path of an expected line.
fn path_of(line: &str) -> &str {
    let skip = match line.as_bytes()[0] {
        b'-' | b'c' | b'b' => 4,
        _ => 3,
    };
    let path = line.splitn(skip + 1, ' ').last().expect("a path is last");
    path.split_once(" -> ").map_or(path, |(path, _)| path)
}

fn debugfs(tools: &Tools, disk: &Path, request: &str) -> String {
    let output = tools.run("debugfs", &["-R", request, text(disk)], &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What debugfs says of a path, in the form of [`expected`].
fn stat(tools: &Tools, disk: &Path, path: &str) -> String {
    let quoted = path.replace('"', "\"\"");
    let said = debugfs(tools, disk, &format!("stat \"/{quoted}\""));
    let after = |key: &str| {
        let rest = said.split_once(key).map(|(_, rest)| rest.trim_start());
        rest.unwrap_or_else(|| panic!("`{key}` of /{path} in {said:?}"))
    };
    let word = |key| after(key).split_whitespace().next().expect("a word");
    let mode = u32::from_str_radix(word("Mode:"), 8).expect("an octal number");
    // debugfs shows ids as if they had a sign.
    let id = |key| word(key).parse::<i64>().expect("a number") as u32;
    let head = format!("{mode:04o} {}:{}", id("User:"), id("Group:"));
    let number = |hex| u32::from_str_radix(hex, 16).expect("a number");
    let device = || {
        let word = after("(hex ").split(')').next().expect("a bracket");
        let (major, minor) = word.split_once(':').expect("two numbers");
        format!("{},{}", number(major), number(minor))
    };
    match word("Type:") {
        "directory" => format!("d {head} {path}"),
        "regular" => format!("- {head} {} {path}", word("Size:")),
        "character" => format!("c {head} {} {path}", device()),
        "block" => format!("b {head} {} {path}", device()),
        "symlink" => {
            let target = match said.contains("Fast link dest:") {
                true => after("Fast link dest: \"")
                    .split('"')
                    .next()
                    .expect("a quote")
                    .to_owned(),
                false => debugfs(tools, disk, &format!("cat \"/{path}\"")),
            };
            format!("l {head} {path} -> {target}")
        }
        other => panic!("/{path} is {other}"),
    }
}

fn initramfs(tools: &Tools, cpio: &[u8]) {
    let listed = tools.stdout("cpio", &["-itv", "--quiet", "--numeric-uid-gid"], cpio);
    let listed = String::from_utf8_lossy(&unescaped(&listed)).into_owned();
    let seen = listed.lines().filter_map(|line| {
        let mut rest = line;
        let mut word = || {
            let (word, tail) = rest.trim_start().split_once(' ').expect("a word");
            rest = tail;
            word
        };
        let (mode, _links, uid, gid) = (word(), word(), word(), word());
        let size = word();
        let numbers = match mode.as_bytes()[0] {
            b'c' | b'b' => format!("{size}{} ", word()),
            b'-' => format!("{size} "),
            _ => String::new(),
        };
        let _date = (word(), word(), word());
        let rest = rest.trim_start();
        (rest != ".").then(|| listing(mode, &format!("{uid}:{gid}"), &numbers, rest))
    });
    check("cpio", seen.collect());
    let args = ["-i", "--quiet", "--to-stdout", "var/big"];
    assert!(tools.stdout("cpio", &args, cpio) == big());
}

fn archive(tools: &Tools, tar: &[u8]) {
    let args = [
        "-tv",
        "--numeric-owner",
        "--quoting-style=literal",
        "--full-time",
    ];
    let listed = String::from_utf8_lossy(&tools.stdout("tar", &args, tar)).into_owned();
    let seen = listed.lines().map(|line| {
        let (mode, rest) = line.split_once(' ').expect("a mode");
        let (owner, rest) = rest.split_once(' ').expect("an owner");
        let (numbers, rest) = rest.trim_start().split_once(' ').expect("a size");
        let rest = rest.strip_prefix("1980-01-02 00:00:00 ");
        let rest = rest.unwrap_or_else(|| panic!("the one time in {line}"));
        let numbers = match mode.as_bytes()[0] {
            b'c' | b'b' | b'-' => format!("{numbers} "),
            _ => String::new(),
        };
        listing(
            mode,
            &owner.replace('/', ":"),
            &numbers,
            rest.trim_end_matches('/'),
        )
    });
    check("tar", seen.collect());
    assert!(tools.stdout("tar", &["-xO", "-f", "-", "var/big"], tar) == big());
}

/// A line of a listing in the form of [`expected`].
fn listing(mode: &str, owner: &str, numbers: &str, rest: &str) -> String {
    let kind = char::from(mode.as_bytes()[0]);
    format!("{kind} {:04o} {owner} {numbers}{rest}", bits(&mode[1..]))
}

/// The mode that `rwsr-xr-t` stands for.
fn bits(letters: &str) -> u32 {
    let letters: Vec<u8> = letters.bytes().take(9).collect();
    let mut bits = 0;
    for (index, letter) in letters.iter().enumerate() {
        let plain = 1 << (8 - index);
        let special = 1 << (11 - index / 3);
        bits |= match letter {
            b'-' => 0,
            b's' | b't' => plain | special,
            b'S' | b'T' => special,
            _ => plain,
        };
    }
    bits
}

/// Takes back the `\ooo` and `\\` of listings.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let (byte, after) = match (byte, octal, tail.first()) {
            (b'\\', Some(byte), _) => (byte, &tail[3..]),
            (b'\\', None, Some(b'\\')) => (b'\\', &tail[1..]),
            _ => (byte, tail),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}
