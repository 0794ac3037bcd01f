//! `ar` archives: static libraries and Debian packages.
//!
//! ```text
//! archive = "!<arch>\n" member*
//! member  = name[16] mtime[12] uid[6] gid[6] mode[8] size[10] "`\n"
//!           content[size] pad          ; to an even offset
//! ```
//!
//! Names: GNU's `name/`, `/N` as an offset into the member `//`, the symbol
//! tables `/` and `/SYM64/`; BSD's `#1/N`, where the name is the content's
//! beginning.

use super::excerpt::readable;
use super::look::{Look, Pair, Place};
use super::members::{self, Field, Member, Value, Words};
use super::opaque;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;
const WORDS: Words = Words {
    one: "member",
    many: "members",
};

/// Compares two archives; `None` if they are none.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) -> Option<()> {
    pair.both(|bytes| bytes.starts_with(MAGIC).then_some(()))?;
    let (expected, got) = (parse(look, pair.expected)?, parse(look, pair.got)?);
    let before = look.reported();
    members::compare(look, &WORDS, &expected.members, &got.members);
    // Symbol tables and tables of names follow from the members; they are a
    // difference of their own only where no member differs.
    if look.reported() == before {
        let tables = Pair {
            expected: expected.symbols,
            got: got.symbols,
        };
        look.within(Place::part("symbol table"), |look| {
            opaque::compare(look, tables)
        });
    }
    Some(())
}

struct Archive<'a> {
    members: Vec<Member<'a>>,
    symbols: &'a [u8],
}

fn parse<'a>(look: &mut Look<'_>, bytes: &'a [u8]) -> Option<Archive<'a>> {
    let mut archive = Archive {
        members: Vec::new(),
        symbols: &[],
    };
    let mut names: &[u8] = &[];
    let mut rest = &bytes[MAGIC.len()..];
    while !rest.is_empty() {
        if !look.take_entry() {
            return None;
        }
        let (header, after) = rest.split_at_checked(HEADER_BYTES)?;
        if !header.ends_with(b"`\n") {
            return None;
        }
        let size = usize::try_from(number(&header[48..58], 10)?).ok()?;
        let (content, after) = after.split_at_checked(size)?;
        rest = after.get(size % 2..).unwrap_or_default();

        let mut member = Member {
            name: header[..16].trim_ascii_end().to_vec(),
            fields: fields(header)?,
            content,
        };
        match &header[..16] {
            b"//              " => {
                names = content;
                continue;
            }
            b"/               " | b"/SYM64/         " => {
                archive.symbols = content;
                // Its content follows; its date does not.
                member.content = &[];
                member.name = b"the symbol table".to_vec();
            }
            _ => resolve(&mut member, names)?,
        }
        archive.members.push(member);
    }
    Some(archive)
}

fn fields(header: &[u8]) -> Option<Vec<Field>> {
    let number = |range: std::ops::Range<usize>, radix| number(&header[range], radix);
    Some(vec![
        Field::new(
            "date",
            Value::Time(i64::try_from(number(16..28, 10)?).ok()?),
        ),
        Field::new("uid", Value::Owner(number(28..34, 10)?)),
        Field::new("gid", Value::Owner(number(34..40, 10)?)),
        Field::new("mode", Value::Mode(number(40..48, 8)?)),
    ])
}

/// Digits, padded with blanks; blank in symbol tables.
fn number(field: &[u8], radix: u32) -> Option<u64> {
    match std::str::from_utf8(field).ok()?.trim() {
        "" => Some(0),
        digits => u64::from_str_radix(digits, radix).ok(),
    }
}

/// Gives the member its own name.
fn resolve(member: &mut Member<'_>, names: &[u8]) -> Option<()> {
    let name = std::mem::take(&mut member.name);
    let text = readable(&name);
    if let Some(length) = text.strip_prefix("#1/") {
        let (name, content) = member.content.split_at_checked(length.parse().ok()?)?;
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        (member.name, member.content) = (name[..end].to_vec(), content);
    } else if let Some(offset) = text.strip_prefix('/')
        && let Ok(offset) = offset.parse::<usize>()
    {
        let rest = names.get(offset..)?;
        let end = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        let name = &rest[..end];
        member.name = name.strip_suffix(b"/").unwrap_or(name).to_vec();
    } else {
        member.name = name.strip_suffix(b"/").unwrap_or(&name).to_vec();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{EXPECTED_S, Found, GOT_S, contents};
    use super::super::{Clue, What};
    use super::*;

    /// An archive of members: name, date, owner, content.
    fn archive(members: &[(&str, i64, u64, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, date, uid, content) in members {
            let (size, gid, mode) = (content.len(), uid, "100644");
            let header = format!("{name:<16}{date:<12}{uid:<6}{gid:<6}{mode:<8}{size:<10}`\n");
            assert_eq!(header.len(), HEADER_BYTES);
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            if size % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    fn field(name: &str) -> What {
        What::Field {
            name: name.to_owned(),
        }
    }

    #[test]
    fn names_fields_of_headers() {
        let found = contents(
            &archive(&[("a.o/", EXPECTED_S + 3, 0, b"x"), ("b.o/", 0, 0, b"y")]),
            &archive(&[("a.o/", GOT_S + 3, 0, b"x"), ("b.o/", 0, 1000, b"y")]),
        );
        let date = found.at(&["member `a.o`"]);
        assert_eq!(date.what, field("date"));
        assert!(matches!(
            date.clues[..],
            [Clue::TimeOfBuild { .. }, Clue::ModTime]
        ));
        let owner = found.at(&["member `b.o`"]);
        assert_eq!(
            (&owner.what, &owner.clues[..]),
            (&field("uid"), &[Clue::Owner][..])
        );
    }

    #[test]
    fn sees_another_order_and_what_is_only_in_one() {
        let member = |name| (name, 0, 0, &b"x\n"[..]);
        let found = contents(
            &archive(&[member("b.o/"), member("a.o/"), member("c.o/")]),
            &archive(&[member("a.o/"), member("b.o/"), member("d.o/")]),
        );
        let order = found.at(&[]);
        assert_eq!(order.what, What::Order);
        assert!(matches!(&order.clues[..], [Clue::OtherOrder { of, .. }] if of == "members"));
        assert_eq!(found.at(&["member `c.o`"]).what, What::OnlyExpected);
        assert_eq!(found.at(&["member `d.o`"]).what, What::OnlyGot);
    }

    #[test]
    fn looks_into_members_with_long_names() {
        let gnu = |content| {
            archive(&[
                ("//", 0, 0, b"a-name-that-is-rather-long.txt/\n"),
                ("/0", 0, 0, content),
            ])
        };
        let place = ["member `a-name-that-is-rather-long.txt`", "line 1"];
        contents(&gnu(b"one\n"), &gnu(b"two\n")).at(&place);

        let bsd = |content: &str| {
            let content = format!("a-name-that-is-rather-long.txt\0\0{content}");
            archive(&[("#1/32", 0, 0, content.as_bytes())])
        };
        contents(&bsd("one\n"), &bsd("two\n")).at(&place);
    }

    #[test]
    fn compares_symbol_tables_only_if_nothing_else_differs() {
        let with = |table, content| archive(&[("/", 0, 0, table), ("a.o/", 0, 0, content)]);
        let found = contents(&with(b"1234", b"x\n"), &with(b"5678", b"y\n"));
        assert_eq!(found.only().inside, ["member `a.o`", "line 1"]);
        let found = contents(&with(b"1234", b"x\n"), &with(b"5678", b"x\n"));
        assert_eq!(found.only().inside, ["symbol table"]);
    }

    #[test]
    fn shows_what_is_damaged_as_bytes() {
        let whole = archive(&[("a.o/", 0, 0, b"content"), ("b.o/", 0, 0, b"other")]);
        for length in 0..whole.len() {
            contents(&whole, &whole[..length]);
        }
        let mut lying = whole.clone();
        lying[8 + 48..8 + 58].copy_from_slice(b"9999999999");
        contents(&whole, &lying);
    }
}
