//! cpio archives in the new ASCII form, as the kernel unpacks them.
//!
//! ```text
//! archive = entry* ; the last is called TRAILER!!!
//! entry   = magic[6] field[8]{13} name NUL pad content pad   ; to four bytes
//! ```
//!
//! Fields are hexadecimal. After the last entry comes padding, or another
//! archive, compressed or not, as initramfs images are put together.

use super::look::{Look, Pair, Place};
use super::members::{self, Field, Member, Value, Words};

const MAGIC_BYTES: usize = 6;
const HEADER_BYTES: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
const WORDS: Words = Words {
    one: "cpio entry",
    many: "cpio entries",
};

/// Compares two archives; `None` if they are none.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) -> Option<()> {
    pair.both(|bytes| is_cpio(bytes).then_some(()))?;
    let (expected, got) = (parse(look, pair.expected)?, parse(look, pair.got)?);
    members::compare(look, &WORDS, &expected.members, &got.members);
    let rest = Pair {
        expected: expected.rest,
        got: got.rest,
    };
    look.within(Place::part("after the cpio archive"), |look| {
        look.content(rest)
    });
    Some(())
}

fn is_cpio(bytes: &[u8]) -> bool {
    bytes.starts_with(b"070701") || bytes.starts_with(b"070702")
}

struct Archive<'a> {
    members: Vec<Member<'a>>,
    /// After the trailer and its zeros.
    rest: &'a [u8],
}

fn parse<'a>(look: &mut Look<'_>, bytes: &'a [u8]) -> Option<Archive<'a>> {
    let mut members = Vec::new();
    let mut at = 0_usize;
    loop {
        if !look.take_entry() {
            return None;
        }
        let header = bytes.get(at..at.checked_add(HEADER_BYTES)?)?;
        if !is_cpio(header) {
            return None;
        }
        let field = |index: usize| {
            let start = MAGIC_BYTES + 8 * index;
            let text = std::str::from_utf8(&header[start..start + 8]).ok()?;
            u64::from_str_radix(text, 16).ok()
        };
        let size = |index| usize::try_from(field(index)?).ok();
        let name_at = at + HEADER_BYTES;
        let name_end = name_at.checked_add(size(11)?)?;
        let content_at = name_end.checked_next_multiple_of(4)?;
        let content_end = content_at.checked_add(size(6)?)?;
        let name = bytes.get(name_at..name_end)?.strip_suffix(b"\0")?;
        let member = Member {
            name: name.to_vec(),
            fields: fields(field)?,
            content: bytes.get(content_at..content_end)?,
        };
        at = content_end.checked_next_multiple_of(4)?;
        let last = name == TRAILER;
        members.push(member);
        if last {
            break;
        }
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let zeros = rest.iter().take_while(|&&b| b == 0).count();
    Some(Archive {
        members,
        rest: &rest[zeros..],
    })
}

fn fields(field: impl Fn(usize) -> Option<u64>) -> Option<Vec<Field>> {
    let device = |major, minor| Some(Value::Number(field(major)? << 32 | field(minor)?));
    Some(vec![
        Field::new("ino", Value::Inode(field(0)?)),
        Field::new("mode", Value::Mode(field(1)?)),
        Field::new("uid", Value::Owner(field(2)?)),
        Field::new("gid", Value::Owner(field(3)?)),
        Field::new("nlink", Value::Links(field(4)?)),
        Field::new("mtime", Value::Time(i64::try_from(field(5)?).ok()?)),
        Field::new("dev", device(7, 8)?),
        Field::new("rdev", device(9, 10)?),
        Field::new("check", Value::Following(field(12)?)),
    ])
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::{EXPECTED_S, Found, GOT_S, contents};
    use super::super::{Clue, What};

    /// An entry with these values for ino, nlink and mtime.
    pub fn entry(name: &str, [ino, nlink, mtime]: [i64; 3], content: &[u8]) -> Vec<u8> {
        let (size, name_size) = (content.len() as i64, name.len() as i64 + 1);
        let fields = [
            ino, 0o100_644, 0, 0, nlink, mtime, size, 0, 0, 0, 0, name_size, 0,
        ];
        let mut bytes = b"070701".to_vec();
        for field in fields {
            bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    pub fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = entries.concat();
        bytes.extend(entry("TRAILER!!!", [0, 1, 0], b""));
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    #[track_caller]
    fn check_field(expected: [i64; 3], got: [i64; 3], name: &str, clue: &Clue) {
        let with = |values| archive(&[entry("bin/sh", values, b"x")]);
        let found = contents(&with(expected), &with(got));
        assert_eq!(found.only().inside, ["cpio entry `bin/sh`"]);
        let name = name.to_owned();
        assert_eq!(found.only().what, What::Field { name });
        assert!(
            found.only().clues.contains(clue),
            "{:?}",
            found.only().clues
        );
    }

    #[test]
    fn names_fields_of_headers() {
        check_field([1, 1, 0], [2, 1, 0], "ino", &Clue::Inode);
        check_field([1, 1, 0], [1, 2, 0], "nlink", &Clue::Links);
        check_field([1, 1, 7], [1, 1, 9], "mtime", &Clue::ModTime);
        let clock = Clue::TimeOfBuild {
            form: "field mtime".to_owned(),
            expected: "1795275000 (2026-11-21 15:30:00)".to_owned(),
            got: "1795361400 (2026-11-22 15:30:00)".to_owned(),
        };
        check_field([1, 1, EXPECTED_S], [1, 1, GOT_S], "mtime", &clock);
    }

    #[test]
    fn looks_into_entries_and_what_follows_them() {
        let with = |content: &[u8]| {
            archive(&[
                entry("a", [1, 1, 0], b"x\n"),
                entry("b", [2, 1, 0], content),
            ])
        };
        let found = contents(&with(b"one\n"), &with(b"two\n"));
        assert_eq!(found.only().inside, ["cpio entry `b`", "line 1"]);

        let two = |content: &[u8]| [with(b"same\n"), with(content)].concat();
        let found = contents(&two(b"one\n"), &two(b"two\n"));
        let inside = ["after the cpio archive", "cpio entry `b`", "line 1"];
        assert_eq!(found.only().inside, inside);
    }

    #[test]
    fn sees_another_order() {
        let of = |names: [&str; 2]| archive(&names.map(|name| entry(name, [1, 1, 0], b"")));
        let found = contents(&of(["b", "a"]), &of(["a", "b"]));
        assert_eq!(found.only().what, What::Order);
    }

    #[test]
    fn shows_what_is_damaged_as_bytes() {
        let whole = archive(&[entry("a", [1, 1, 0], b"content")]);
        for length in (0..whole.len()).step_by(3) {
            contents(&whole, &whole[..length]);
        }
        for field in 0..13 {
            let mut lying = whole.clone();
            lying[6 + 8 * field..14 + 8 * field].copy_from_slice(b"ffffffff");
            contents(&whole, &lying);
        }
    }
}
