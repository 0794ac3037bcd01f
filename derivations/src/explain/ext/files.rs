//! The files of a file system by path, and two file systems file by file.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use super::super::clue::Clue;
use super::super::difference::{Excerpt, What};
use super::super::excerpt::{list, readable};
use super::super::look::{Finding, Look, Pair, Place};
use super::super::members::{self, Field, Value};
use super::super::{opaque, order};
use super::format::{self, le16, le32};
use super::image::{Image, Inode, Run};

const MAX_PATH_BYTES: usize = 4096;

/// All files of one image.
pub struct Files<'i, 'a> {
    pub image: &'i Image<'a>,
    pub by_path: BTreeMap<Vec<u8>, File<'a>>,
}

/// One of them.
pub struct File<'a> {
    pub inode: Inode<'a>,
    pub runs: Vec<Run>,
    /// Blocks that hold the map of its blocks.
    pub nodes: Vec<u64>,
    /// Whether the map was read to its end.
    whole: bool,
    /// Of a directory, in the order on the disk.
    names: Vec<Vec<u8>>,
}

/// Reads the directories of `image`; what is damaged is left out.
pub fn all<'i, 'a>(look: &mut Look<'_>, image: &'i Image<'a>) -> Files<'i, 'a> {
    let mut files = Files {
        image,
        by_path: BTreeMap::new(),
    };
    if image.has_journal
        && let Some(inode) = image.inode(format::JOURNAL_INODE)
    {
        // A name that no path has.
        files.add(look, b"journal".to_vec(), inode);
    }
    let mut seen = HashSet::new();
    let mut waiting = vec![(b"/".to_vec(), format::ROOT_INODE)];
    while let Some((path, number)) = waiting.pop() {
        let Some(inode) = image.inode(number) else {
            continue;
        };
        let is_directory = inode.kind() == format::DIRECTORY;
        let file = files.add(look, path.clone(), inode);
        if !is_directory || !seen.insert(number) {
            continue;
        }
        for (name, number) in entries(look, image, file) {
            let mut below = path.clone();
            if below.len() > 1 {
                below.push(b'/');
            }
            below.extend_from_slice(&name);
            if below.len() <= MAX_PATH_BYTES {
                waiting.push((below, number));
            }
        }
    }
    files
}

impl<'a> Files<'_, 'a> {
    fn add(&mut self, look: &mut Look<'_>, path: Vec<u8>, inode: Inode<'a>) -> &mut File<'a> {
        let map = inode.runs(self.image, look);
        let whole = map.is_some();
        let (runs, nodes) = map.unwrap_or_default();
        let file = File {
            inode,
            runs,
            nodes,
            whole,
            names: Vec::new(),
        };
        match self.by_path.entry(path) {
            Entry::Vacant(place) => place.insert(file),
            Entry::Occupied(mut place) => {
                place.insert(file);
                place.into_mut()
            }
        }
    }
}

/// The entries of a directory, which are also noted in it.
fn entries(look: &mut Look<'_>, image: &Image<'_>, file: &mut File<'_>) -> Vec<(Vec<u8>, u32)> {
    let mut found = Vec::new();
    let blocks = file
        .runs
        .iter()
        .flat_map(|run| (0..run.blocks).map(|n| run.physical + n));
    for block in blocks {
        let Some(mut rest) = image.block(block) else {
            break;
        };
        while look.take_entry()
            && let Some((entry, after)) = entry(rest)
        {
            rest = after;
            found.extend(entry.map(|(name, number)| (name.to_vec(), number)));
        }
    }
    file.names = found.iter().map(|(name, _)| name.clone()).collect();
    found
}

/// One entry, unless it is unused or `.` or `..`, and what follows it.
type NameAndRest<'a> = (Option<(&'a [u8], u32)>, &'a [u8]);

fn entry(bytes: &[u8]) -> Option<NameAndRest<'_>> {
    let number = le32(bytes, 0)?;
    let length = usize::from(le16(bytes, 4)?);
    let name = bytes.get(8..8 + usize::from(*bytes.get(6)?))?;
    if length < 8 || length > bytes.len() {
        return None;
    }
    let used = number != 0 && !name.is_empty() && name != b"." && name != b"..";
    Some((used.then_some((name, number)), &bytes[length..]))
}

/// Compares two file systems file by file.
pub fn compare(look: &mut Look<'_>, expected: &Files<'_, '_>, got: &Files<'_, '_>) {
    let mut seen = HashSet::new();
    for (path, file) in &expected.by_path {
        let Some(other) = got.by_path.get(path) else {
            only(look, path, file, What::OnlyExpected);
            continue;
        };
        look.within(place(path, file), |look| {
            if file.inode.number != other.inode.number {
                let number = |file: &File<'_>| {
                    let value = Value::Inode(u64::from(file.inode.number));
                    [Field::new("inode number", value)]
                };
                members::fields(look, &number(file), &number(other));
            }
            // Another name of a file that was compared already.
            if seen.insert((file.inode.number, other.inode.number)) {
                members::fields(look, &fields(&file.inode), &fields(&other.inode));
                names(look, file, other);
                content(look, (expected.image, file), (got.image, other));
            }
        });
    }
    for (path, file) in &got.by_path {
        if !expected.by_path.contains_key(path) {
            only(look, path, file, What::OnlyGot);
        }
    }
}

pub fn title(path: &[u8], file: &File<'_>) -> String {
    format!("inode {} ({})", file.inode.number, readable(path))
}

fn place(path: &[u8], file: &File<'_>) -> Place {
    Place::one_of("inode", title(path, file))
}

fn only(look: &mut Look<'_>, path: &[u8], file: &File<'_>, what: What) {
    let there = Excerpt::value(format!("a file of {} bytes", file.inode.size));
    let finding = match what {
        What::OnlyExpected => Finding::new(what, there, Excerpt::Absent),
        _ => Finding::new(what, Excerpt::Absent, there),
    };
    look.within(place(path, file), |look| look.report(finding));
}

fn fields(inode: &Inode<'_>) -> Vec<Field> {
    let bytes = inode.bytes;
    let half = |at| u64::from(le16(bytes, at).unwrap_or_default());
    let word = |at| u64::from(le32(bytes, at).unwrap_or_default());
    let time = |at| Value::Time(word(at) as i64);
    let owner = |low, high| Value::Owner(half(high) << 16 | half(low));
    let mut fields = vec![
        Field::new("mode", Value::Mode(half(0))),
        Field::new("uid", owner(2, 0x78)),
        Field::new("gid", owner(0x18, 0x7a)),
        Field::new("links", Value::Links(half(0x1a))),
        Field::new("size", Value::Number(inode.size)),
        Field::new("atime", time(0x08)),
        Field::new("ctime", time(0x0c)),
        Field::new("mtime", time(0x10)),
        Field::new("dtime", time(0x14)),
        Field::new("flags", Value::Number(word(0x20))),
        Field::new(
            "generation",
            Value::Bytes(word(0x64).to_le_bytes()[..4].to_vec()),
        ),
    ];
    // The part beyond 128 bytes says how much of itself is used.
    let extra = 128 + usize::from(le16(bytes, 0x80).unwrap_or_default());
    let later = [
        ("ctime nanoseconds", 0x84),
        ("mtime nanoseconds", 0x88),
        ("atime nanoseconds", 0x8c),
        ("crtime", 0x90),
        ("crtime nanoseconds", 0x94),
    ];
    for (name, at) in later
        .into_iter()
        .filter(|(_, at)| at + 4 <= extra.min(bytes.len()))
    {
        let value = match name {
            "crtime" => time(at),
            // The two lowest bits belong to the seconds.
            _ => Value::Number(word(at) >> 2),
        };
        fields.push(Field::new(name, value));
    }
    fields
}

/// Reports that the entries of a directory lie in another order.
fn names(look: &mut Look<'_>, expected: &File<'_>, got: &File<'_>) {
    let (left, right) = (&expected.names, &got.names);
    let Some(clue) = order::clue("directory entries", left, right) else {
        return;
    };
    let [range, other] = order::differing(left, right);
    let value = |names: &[Vec<u8>]| Excerpt::value(list(names));
    let finding = Finding::new(What::Order, value(&left[range]), value(&right[other]));
    look.report(finding.clue(clue));
}

type Side<'i, 'a> = (&'i Image<'a>, &'i File<'a>);

/// Compares what two files hold, and what is in their last blocks after it.
fn content(look: &mut Look<'_>, expected: Side<'_, '_>, got: Side<'_, '_>) {
    let (inode, other) = (&expected.1.inode, &got.1.inode);
    if let (Some(expected), Some(got)) = (inode.inline(), other.inline()) {
        return inline(look, inode.kind(), Pair { expected, got });
    }
    // Directories were compared by their names.
    if inode.kind() == format::DIRECTORY || lie_alike(look, expected, got) {
        return;
    }
    let Some((left, right)) = gather(look, expected).zip(gather(look, got)) else {
        return;
    };
    let cut = |bytes: &'_ [u8], inode: &Inode<'_>| bytes.len().min(inode.size as usize);
    let (end, other_end) = (cut(&left, inode), cut(&right, other));
    let pair = Pair {
        expected: &left[..end],
        got: &right[..other_end],
    };
    look.content(pair);
    let slack = Pair {
        expected: &left[end..],
        got: &right[other_end..],
    };
    if !pair.differs() && slack.differs() {
        look.within(Place::part("after its end"), |look| unused(look, slack));
    }
}

fn inline(look: &mut Look<'_>, kind: u16, pair: Pair<'_>) {
    let field = |bytes: &[u8]| match kind {
        format::SYMLINK => [Field::new("link target", Value::Text(bytes.to_vec()))],
        _ => [Field::new("device number", Value::Bytes(bytes.to_vec()))],
    };
    match kind {
        format::REGULAR | format::DIRECTORY => look.content(pair),
        _ => members::fields(look, &field(pair.expected), &field(pair.got)),
    }
}

/// Bytes that nothing uses.
pub fn unused(look: &mut Look<'_>, pair: Pair<'_>) {
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
    look.report(finding.clue(Clue::Unused));
}

/// Whether both have the same blocks with the same bytes, which is seen
/// without gathering them.
fn lie_alike(look: &mut Look<'_>, expected: Side<'_, '_>, got: Side<'_, '_>) -> bool {
    let ((image, file), (other_image, other)) = (expected, got);
    let range = |image: &Image<'_>, run: &Run| {
        let at = |block: u64| usize::try_from(block).ok()?.checked_mul(image.block_bytes);
        Some(at(run.physical)?..at(run.physical.checked_add(run.blocks)?)?)
    };
    file.whole
        && other.whole
        && file.runs == other.runs
        && file.inode.size == other.inode.size
        && image.block_bytes == other_image.block_bytes
        && look.take_bytes(
            file.runs.iter().map(|run| run.blocks).sum::<u64>() * image.block_bytes as u64,
        )
        && file.runs.iter().all(|run| {
            let range = range(image, run);
            range.is_some_and(|range| {
                let bytes = image.bytes.get(range.clone());
                bytes.is_some() && bytes == other_image.bytes.get(range)
            })
        })
}

/// All blocks of a file in its order, holes as zeros.
fn gather(look: &mut Look<'_>, (image, file): Side<'_, '_>) -> Option<Vec<u8>> {
    if !file.whole {
        return None;
    }
    let block_bytes = image.block_bytes as u64;
    let length = file.inode.size.checked_next_multiple_of(block_bytes)?;
    if length > look.limits.max_file_bytes || !look.take_bytes(length) {
        look.cut("a file of its file system is larger than what kiln looks into");
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    for run in file.runs.iter().filter(|run| !run.unwritten) {
        for block in 0..run.blocks {
            let start = run.logical.checked_add(block)?.checked_mul(block_bytes)?;
            if start >= length {
                break;
            }
            let start = usize::try_from(start).ok()?;
            let source = image.block(run.physical.checked_add(block)?)?;
            bytes[start..start + image.block_bytes].copy_from_slice(source);
        }
    }
    Some(bytes)
}
