//! Removes from a cache what no tree needs any more: packs and indexes that a
//! killed push left, or that trees needed which were pushed anew or taken away.
//!
//! Pushers may be at work meanwhile, on other machines. One relies on what a tree
//! named when it began, and on what was pushed some hours before; and it names
//! that in a tree when it is done. So a file goes only if all of this is so:
//!
//! 1. it was listed *before* the trees were read, and none of them names it;
//! 2. it was written longer than the grace period ago;
//! 3. a sweep found it unused longer than the grace period ago, and so did every
//!    one since.
//!
//! The grace period has to be longer than any push takes, and than the hours for
//! which [`super::push`] relies on what it remembers. What sweeps found stands in
//! `gc/SECONDS`:
//!
//! ```text
//! note = v(1) v(count) (str(name) v(seconds))*   ; since when unused, sorted
//! ```
//!
//! If a tree's description cannot be read, nothing is removed: what it needs is
//! not known.

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;
use std::time::{Duration, SystemTime};

use bincode::{Decode, Encode};

use super::backend::{Backend, Listed};
use super::error::{CacheError, FormatError};
use super::id::{CONDEMNED, INDEXES, PACKS, TREES, digest_in, index_name, pack_name};
use super::index::{check_version, strictly_sorted};
use super::name::Name;
use super::transfer::{CONNECTIONS, Reader, in_parallel};
use super::watch::Watch;
use crate::canonical;
use crate::hash::TreeId;

/// The shortest grace period: what pushers rely on without asking, twice.
pub const SHORTEST_GRACE: Duration = Duration::from_secs(8 * 60 * 60);
const NOTE_VERSION: u32 = 1;
/// The largest note that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 64 << 20;

/// What a sweep did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Files that are gone.
    pub removed: Vec<Name>,
    /// Their sizes together, in bytes.
    pub removed_bytes: u64,
    /// Files that a later sweep may remove.
    pub unused: u64,
}

/// What a sweep found unused, and since when, in seconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Note {
    version: u32,
    unused: Vec<(String, u64)>,
}

impl Note {
    /// Decodes and checks a note.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        check_version(bytes, NOTE_VERSION)?;
        let note: Self = canonical::decode(bytes)?;
        match strictly_sorted(note.unused.iter().map(|(name, _)| name)) {
            true => Ok(note),
            false => Err(FormatError::Rule("its files are not sorted")),
        }
    }

    /// The canonical encoding, as it is stored.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }
}

/// Removes what has been unused for longer than `grace`, which is taken to be
/// [`SHORTEST_GRACE`] at least. `now` is the time by this machine's clock.
pub fn sweep(
    backend: &dyn Backend,
    grace: Duration,
    now: SystemTime,
    watch: &dyn Watch,
) -> Result<Swept, CacheError> {
    let reader = Reader { backend, watch };
    let grace = grace.max(SHORTEST_GRACE);
    let mut files = list(&reader, PACKS)?;
    files.extend(list(&reader, INDEXES)?);
    let (before, notes) = last_note(&reader)?;
    let needed = needed(&reader)?;
    let past = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age >= grace);
    let ours = |name: &Name| {
        digest_in(PACKS, name)
            .or(digest_in(INDEXES, name))
            .is_some()
    };
    files.retain(|file| ours(&file.name) && !needed.contains(&file.name) && past(file.modified));
    let seconds = seconds(now);
    let mut unused = BTreeMap::new();
    let mut doomed = Vec::new();
    for file in files {
        let since = before.get(file.name.as_str()).copied().unwrap_or(seconds);
        match seconds.saturating_sub(since) >= grace.as_secs() {
            true => doomed.push(file),
            false => drop(unused.insert(file.name.to_string(), since)),
        }
    }
    let swept = Swept {
        removed_bytes: doomed.iter().map(|file| file.size_bytes).sum(),
        removed: doomed.iter().map(|file| file.name.clone()).collect(),
        unused: unused.len() as u64,
    };
    write_note(&reader, unused, seconds, &notes)?;
    // Indexes first: who reads a tree that was taken away meanwhile misses the
    // index and is told so at once.
    doomed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    in_parallel(CONNECTIONS, &doomed, |file| backend.remove(&file.name))?;
    Ok(swept)
}

/// What the trees need, by name.
fn needed(reader: &Reader<'_>) -> Result<HashSet<Name>, CacheError> {
    let trees = list(reader, TREES)?;
    let trees = trees.iter().filter_map(|file| digest_in(TREES, &file.name));
    let trees: Vec<TreeId> = trees.map(TreeId).collect();
    let described = in_parallel(CONNECTIONS, &trees, |tree| reader.describe(tree))?;
    let mut names = HashSet::new();
    for description in described.into_iter().flatten() {
        let indexes = description.indexes.iter();
        names.extend(indexes.map(|needed| index_name(&needed.index)));
        names.extend(description.packs.iter().map(pack_name));
    }
    Ok(names)
}

/// What the last sweep found, and all notes there are.
fn last_note(reader: &Reader<'_>) -> Result<(BTreeMap<String, u64>, Vec<Name>), CacheError> {
    let mut notes = list(reader, CONDEMNED)?;
    let seconds = |note: &Listed| note.name.as_str().rsplit('/').next()?.parse::<u64>().ok();
    notes.retain(|note| seconds(note).is_some());
    let last = notes.iter().max_by_key(|note| seconds(note));
    let names = notes.iter().map(|note| note.name.clone()).collect();
    let Some(last) = last else {
        return Ok((BTreeMap::new(), names));
    };
    let Some(bytes) = reader.whole(&last.name, MAX_NOTE_BYTES)? else {
        return Ok((BTreeMap::new(), names));
    };
    // One that cannot be read is as good as none: everything waits once more.
    let note = Note::decode(&bytes).unwrap_or_default();
    Ok((note.unused.into_iter().collect(), names))
}

fn write_note(
    reader: &Reader<'_>,
    unused: BTreeMap<String, u64>,
    seconds: u64,
    old: &[Name],
) -> Result<(), CacheError> {
    let name = match Name::new(format!("{CONDEMNED}/{seconds}")) {
        Ok(name) => name,
        Err(error) => unreachable!("a word of ours and digits: {error}"),
    };
    let note = Note {
        version: NOTE_VERSION,
        unused: unused.into_iter().collect(),
    };
    if !note.unused.is_empty() {
        let bytes = note.encode();
        let size_bytes = bytes.len() as u64;
        let put = reader
            .backend
            .put(&name, &mut Cursor::new(bytes), size_bytes);
        put?;
    }
    let keeps = |old: &&Name| **old == name && !note.unused.is_empty();
    let mut old = old.iter().filter(|old| !keeps(old));
    Ok(old.try_for_each(|old| reader.backend.remove(old))?)
}

fn list(reader: &Reader<'_>, directory: &str) -> Result<Vec<Listed>, CacheError> {
    reader.check_cancelled()?;
    let listed = reader.backend.list(&format!("{directory}/"))?;
    listed.ok_or_else(|| CacheError::Unlisted {
        place: reader.backend.place(),
    })
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
