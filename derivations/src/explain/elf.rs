//! ELF files, of 32 and 64 bits: by section, and by symbol within it.

use std::ops::Range;

use ::object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionIndex, SectionKind};

use super::clue::Clue;
use super::difference::What;
use super::excerpt::readable;
use super::look::{Finding, Look, Pair, Place};
use super::members::{self, Member, Words};
use super::{opaque, order};

const MAGIC: &[u8] = b"\x7fELF";
const BUILD_ID: &[u8] = b".note.gnu.build-id";
const WORDS: Words = Words {
    one: "section",
    many: "sections",
};

/// Compares two programs, libraries or objects; `None` if they are none.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) -> Option<()> {
    pair.both(|bytes| bytes.starts_with(MAGIC).then_some(()))?;
    let (expected, got) = (parse(look, pair.expected)?, parse(look, pair.got)?);
    let before = look.reported();
    sections(look, &expected, &got);
    // Offsets and sizes in the headers follow from the sections: they are a
    // difference of their own only where no section differs.
    if look.reported() == before {
        opaque::compare_with(look, pair, 0, |offset| Some(expected.part_at(offset)));
    }
    Some(())
}

struct Elf<'a> {
    sections: Vec<Section<'a>>,
    /// Ranges of the file that are no sections, by what they are.
    parts: Vec<(Range<u64>, String)>,
    symbols: Vec<Symbol<'a>>,
}

struct Section<'a> {
    index: SectionIndex,
    name: &'a [u8],
    kind: SectionKind,
    address: u64,
    data: &'a [u8],
}

/// Something with a name and a size; sorted by where they are.
struct Symbol<'a> {
    section: SectionIndex,
    addresses: Range<u64>,
    name: &'a [u8],
}

fn parse<'a>(look: &mut Look<'_>, bytes: &'a [u8]) -> Option<Elf<'a>> {
    let file = ::object::File::parse(bytes).ok()?;
    if !file.is_little_endian() {
        return None;
    }
    let mut sections = Vec::new();
    for section in file.sections() {
        if !look.take_entry() {
            return None;
        }
        sections.push(Section {
            index: section.index(),
            name: section.name_bytes().unwrap_or_default(),
            kind: section.kind(),
            address: section.address(),
            data: section.data().ok()?,
        });
    }
    let mut parts = header_parts(bytes, file.is_64()).unwrap_or_default();
    for (number, segment) in file.segments().enumerate() {
        let (offset, size) = segment.file_range();
        let range = offset..offset.saturating_add(size);
        parts.push((range, format!("loaded segment {number}")));
    }
    Some(Elf {
        sections,
        parts,
        symbols: symbols(&file),
    })
}

/// The headers, as the first of them says.
fn header_parts(bytes: &[u8], is_64: bool) -> Option<Vec<(Range<u64>, String)>> {
    let number = |at: usize, length: usize| {
        let digits = bytes.get(at..at + length)?.iter().rev();
        Some(digits.fold(0_u64, |number, digit| number << 8 | u64::from(*digit)))
    };
    let (size, word, counts) = if is_64 { (64, 8, 54) } else { (52, 4, 42) };
    let table = |offset_at, entry_at: usize, name: &str| {
        let start = number(offset_at, word)?;
        // The size of an entry, then their number.
        let length = number(entry_at, 2)? * number(entry_at + 2, 2)?;
        Some((start..start.saturating_add(length), name.to_owned()))
    };
    Some(vec![
        (0..size, "ELF header".to_owned()),
        table(24 + word, counts, "program headers")?,
        table(24 + 2 * word, counts + 4, "section headers")?,
    ])
}

fn symbols<'a>(file: &::object::File<'a>) -> Vec<Symbol<'a>> {
    let named = |symbol: ::object::Symbol<'a, '_>| {
        let end = symbol.address().checked_add(symbol.size())?;
        Some(Symbol {
            section: symbol.section_index()?,
            addresses: symbol.address()..end,
            name: symbol.name_bytes().ok().filter(|name| !name.is_empty())?,
        })
    };
    let all = file.symbols().chain(file.dynamic_symbols());
    let mut symbols: Vec<_> = all.filter_map(named).collect();
    symbols.sort_by_key(|symbol| (symbol.section.0, symbol.addresses.start));
    symbols
}

impl Elf<'_> {
    /// What is at an offset of the file.
    fn part_at(&self, offset: usize) -> Place {
        let holds = |(range, _): &&(Range<u64>, String)| range.contains(&(offset as u64));
        let found = self.parts.iter().find(holds);
        Place::part(found.map_or("between sections", |(_, name)| name))
    }

    /// What is called by a name and holds the byte `offset` of `section`.
    fn symbol_at(&self, section: &Section<'_>, offset: usize) -> Option<String> {
        /// Symbols within each other, such as aliases, are seen through.
        const NESTED: usize = 16;
        let address = section.address.checked_add(offset as u64)?;
        let key = (section.index.0, address);
        let after = |symbol: &Symbol<'_>| (symbol.section.0, symbol.addresses.start) <= key;
        let end = self.symbols.partition_point(after);
        let mut before = self.symbols[..end].iter().rev().take(NESTED);
        let found = before.find(|symbol| {
            symbol.section == section.index && symbol.addresses.contains(&address)
        })?;
        Some(readable(found.name))
    }
}

fn sections(look: &mut Look<'_>, expected: &Elf<'_>, got: &Elf<'_>) {
    // The names and their order, as of any list; contents come after.
    members::compare(look, &WORDS, &names(expected), &names(got));
    let mut pairs = matching(expected, got);
    pairs.sort_by_key(|(section, _)| rank(section));
    for (section, other) in pairs {
        let pair = Pair {
            expected: section.data,
            got: other.data,
        };
        if pair.differs() {
            let place = Place::part(format!("section {}", readable(section.name)));
            look.within(place, |look| content(look, expected, section, pair));
        }
    }
}

fn names(elf: &Elf<'_>) -> Vec<Member<'static>> {
    let member = |section: &Section<'_>| Member {
        name: section.name.to_vec(),
        fields: Vec::new(),
        content: &[],
    };
    elf.sections.iter().map(member).collect()
}

/// Sections of the same name, the nth with the nth.
fn matching<'e, 'a>(
    expected: &'e Elf<'a>,
    got: &'e Elf<'a>,
) -> Vec<(&'e Section<'a>, &'e Section<'a>)> {
    use std::collections::{HashMap, VecDeque};
    let mut others: HashMap<&[u8], VecDeque<_>> = HashMap::new();
    for section in &got.sections {
        others.entry(section.name).or_default().push_back(section);
    }
    let pair = |section: &'e Section<'a>| {
        let other = others.get_mut(section.name)?.pop_front()?;
        Some((section, other))
    };
    expected.sections.iter().filter_map(pair).collect()
}

/// What people read first: texts and notes, then data, then code, then what
/// follows from them.
fn rank(section: &Section<'_>) -> u8 {
    match section.kind {
        _ if section.name == BUILD_ID => 6,
        _ if section.name == b".comment" => 0,
        SectionKind::Note => 0,
        SectionKind::ReadOnlyString | SectionKind::OtherString | SectionKind::DebugString => 1,
        SectionKind::ReadOnlyData | SectionKind::Data | SectionKind::ReadOnlyDataWithRel => 2,
        SectionKind::Debug => 3,
        SectionKind::Text => 4,
        _ => 5,
    }
}

fn content(look: &mut Look<'_>, elf: &Elf<'_>, section: &Section<'_>, pair: Pair<'_>) {
    if section.name == BUILD_ID {
        let [left, right] = order::differing(pair.expected, pair.got);
        let finding = Finding {
            differing_bytes: left.len().max(right.len()) as u64,
            ..Finding::new(
                What::Content {
                    offset_bytes: left.start as u64,
                },
                opaque::excerpt(pair.expected, &left),
                opaque::excerpt(pair.got, &right),
            )
        };
        return look.report(finding.clue(Clue::BuildId));
    }
    opaque::compare_with(look, pair, 0, |offset| {
        let symbol = elf.symbol_at(section, offset)?;
        Some(Place::one_of("symbol", format!("symbol `{symbol}`")))
    });
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{EXPECTED_S, Found, GOT_S, contents};
    use super::*;

    const STRINGS: u32 = 3;
    const BITS: u32 = 1;

    /// A 64-bit object with these sections (name, type, content) and one
    /// symbol `stamp` of eight bytes at the beginning of the first.
    fn elf(sections: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut symbol = vec![0; 24];
        symbol.extend(1_u32.to_le_bytes());
        symbol.extend([0x11, 0, 1, 0]);
        symbol.extend(0_u64.to_le_bytes());
        symbol.extend(8_u64.to_le_bytes());
        let mut all = sections.to_vec();
        let string_index = all.len() as u32 + 2;
        all.push((".symtab", 2, &symbol));
        all.push((".strtab", STRINGS, b"\0stamp\0"));
        let names: String = all.iter().map(|(name, ..)| format!("\0{name}")).collect();
        let names = names + "\0.shstrtab\0";
        all.push((".shstrtab", STRINGS, names.as_bytes()));

        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        let mut headers = vec![0; 64];
        for (name, kind, content) in &all {
            let name_at = names.find(&format!("\0{name}\0")).expect("a name") as u32 + 1;
            let link = if *kind == 2 { string_index } else { 0 };
            let entry_size = if *kind == 2 { 24_u64 } else { 0 };
            headers.extend(name_at.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            for value in [0, 0, bytes.len() as u64, content.len() as u64] {
                headers.extend(value.to_le_bytes());
            }
            headers.extend(link.to_le_bytes());
            headers.extend(1_u32.to_le_bytes());
            headers.extend(1_u64.to_le_bytes());
            headers.extend(entry_size.to_le_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let offset = bytes.len() as u64;
        bytes[16..20].copy_from_slice(&[1, 0, 62, 0]);
        bytes[20] = 1;
        bytes[40..48].copy_from_slice(&offset.to_le_bytes());
        bytes[52] = 64;
        bytes[58] = 64;
        bytes[60] = all.len() as u8 + 1;
        bytes[62] = all.len() as u8;
        bytes.extend(headers);
        bytes
    }

    #[test]
    fn names_sections() {
        let of = |comment: &str| {
            elf(&[
                (".data", BITS, &[7; 16]),
                (".comment", BITS, comment.as_bytes()),
            ])
        };
        let found = contents(&of("cc from /build/one\0"), &of("cc from /build/two\0"));
        let only = found.only();
        assert_eq!(only.inside, ["section .comment"]);
        assert!(matches!(only.clues[..], [Clue::Path { .. }]));
    }

    #[test]
    fn names_symbols() {
        let of =
            |stamp: i64| elf(&[(".data", BITS, &[&stamp.to_le_bytes()[..], &[0; 8]].concat())]);
        let found = contents(&of(EXPECTED_S + 1), &of(GOT_S + 1));
        let only = found.only();
        assert_eq!(only.inside, ["section .data", "symbol `stamp`"]);
        assert!(matches!(only.clues[..], [Clue::TimeOfBuild { .. }]));
    }

    #[test]
    fn knows_that_a_build_id_follows() {
        let of = |id: [u8; 8], data: &[u8]| {
            elf(&[(".rodata", BITS, data), (".note.gnu.build-id", 7, &id)])
        };
        let found = contents(&of([1; 8], &[0; 9]), &of([2; 8], &[1; 9]));
        assert_eq!(found.differences[0].inside[0], "section .rodata");
        assert_eq!(
            found.at(&["section .note.gnu.build-id"]).clues,
            [Clue::BuildId]
        );
    }

    #[test]
    fn names_sections_that_are_only_in_one_and_their_order() {
        let with = |names: &[&'static str]| {
            let sections: Vec<_> = names
                .iter()
                .map(|name| (*name, BITS, &[1_u8, 2][..]))
                .collect();
            elf(&sections)
        };
        let found = contents(&with(&[".a", ".b"]), &with(&[".a", ".c"]));
        assert_eq!(found.at(&["section `.b`"]).what, What::OnlyExpected);
        assert_eq!(found.at(&["section `.c`"]).what, What::OnlyGot);
        let found = contents(&with(&[".a", ".b"]), &with(&[".b", ".a"]));
        assert_eq!(found.at(&[]).what, What::Order);
    }

    #[test]
    fn sees_strings_in_another_order() {
        let of = |text: &[u8]| elf(&[(".data", BITS, &[0; 8]), (".debug_str", BITS, text)]);
        let found = contents(&of(b"one\0two\0"), &of(b"two\0one\0"));
        assert_eq!(found.only().inside, ["section .debug_str"]);
        assert!(matches!(found.only().clues[..], [Clue::OtherOrder { .. }]));
    }

    #[test]
    fn names_headers_only_if_no_section_differs() {
        let whole = elf(&[(".data", BITS, &[0; 16])]);
        let mut flags = whole.clone();
        flags[48] = 1;
        assert_eq!(contents(&whole, &flags).only().inside, ["ELF header"]);
        let mut aligned = whole.clone();
        let at = whole.len() - 16;
        aligned[at] = 8;
        assert_eq!(
            contents(&whole, &aligned).only().inside,
            ["section headers"]
        );
    }

    #[test]
    fn knows_files_of_32_bits() {
        let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
        bytes.resize(60, 0);
        (bytes[16], bytes[18], bytes[20], bytes[40]) = (1, 3, 1, 52);
        let changed = |at: usize| {
            let mut changed = bytes.clone();
            changed[at] = 1;
            contents(&bytes, &changed).only().inside.clone()
        };
        assert_eq!(changed(36), ["ELF header"]);
        assert_eq!(changed(55), ["between sections"]);
    }

    #[test]
    fn shows_what_is_damaged_as_bytes() {
        let whole = elf(&[(".data", BITS, &[7; 16]), (".comment", BITS, b"cc\0")]);
        for length in (0..whole.len()).step_by(5) {
            contents(&whole, &whole[..length]);
        }
        for at in 0..whole.len() {
            let mut lying = whole.clone();
            lying[at] = 0xff;
            if lying != whole {
                contents(&whole, &lying);
            }
        }
    }

    #[test]
    fn looks_into_this_very_program() {
        let this = std::fs::read("/proc/self/exe").expect("it runs");
        let mut other = this.clone();
        let end = this
            .windows(8)
            .position(|bytes| bytes == b"built by")
            .expect("this text");
        other[end..end + 8].copy_from_slice(b"BUILT BY");
        let found = contents(&this, &other);
        assert!(found.only().inside[0].starts_with("section ."), "{found:?}");
    }
}
