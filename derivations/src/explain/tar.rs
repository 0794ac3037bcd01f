//! tar archives: ustar, GNU and pax headers.

use std::io::Read;

use ::tar::{Archive, Entry};

use super::look::{Look, Pair};
use super::members::{self, Field, Member, Value, Words};

const MAGIC: std::ops::Range<usize> = 257..262;
const WORDS: Words = Words {
    one: "tar member",
    many: "tar members",
};
/// Records that say nothing beyond what the member's own fields do.
const OWN_RECORDS: [&[u8]; 4] = [b"path", b"linkpath", b"size", b"mtime"];

/// Compares two archives; `None` if they are none, or damaged.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) -> Option<()> {
    let is_tar = |bytes: &[u8]| (bytes.get(MAGIC)? == b"ustar").then_some(());
    pair.both(is_tar)?;
    let (expected, got) = (parse(look, pair.expected)?, parse(look, pair.got)?);
    members::compare(look, &WORDS, &expected, &got);
    Some(())
}

fn parse<'a>(look: &mut Look<'_>, bytes: &'a [u8]) -> Option<Vec<Member<'a>>> {
    let mut archive = Archive::new(bytes);
    let mut members = Vec::new();
    for entry in archive.entries().ok()? {
        if !look.take_entry() {
            return None;
        }
        let mut entry = entry.ok()?;
        let start = usize::try_from(entry.raw_file_position()).ok()?;
        let size = usize::try_from(entry.header().entry_size().ok()?).ok()?;
        // A pax record may give another size; then the header's is not looked at.
        let size = match entry.header().entry_type().is_gnu_sparse() {
            true => size,
            false => usize::try_from(entry.size()).ok()?,
        };
        members.push(Member {
            name: entry.path_bytes().into_owned(),
            fields: fields(&mut entry)?,
            content: bytes.get(start..start.checked_add(size)?)?,
        });
    }
    Some(members)
}

fn fields<R: Read>(entry: &mut Entry<'_, R>) -> Option<Vec<Field>> {
    let mtime = pax_mtime(entry);
    let records = pax_records(entry);
    let link = entry.link_name_bytes().map(|link| link.into_owned());
    let header = entry.header();
    let seconds = i64::try_from(header.mtime().ok()?).ok()?;
    let name = |name: Option<&[u8]>| Value::OwnerName(name.unwrap_or_default().to_vec());
    let device = |number: std::io::Result<Option<u32>>| {
        Value::Number(u64::from(number.ok().flatten().unwrap_or_default()))
    };
    Some(vec![
        Field::new(
            "type",
            Value::Number(u64::from(header.entry_type().as_byte())),
        ),
        Field::new("mode", Value::Mode(u64::from(header.mode().ok()?))),
        Field::new("uid", Value::Owner(header.uid().ok()?)),
        Field::new("gid", Value::Owner(header.gid().ok()?)),
        Field::new("uname", name(header.username_bytes())),
        Field::new("gname", name(header.groupname_bytes())),
        Field::new("mtime", Value::Time(mtime.unwrap_or(seconds))),
        Field::new("link target", Value::Text(link.unwrap_or_default())),
        Field::new("device major", device(header.device_major())),
        Field::new("device minor", device(header.device_minor())),
        Field::new("pax records", Value::Text(records)),
    ])
}

/// The whole seconds of a pax record `mtime`.
fn pax_mtime<R: Read>(entry: &mut Entry<'_, R>) -> Option<i64> {
    let records = entry.pax_extensions().ok()??;
    let record = records
        .flatten()
        .find(|record| record.key_bytes() == b"mtime")?;
    let text = record.value().ok()?;
    text.split('.').next()?.parse().ok()
}

/// All other records, joined: `atime=…`, `SCHILY.xattr.…`.
fn pax_records<R: Read>(entry: &mut Entry<'_, R>) -> Vec<u8> {
    let mut text = Vec::new();
    let Ok(Some(records)) = entry.pax_extensions() else {
        return text;
    };
    let others = records
        .flatten()
        .filter(|record| !OWN_RECORDS.contains(&record.key_bytes()));
    for record in others {
        text.extend_from_slice(record.key_bytes());
        text.push(b'=');
        text.extend_from_slice(record.value_bytes());
        text.push(b' ');
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use ::tar::{Builder, EntryType, Header};

    use super::super::fixture::{EXPECTED_S, Found, GOT_S, contents};
    use super::super::{Clue, Explanation, What};

    pub fn header(size: usize) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    }

    /// A name, a content, and what is changed in the header.
    pub type Made<'m> = (&'m str, &'m [u8], &'m dyn Fn(&mut Header));

    /// An archive of members.
    pub fn archive(members: &[Made<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, content, change) in members {
            let mut header = header(content.len());
            change(&mut header);
            builder
                .append_data(&mut header, name, *content)
                .expect("memory");
        }
        builder.into_inner().expect("memory")
    }

    fn with(change: &dyn Fn(&mut Header)) -> Vec<u8> {
        archive(&[("a/b", b"x", change)])
    }

    #[track_caller]
    fn check_field(found: &Explanation, name: &str, clue: &Clue) {
        assert_eq!(found.only().inside, ["tar member `a/b`"]);
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
        let none = with(&|_| {});
        let compare = |change: &dyn Fn(&mut Header)| contents(&none, &with(change));
        check_field(&compare(&|h| h.set_uid(1000)), "uid", &Clue::Owner);
        check_field(&compare(&|h| h.set_gid(1000)), "gid", &Clue::Owner);
        check_field(&compare(&|h| h.set_mode(0o600)), "mode", &Clue::Mode);
        check_field(&compare(&|h| h.set_mtime(5)), "mtime", &Clue::ModTime);
        let name = |h: &mut Header| h.set_username("me").expect("short");
        check_field(&compare(&name), "uname", &Clue::Owner);

        let built = |second: i64| with(&|h| h.set_mtime(second as u64));
        let found = contents(&built(EXPECTED_S), &built(GOT_S));
        assert!(matches!(found.only().clues[0], Clue::TimeOfBuild { .. }));
    }

    #[test]
    fn reads_times_of_pax_headers() {
        let pax = |second: i64| {
            let mut builder = Builder::new(Vec::new());
            let mtime = format!("{second}.123456789");
            let records = [("mtime", mtime.as_bytes())];
            builder.append_pax_extensions(records).expect("memory");
            builder
                .append_data(&mut header(0), "a/b", &[][..])
                .expect("memory");
            builder.into_inner().expect("memory")
        };
        let found = contents(&pax(EXPECTED_S), &pax(GOT_S));
        check_field(&found, "mtime", &Clue::ModTime);
        assert!(matches!(found.only().clues[0], Clue::TimeOfBuild { .. }));
    }

    #[test]
    fn looks_into_members() {
        let long = "d/".repeat(100) + "file";
        let of = |content: &[u8]| archive(&[(&long, content, &|_| {})]);
        let found = contents(&of(b"one\n"), &of(b"two\n"));
        assert_eq!(
            found.only().inside,
            [format!("tar member `{long}`"), "line 1".to_owned()]
        );
    }

    #[test]
    fn sees_another_order() {
        let of = |names: [&str; 3]| {
            archive(&names.map(|name| (name, &b""[..], &(|_: &mut Header| {}) as _)))
        };
        let found = contents(&of(["a", "B", "c"]), &of(["B", "a", "c"]));
        assert_eq!(found.only().what, What::Order);
        let clues = &found.only().clues[..];
        let [Clue::OtherOrder { expected, got, .. }] = clues else {
            panic!("{clues:?}")
        };
        assert_ne!(expected, got);
    }

    #[test]
    fn shows_what_is_damaged_as_bytes() {
        let whole = archive(&[("a", b"content", &|_| {}), ("b", b"", &|_| {})]);
        for length in (0..whole.len()).step_by(37) {
            contents(&whole, &whole[..length]);
        }
        let mut lying = whole.clone();
        lying[124..135].copy_from_slice(b"77777777777");
        contents(&whole, &lying);
    }
}
