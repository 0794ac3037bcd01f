//! Archives, honest and evil, decoded into objects in memory.

use std::io::{Read, Write};

use expect_test::{Expect, expect};
use kiln_derivations::archive::source::{self, Selection};
use kiln_derivations::archive::{Limits, Metadata, deb};
use kiln_store::hash::TreeId;
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::{Name, Node};
use tar::{EntryType, Header};

/// One member of a tar to be made.
struct Member<'a> {
    path: &'a str,
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    link: &'a str,
    content: &'a [u8],
}

fn member(path: &str, kind: EntryType) -> Member<'_> {
    Member {
        path,
        kind,
        mode: 0o644,
        owner: (0, 0),
        link: "",
        content: b"",
    }
}

fn file<'a>(path: &'a str, content: &'a str) -> Member<'a> {
    Member {
        content: content.as_bytes(),
        ..member(path, EntryType::Regular)
    }
}

fn directory(path: &str) -> Member<'_> {
    Member {
        mode: 0o755,
        ..member(path, EntryType::Directory)
    }
}

fn link<'a>(path: &'a str, kind: EntryType, target: &'a str) -> Member<'a> {
    Member {
        link: target,
        ..member(path, kind)
    }
}

/// Writes names and targets unchecked, as an attacker would.
fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..member.path.len()].copy_from_slice(member.path.as_bytes());
        header.as_old_mut().linkname[..member.link.len()].copy_from_slice(member.link.as_bytes());
        header.set_entry_type(member.kind);
        header.set_mode(member.mode);
        header.set_uid(member.owner.0);
        header.set_gid(member.owner.1);
        header.set_size(member.content.len() as u64);
        header.set_cksum();
        append(&mut bytes, &header, member.content);
    }
    bytes.extend([0; 1024]);
    bytes
}

fn append(bytes: &mut Vec<u8>, header: &Header, content: &[u8]) {
    bytes.extend(header.as_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = liblzma::read::XzEncoder::new(bytes, 1);
    encoder.read_to_end(&mut out).expect("xz");
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).expect("bzip2");
    encoder.finish().expect("bzip2")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("zstd")
}

fn deb_of(control: &[u8], data_name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    let members = [
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar", control),
        (data_name, data),
    ];
    for (name, content) in members {
        let size = content.len();
        bytes.extend(format!("{name:<16}0           0     0     100644  {size:<10}`\n").bytes());
        bytes.extend(content);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// One line for each entry, as the tests compare them.
fn listing(objects: &dyn Objects, tree: &TreeId, prefix: &str, out: &mut String) {
    for entry in objects.directory(tree).expect("directory").entries() {
        let path = format!("{prefix}{}", entry.name);
        match &entry.node {
            Node::Directory { tree } => {
                *out += &format!("{path}/\n");
                listing(objects, tree, &format!("{path}/"), out);
            }
            Node::Symlink { target } => {
                *out += &format!("{path} -> {}\n", String::from_utf8_lossy(target));
            }
            Node::File {
                content,
                executable,
                ..
            } => {
                let mut bytes = Vec::new();
                let mut reader = objects.open_file(content).expect("file");
                reader.read_to_end(&mut bytes).expect("content");
                let mark = if *executable { "*" } else { "" };
                bytes.truncate(20);
                let text = String::from_utf8_lossy(&bytes);
                *out += &format!("{path}{mark}: {text}\n");
            }
        }
    }
}

fn show(archive: &[u8], strip: usize, keep: &[&str]) -> String {
    let keep: Vec<String> = keep.iter().map(|&glob| glob.to_owned()).collect();
    let objects = Memory::default();
    let limits = Limits {
        max_unpacked_bytes: 1 << 22,
        max_entries: 1000,
        max_ratio: 1000,
    };
    let unpacked = Selection::new(strip, &keep)
        .and_then(|selection| source::unpack(archive, &selection, &limits, &objects));
    match unpacked {
        Err(error) => format!("error: {error}\n"),
        Ok(unpacked) => {
            let mut out = String::new();
            listing(&objects, &unpacked.tree, "", &mut out);
            out
        }
    }
}

fn check(members: &[Member<'_>], strip: usize, keep: &[&str], expected: Expect) {
    expected.assert_eq(&show(&tar_of(members), strip, keep));
}

fn check_refused(members: &[Member<'_>], expected: Expect) {
    check(members, 0, &[], expected);
}

fn small_source() -> Vec<Member<'static>> {
    vec![
        directory("x-1.0/"),
        file("x-1.0/Makefile", "all:"),
        Member {
            mode: 0o755,
            ..file("./x-1.0/configure", "#!/bin/sh")
        },
        file("x-1.0/src/deep/a.c", "int a;"),
        link("x-1.0/b.c", EntryType::Symlink, "src/deep/a.c"),
        link("x-1.0/c.c", EntryType::Link, "x-1.0/src/deep/a.c"),
    ]
}

#[test]
fn a_source_loses_its_top_directory() {
    let expected = expect![[r#"
        Makefile: all:
        b.c -> src/deep/a.c
        c.c: int a;
        configure*: #!/bin/sh
        src/
        src/deep/
        src/deep/a.c: int a;
    "#]];
    check(&small_source(), 1, &[], expected);
}

#[test]
fn every_compression_gives_the_same_tree() {
    let plain = tar_of(&small_source());
    let expected = show(&plain, 1, &[]);
    for packed in [xz(&plain), gzip(&plain), bzip2(&plain), zstd(&plain)] {
        assert_eq!(show(&packed, 1, &[]), expected);
        let cut = show(&packed[..packed.len() - 5], 1, &[]);
        assert!(cut.starts_with("error: the archive ("), "{cut}");
    }
}

#[test]
fn streams_that_follow_each_other_are_one() {
    let plain = tar_of(&small_source());
    let expected = show(&plain, 1, &[]);
    let (head, tail) = plain.split_at(700);
    for compress in [xz, gzip, bzip2, zstd] {
        let joined = [compress(head), compress(tail)].concat();
        assert_eq!(show(&joined, 1, &[]), expected);
    }
    let padded = [xz(head), vec![0; 8], xz(tail), vec![0; 4]].concat();
    assert_eq!(show(&padded, 1, &[]), expected);
    let badly = [xz(head), vec![0; 3], xz(tail)].concat();
    assert!(show(&badly, 1, &[]).starts_with("error: "));
}

#[test]
fn keep_sees_stripped_names_and_takes_whole_directories() {
    let expected = expect![[r#"
        Makefile: all:
        src/
        src/deep/
        src/deep/a.c: int a;
    "#]];
    check(&small_source(), 1, &["src", "Make*"], expected);
    let expected = expect![[r#"
        error: nothing in the archive matches `include/**`
    "#]];
    check(&small_source(), 1, &["src/**", "include/**"], expected);
    let expected = expect![[r#"
        error: `a[` is not a pattern: unclosed character class; missing ']'
    "#]];
    check(&small_source(), 1, &["a["], expected);
}

#[test]
fn a_link_to_what_was_not_kept_is_said() {
    check(
        &small_source(),
        1,
        &["c.c"],
        expect![[r#"
            error: member `x-1.0/c.c`: it is a hard link to something that is not before it in the archive, or was not kept
        "#]],
    );
}

#[test]
fn two_tops_cannot_be_stripped() {
    check(
        &[file("a/x", ""), file("b/y", "")],
        1,
        &[],
        expect![[r#"
            error: member `b/y` is not below `a`, so the top directory cannot be stripped; say `strip = 0` to keep all names as they are
        "#]],
    );
    check(
        &[file("README", ""), file("b/y", "")],
        1,
        &[],
        expect![[r#"
            error: member `README` is not below `README`, so the top directory cannot be stripped; say `strip = 0` to keep all names as they are
        "#]],
    );
}

#[test]
fn a_later_member_wins() {
    check(
        &[
            file("a", "one"),
            file("a", "two"),
            link("b", EntryType::Symlink, "a"),
            directory("b/"),
            file("b/c", "three"),
            directory("b/"),
            directory("d/"),
            file("d", "was a directory"),
        ],
        0,
        &[],
        expect![[r#"
            a: two
            b/
            b/c: three
            d: was a directory
        "#]],
    );
}

#[test]
fn absolute_names_lose_their_slash_as_in_tar() {
    check(
        &[file("/etc/passwd", "x"), file("//a/./b", "y")],
        0,
        &[],
        expect![[r#"
            a/
            a/b: y
            etc/
            etc/passwd: x
        "#]],
    );
}

/// The classic: a name that climbs out of the directory it is unpacked in.
#[test]
fn attack_climbing_out() {
    check_refused(
        &[file("a/../../etc/passwd", "x")],
        expect![[r#"
            error: member `a/../../etc/passwd`: its name has `..` in it
        "#]],
    );
}

/// A link out of the tree, then a file through it.
#[test]
fn attack_through_a_symlink() {
    check_refused(
        &[link("a", EntryType::Symlink, "/etc"), file("a/passwd", "x")],
        expect![[r#"
            error: member `a/passwd`: its path goes through a symlink of the same archive
        "#]],
    );
    check_refused(
        &[file("a", "x"), file("a/b", "y")],
        expect![[r#"
            error: member `a/b`: its path goes through a file of the same archive
        "#]],
    );
    check_refused(
        &[file("a/b", "x"), link("a", EntryType::Symlink, "/etc")],
        expect![[r#"
            error: member `a`: it would replace a directory that is not empty
        "#]],
    );
}

/// Hard links to what is not in the archive would read the host's files.
#[test]
fn attack_hard_links() {
    check_refused(
        &[link("a", EntryType::Link, "/etc/shadow")],
        expect![[r#"
            error: member `a`: it is a hard link to something that is not before it in the archive, or was not kept
        "#]],
    );
    check_refused(
        &[link("a", EntryType::Link, "../etc/shadow")],
        expect![[r#"
            error: member `a`: its name has `..` in it
        "#]],
    );
    check_refused(
        &[directory("d"), link("a", EntryType::Link, "d")],
        expect![[r#"
            error: member `a`: it is a hard link to a directory
        "#]],
    );
}

#[test]
fn attack_devices_and_strange_types() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let shown = show(&tar_of(&[member("dev/null", kind)]), 0, &[]);
        assert_eq!(
            shown,
            "error: member `dev/null`: it is a device, a fifo or a socket\n"
        );
    }
    check_refused(
        &[member("x", EntryType::new(b'V'))],
        expect![[r#"
            error: member `x`: it is of a type that kiln does not know
        "#]],
    );
    check_refused(
        &[file(".", "x")],
        expect![[r#"
            error: member `.`: it would replace the root of the tree
        "#]],
    );
    check_refused(
        &[member("x", EntryType::Symlink)],
        expect![[r#"
            error: member `x`: it is a link to nothing
        "#]],
    );
}

#[test]
fn attack_too_deep() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    let path = "d/".repeat(300) + "f";
    builder
        .append_data(&mut header, &path, std::io::empty())
        .expect("append");
    let shown = show(&builder.into_inner().expect("tar"), 0, &[]);
    assert!(shown.ends_with("deeper than a tree may be\n"), "{shown}");
}

/// A few kilobytes that unpack to gigabytes.
#[test]
fn attack_bombs() {
    let zeros = vec![0; 1 << 23];
    let bomb = Member {
        content: &zeros,
        ..member("zeros", EntryType::Regular)
    };
    let expected = "error: the archive unpacks to more than 4194304 bytes\n";
    assert_eq!(show(&xz(&tar_of(&[bomb])), 0, &[]), expected);

    let many: Vec<Member<'_>> = (0..1001).map(|_| file("a", "")).collect();
    let expected = "error: the archive unpacks to more than 1000 members\n";
    assert_eq!(show(&tar_of(&many), 0, &[]), expected);
}

/// A name of two megabytes: decoders hold names in memory.
#[test]
fn attack_endless_name() {
    let name = vec![b'a'; 2 << 20];
    let long = Member {
        content: &name,
        ..member("././@LongLink", EntryType::GNULongName)
    };
    check_refused(
        &[long, file("a", "")],
        expect![[r#"
            error: the archive unpacks to more than 1048576 bytes of headers for one member
        "#]],
    );
}

#[test]
fn a_cut_or_continued_tar_is_refused() {
    let whole = tar_of(&[file("a", "some content"), file("b", "")]);
    let check = |bytes: &[u8], expected: &str| {
        assert_eq!(show(bytes, 0, &[]), format!("error: {expected}\n"));
    };
    check(
        &whole[..1536],
        "the archive is cut short: it has no end mark",
    );
    check(
        &whole[..520],
        "the archive (not compressed) is damaged or cut short: unexpected end of file",
    );
    check(b"", "the archive is cut short: it has no end mark");
    check(
        &[whole.as_slice(), b"more"].concat(),
        "something follows the end of the archive",
    );
    check(
        &[xz(&whole).as_slice(), b"more"].concat(),
        "the archive (xz) is damaged or cut short: premature eof",
    );
}

#[test]
fn long_names_and_pax_are_read() {
    let long = "x".repeat(150);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    builder
        .append_data(&mut header, format!("{long}/{long}"), &b"ok"[..])
        .expect("append");
    builder
        .append_pax_extensions([("path", b"from-pax".as_slice()), ("size", b"3")])
        .expect("append");
    let mut header = Header::new_ustar();
    header.set_path("short").expect("path");
    header.set_size(3);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &b"pax"[..]).expect("append");
    let shown = show(&builder.into_inner().expect("tar"), 0, &[]);
    assert_eq!(
        shown,
        format!("from-pax: pax\n{long}/\n{long}/{long}: ok\n")
    );
}

#[test]
fn a_large_file_is_streamed() {
    let content = vec![b'z'; 1 << 20];
    let large = Member {
        content: &content,
        ..member("large", EntryType::Regular)
    };
    let small = file("small", "s");
    let objects = Memory::default();
    let archive = xz(&tar_of(&[large, small]));
    let unpacked = source::unpack(
        archive.as_slice(),
        &Selection::everything(),
        &Limits::default(),
        &objects,
    )
    .expect("unpack");
    assert_eq!(
        (unpacked.entries, unpacked.content_bytes),
        (2, (1 << 20) + 1)
    );
}

#[test]
fn a_raw_source_is_a_tree_of_one_file() {
    let objects = Memory::default();
    let name = Name::try_from("x.patch").expect("name");
    let tree = source::raw(&mut b"--- a".as_slice(), name, false, &objects).expect("raw");
    let mut shown = String::new();
    listing(&objects, &tree, "", &mut shown);
    assert_eq!(shown, "x.patch: --- a\n");
}

fn sample_deb(compress: fn(&[u8]) -> Vec<u8>, name: &str) -> Vec<u8> {
    let control = tar_of(&[directory("./"), file("./control", "Package: x\n")]);
    let data = tar_of(&[
        directory("./"),
        directory("./bin/"),
        Member {
            mode: 0o4755,
            ..file("./bin/su", "ELF")
        },
        link("./bin/su2", EntryType::Link, "./bin/su"),
        Member {
            owner: (0, 42),
            mode: 0o640,
            ..file("./etc/shadow", "")
        },
        Member {
            mode: 0o1777,
            ..directory("./tmp/")
        },
        Member {
            mode: 0o777,
            ..link("./lib", EntryType::Symlink, "usr/lib")
        },
    ]);
    deb_of(&gzip(&control), name, &compress(&data))
}

#[test]
fn a_deb_gives_files_control_and_metadata() {
    let objects = Memory::default();
    let package = sample_deb(xz, "data.tar.xz");
    let deb = deb::unpack(package.as_slice(), &Limits::default(), &objects).expect("unpack");
    assert_eq!(deb.control, "Package: x\n");
    let mut shown = String::new();
    listing(&objects, &deb.data.tree, "", &mut shown);
    for Metadata {
        path,
        uid,
        gid,
        mode,
        ..
    } in &deb.data.metadata
    {
        shown += &format!("{} {uid}:{gid} {mode:o}\n", String::from_utf8_lossy(path));
    }
    expect![[r#"
        bin/
        bin/su*: ELF
        bin/su2*: ELF
        etc/
        etc/shadow: 
        lib -> usr/lib
        tmp/
        bin/su 0:0 4755
        bin/su2 0:0 4755
        etc/shadow 0:42 640
        tmp 0:0 1777
    "#]]
    .assert_eq(&shown);
}

#[test]
fn every_package_compression_is_read() {
    let id = |package: Vec<u8>| {
        let objects = Memory::default();
        let deb = deb::unpack(package.as_slice(), &Limits::default(), &objects);
        deb.map(|deb| deb.data.tree)
            .map_err(|error| error.to_string())
    };
    let expected = id(sample_deb(<[u8]>::to_vec, "data.tar"));
    assert!(expected.is_ok(), "{expected:?}");
    assert_eq!(id(sample_deb(gzip, "data.tar.gz")), expected);
    assert_eq!(id(sample_deb(xz, "data.tar.xz")), expected);
    assert_eq!(id(sample_deb(zstd, "data.tar.zst")), expected);
    assert_eq!(
        id(sample_deb(xz, "data.tar.lzma")),
        Err("this is not a Debian package: `data.tar` is compressed as `.lzma`".to_owned())
    );
    assert_eq!(
        id(b"<html>not found</html>".to_vec()),
        Err("this is not a Debian package: it does not begin with the magic of `ar`".to_owned())
    );
}

/// Whatever is cut off or changed: an error or a tree, never a panic, and never
/// more than the limits allow.
#[test]
fn damaged_archives_never_panic() {
    let package = sample_deb(<[u8]>::to_vec, "data.tar");
    let source = tar_of(&small_source());
    let config = proptest::test_runner::Config {
        failure_persistence: None,
        ..Default::default()
    };
    proptest::proptest!(config, |(at in 0usize..20_000, value: u8, cut in 0usize..20_000)| {
        let damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let length = bytes.len();
            bytes[at % length] ^= value;
            bytes.truncate(length - cut % length);
            bytes
        };
        show(&damage(&source), 1, &[]);
        let _ = deb::unpack(damage(&package).as_slice(), &Limits::default(), &Memory::default());
    });
}
