//! Looks whether a cache is whole: every file is what its name says, and every
//! tree can be put together from what is there, each byte of it right.
//!
//! All of the cache is read, packs twice. Nothing is written.

use std::collections::{HashSet, VecDeque};
use std::io::Read;

use super::backend::{Backend, ByteRange};
use super::catalogue::{Catalogue, Number, Span};
use super::description::Needed;
use super::error::{CacheError, Flaw};
use super::frame::Unpacker;
use super::id::{
    ChunkId, INDEXES, IndexId, PACKS, TREES, digest_in, index_name, pack_name, tree_name,
};
use super::index::{Index, MAX_INDEX_BYTES, MAX_PACK_BYTES};
use super::name::Name;
use super::pull::walk;
use super::remembered::Remembered;
use super::transfer::{Reader, in_parallel, load};
use super::watch::Watch;
use crate::hash::{ContentId, Digest, TreeId};

/// Packs that are held at one time.
const PACKS_AT_ONCE: usize = 2;
/// Unpacked frames that are held: neighbours in a tree are neighbours in a pack.
const FRAMES_HELD: usize = 8;

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Checked {
    /// Trees that the cache says it has.
    pub trees: u64,
    /// Indexes.
    pub indexes: u64,
    /// Packs.
    pub packs: u64,
    /// Contents of files that were put together and hashed.
    pub files: u64,
    /// Everything that is wrong.
    pub problems: Vec<CacheError>,
}

/// Reads all of a cache. An error means that it could not be read; what is wrong
/// in it is in the result.
pub fn check(backend: &dyn Backend, watch: &dyn Watch) -> Result<Checked, CacheError> {
    let reader = Reader { backend, watch };
    let packs = digests(&reader, PACKS)?;
    let indexes = digests(&reader, INDEXES)?;
    let trees = digests(&reader, TREES)?;
    let mut checked = Checked {
        trees: trees.len() as u64,
        indexes: indexes.len() as u64,
        packs: packs.len() as u64,
        ..Checked::default()
    };
    let hashed = in_parallel(PACKS_AT_ONCE, &packs, |(name, digest, _)| {
        wrong(check_pack(&reader, name, digest))
    })?;
    checked.problems.extend(hashed.into_iter().flatten());
    let decoded = in_parallel(PACKS_AT_ONCE, &indexes, |(_, digest, size_bytes)| {
        wrong(check_index(&reader, digest, *size_bytes))
    })?;
    checked.problems.extend(decoded.into_iter().flatten());
    let mut seen = HashSet::new();
    for (_, digest, _) in &trees {
        check_tree(&reader, &TreeId(*digest), &mut seen, &mut checked)?;
    }
    Ok(checked)
}

/// The files of a directory that are named as ours are: name, digest, size.
fn digests(reader: &Reader<'_>, directory: &str) -> Result<Vec<(Name, Digest, u64)>, CacheError> {
    let Some(listed) = reader.backend.list(&format!("{directory}/"))? else {
        return Err(CacheError::Unlisted {
            place: reader.backend.place(),
        });
    };
    let found = listed.into_iter().filter_map(|listed| {
        let digest = digest_in(directory, &listed.name)?;
        Some((listed.name, digest, listed.size_bytes))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    Ok(found)
}

/// What is wrong with the cache, apart from what is wrong with reading it.
fn wrong(outcome: Result<(), CacheError>) -> Result<Option<CacheError>, CacheError> {
    match outcome {
        Err(error @ (CacheError::Damaged { .. } | CacheError::Missing { .. })) => Ok(Some(error)),
        other => other.map(|()| None),
    }
}

fn check_pack(reader: &Reader<'_>, name: &Name, expected: &Digest) -> Result<(), CacheError> {
    let Some(bytes) = reader.whole(name, MAX_PACK_BYTES)? else {
        return Ok(()); // It was removed since it was listed.
    };
    let (expected, got) = (*expected, Digest::of(&bytes));
    match got == expected {
        true => Ok(()),
        false => Err(reader.damaged(name, Flaw::Hash { expected, got })),
    }
}

fn check_index(reader: &Reader<'_>, digest: &Digest, listed_bytes: u64) -> Result<(), CacheError> {
    let index = IndexId(*digest);
    let name = index_name(&index);
    let size_bytes = listed_bytes.clamp(1, MAX_INDEX_BYTES);
    let stored = reader.index_bytes(&Needed { index, size_bytes }, &name)?;
    let unpacked = Index::unpack(&stored);
    unpacked
        .map(drop)
        .map_err(|error| reader.damaged(&name, error))
}

/// Puts a tree together without keeping it.
fn check_tree(
    reader: &Reader<'_>,
    tree: &TreeId,
    seen: &mut HashSet<(ContentId, IndexId)>,
    checked: &mut Checked,
) -> Result<(), CacheError> {
    let loaded = match load(reader, &[*tree], &Remembered::nowhere()) {
        Ok(loaded) if loaded.descriptions.is_empty() => return Ok(()),
        Ok(loaded) => loaded,
        Err(error) => return note(checked, Err(error)),
    };
    let catalogue = &loaded.catalogue;
    note(checked, check_packs(reader, tree, &loaded))?;
    let walked = walk::walk(reader, catalogue, &[*tree], &mut |_| Ok(false));
    let files = match walked {
        Ok(walked) => walked.files,
        Err(error) => return note(checked, Err(error)),
    };
    let mut contents = Vec::new();
    for file in files.iter().filter(|file| file.size_bytes > 0) {
        let mut found = catalogue.content(&file.content, file.size_bytes);
        match found.next() {
            Some((index, spans)) => contents.push((spans, index, file.content)),
            None => {
                let lacks = walk::lacks(reader, tree, "file", file.content.0);
                checked.problems.push(lacks);
            }
        }
    }
    // As they lie, so that each frame is read once or a little more.
    contents.sort_by_key(|(spans, ..)| spans.first().map(|span| (span.index, span.first)));
    let mut frames = Frames::new(reader, catalogue, tree);
    for (spans, index, content) in contents {
        let index = catalogue.entry(index).id;
        if index.is_some_and(|index| seen.insert((content, index))) {
            checked.files += 1;
            note(checked, frames.check_content(&spans, &content))?;
        }
    }
    Ok(())
}

/// Whether a description names the packs that its indexes do: a sweep relies on
/// that.
fn check_packs(
    reader: &Reader<'_>,
    tree: &TreeId,
    loaded: &super::transfer::Loaded,
) -> Result<(), CacheError> {
    let named: HashSet<_> = loaded.descriptions.iter().flat_map(|d| &d.packs).collect();
    let entries = loaded.catalogue.entries().iter();
    let mut needed = entries.flat_map(|entry| &entry.index.packs);
    match needed.find(|pack| !named.contains(pack)) {
        None => Ok(()),
        Some(pack) => Err(walk::lacks(reader, tree, "pack", pack.0)),
    }
}

fn note(checked: &mut Checked, outcome: Result<(), CacheError>) -> Result<(), CacheError> {
    checked.problems.extend(wrong(outcome)?);
    Ok(())
}

/// Unpacked frames, the last of which are held.
struct Frames<'a> {
    reader: &'a Reader<'a>,
    catalogue: &'a Catalogue,
    tree: &'a TreeId,
    unpacker: Unpacker,
    held: VecDeque<((Number, u32), Vec<u8>)>,
}

impl<'a> Frames<'a> {
    fn new(reader: &'a Reader<'a>, catalogue: &'a Catalogue, tree: &'a TreeId) -> Self {
        Self {
            reader,
            catalogue,
            tree,
            unpacker: Unpacker::default(),
            held: VecDeque::new(),
        }
    }

    fn check_content(&mut self, spans: &[Span], content: &ContentId) -> Result<(), CacheError> {
        let catalogue = self.catalogue;
        let mut hasher = blake3::Hasher::new();
        for (frame, part) in spans.iter().flat_map(|span| catalogue.split(span)) {
            let entry = catalogue.entry(part.index);
            let start = entry.offset(entry.chunks_of(frame).start);
            let mut from = (entry.offset(part.first) - start) as usize;
            let (offset, pack) = (
                entry.index.frames[frame as usize].offset,
                entry.index.pack_of(frame),
            );
            let reader = self.reader;
            let raw = self.frame(part.index, frame)?;
            for chunk in &entry.index.chunks[part.first as usize..][..part.count as usize] {
                let bytes = &raw[from..from + chunk.length as usize];
                let (expected, got) = (chunk.id, ChunkId(Digest::of(bytes)));
                if got != expected {
                    let flaw = Flaw::Chunk {
                        offset,
                        expected,
                        got,
                    };
                    return Err(reader.damaged(&pack_name(&pack), flaw));
                }
                hasher.update(bytes);
                from += bytes.len();
            }
        }
        let got = Digest::from_bytes(*hasher.finalize().as_bytes());
        let content = *content;
        match got == content.0 {
            true => Ok(()),
            false => Err(self
                .reader
                .damaged(&tree_name(self.tree), Flaw::Recipe { content, got })),
        }
    }

    fn frame(&mut self, index: Number, number: u32) -> Result<&[u8], CacheError> {
        let key = (index, number);
        let at = self.held.iter().position(|(held, _)| *held == key);
        let at = match at {
            Some(at) => at,
            None => {
                if self.held.len() == FRAMES_HELD {
                    self.held.pop_front();
                }
                let raw = self.read(index, number)?;
                self.held.push_back((key, raw));
                self.held.len() - 1
            }
        };
        Ok(&self.held[at].1)
    }

    fn read(&mut self, index: Number, number: u32) -> Result<Vec<u8>, CacheError> {
        self.reader.check_cancelled()?;
        let entry = self.catalogue.entry(index);
        let frame = entry.index.frames[number as usize];
        let name = pack_name(&entry.index.pack_of(number));
        let range = ByteRange {
            start: frame.offset,
            length: u64::from(frame.packed),
        };
        // A pack that ends before this frame is damaged, whatever a server
        // answers to such a range.
        match self.reader.backend.size(&name)? {
            None => return Err(self.reader.missing(&name, &tree_name(self.tree))),
            Some(got) if got < frame.end() => {
                let expected = frame.end();
                return Err(self.reader.damaged(&name, Flaw::Length { expected, got }));
            }
            Some(_) => {}
        }
        let Some(body) = self.reader.backend.open(&name, Some(range))? else {
            return Err(self.reader.missing(&name, &tree_name(self.tree)));
        };
        let mut packed = Vec::new();
        let read = body.content.take(range.length).read_to_end(&mut packed);
        read.map_err(|source| CacheError::Io {
            what: "reading from the cache",
            source,
        })?;
        let mut raw = vec![0; frame.raw as usize];
        self.unpacker.unpack(&packed, &mut raw).map_err(|got| {
            let flaw = Flaw::Frame {
                offset: frame.offset,
                expected: u64::from(frame.raw),
                got,
            };
            self.reader.damaged(&name, flaw)
        })?;
        Ok(raw)
    }
}
