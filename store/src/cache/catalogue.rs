//! What some indexes of a cache hold, taken together: where each chunk, file and
//! directory can be found. Pure.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Range;

use super::id::{ChunkId, IndexId};
use super::index::{Chunk, File, Index};
use crate::hash::{ContentId, TreeId};
use crate::tree::Directory;

/// The number of an index in a [`Catalogue`].
pub type Number = u32;

/// Chunks that follow one another in an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Which index.
    pub index: Number,
    /// The number of the first chunk there.
    pub first: u32,
    /// How many; at least one.
    pub count: u32,
}

/// An index, and what tells it from others.
#[derive(Debug)]
pub struct Entry {
    /// Which it is. One that is still being filled has none.
    pub id: Option<IndexId>,
    /// Its size as it is stored, in bytes; while it is being filled, a guess.
    pub size_bytes: u64,
    /// What it says. The files of one that is being filled have their chunks in
    /// `spans` instead: what other indexes are called may not be known yet.
    pub index: Index,
    pub(super) spans: Vec<Vec<Span>>,
    /// For each chunk, how many bytes of chunks are before it; at last their sum.
    offsets: Vec<u64>,
    /// For each frame, the number of its first chunk; at last that of all.
    firsts: Vec<u32>,
}

/// Some indexes of one cache.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_id: HashMap<IndexId, Number>,
    chunks: Places<ChunkId>,
    files: Places<ContentId>,
    directories: Places<TreeId>,
}

impl Catalogue {
    /// Adds an index, once.
    pub fn add(&mut self, id: IndexId, size_bytes: u64, index: Index) {
        if self.by_id.contains_key(&id) {
            return;
        }
        let number = self.push(Some(id), size_bytes, index);
        self.by_id.insert(id, number);
    }

    /// Begins an index that is still to be filled.
    pub(super) fn begin(&mut self) -> Number {
        self.push(None, 0, Index::new())
    }

    fn push(&mut self, id: Option<IndexId>, size_bytes: u64, index: Index) -> Number {
        let number = self.entries.len() as Number;
        let mut entry = Entry {
            id,
            size_bytes,
            index,
            spans: Vec::new(),
            offsets: vec![0],
            firsts: vec![0],
        };
        entry.measure();
        let mut next = 0;
        entry.firsts.extend(entry.index.frames.iter().map(|frame| {
            next += frame.chunks;
            next
        }));
        for (at, chunk) in entry.index.chunks.iter().enumerate() {
            self.chunks.add(chunk.id, number, at);
        }
        for (at, file) in entry.index.files.iter().enumerate() {
            self.files.add(file.content, number, at);
        }
        for (at, directory) in entry.index.directories.iter().enumerate() {
            self.directories
                .add(Directory::id_of(directory), number, at);
        }
        self.entries.push(entry);
        number
    }

    /// All indexes, by number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// An index that is here.
    pub fn entry(&self, number: Number) -> &Entry {
        &self.entries[number as usize]
    }

    /// The number of an index, if it is here.
    pub fn number(&self, id: &IndexId) -> Option<Number> {
        self.by_id.get(id).copied()
    }

    /// Adds to an index that is being filled; returns the chunk's number there.
    pub(super) fn add_chunk(&mut self, number: Number, chunk: Chunk) -> u32 {
        let entry = &mut self.entries[number as usize];
        let at = entry.index.chunks.len();
        entry.index.chunks.push(chunk);
        entry.measure();
        self.chunks.add(chunk.id, number, at);
        at as u32
    }

    pub(super) fn add_file(&mut self, number: Number, content: ContentId, spans: Vec<Span>) {
        let entry = &mut self.entries[number as usize];
        self.files.add(content, number, entry.spans.len());
        entry.spans.push(spans);
        let runs = Vec::new();
        entry.index.files.push(File { content, runs });
    }

    pub(super) fn add_directory(&mut self, number: Number, id: TreeId, encoded: Vec<u8>) {
        let directories = &mut self.entries[number as usize].index.directories;
        self.directories.add(id, number, directories.len());
        directories.push(encoded);
    }

    /// Says about how large an index will be that was filled.
    pub(super) fn guess_size(&mut self, number: Number) {
        let entry = &mut self.entries[number as usize];
        let directories = entry.index.directories.iter().map(Vec::len).sum::<usize>();
        let runs = entry.spans.iter().map(Vec::len).sum::<usize>();
        let guess = entry.index.chunks.len() * 36 + directories * 2 / 3 + runs * 8;
        entry.size_bytes = guess as u64;
    }

    /// Where a chunk is: index and number there.
    pub fn chunk(&self, id: &ChunkId) -> impl Iterator<Item = (Number, u32)> {
        self.chunks.of(id)
    }

    /// Which indexes have an encoded directory, and the encoding.
    pub fn directory(&self, id: &TreeId) -> impl Iterator<Item = (Number, &[u8])> {
        let found = self.directories.of(id);
        found.map(|(number, at)| {
            let directory = &self.entry(number).index.directories[at as usize];
            (number, directory.as_slice())
        })
    }

    /// The ways in which a file of `size_bytes` can be put together: in which
    /// index it was found, and what it consists of. Those that need an index
    /// which is not here, or come to another size, are passed over.
    pub fn content(
        &self,
        id: &ContentId,
        size_bytes: u64,
    ) -> impl Iterator<Item = (Number, Vec<Span>)> {
        let whole = self.chunks.of(&ChunkId::from(*id)).map(|(index, first)| {
            let span = Span {
                index,
                first,
                count: 1,
            };
            (index, vec![span])
        });
        let listed = self.files.of(id);
        let listed = listed.filter_map(|(index, at)| Some((index, self.spans(index, at)?)));
        whole
            .chain(listed)
            .filter(move |(_, spans)| self.size_bytes(spans) == Some(size_bytes))
    }

    /// Where a chunk is among some indexes.
    pub fn chunk_in(&self, id: &ChunkId, indexes: &BTreeSet<Number>) -> Option<(Number, u32)> {
        self.chunk(id).find(|(index, _)| indexes.contains(index))
    }

    /// Which of some indexes has a directory.
    pub fn directory_in(&self, id: &TreeId, indexes: &BTreeSet<Number>) -> Option<Number> {
        let mut found = self.directory(id).map(|(index, _)| index);
        found.find(|index| indexes.contains(index))
    }

    /// How a file can be put together from some indexes alone.
    pub fn content_in(
        &self,
        id: &ContentId,
        size_bytes: u64,
        indexes: &BTreeSet<Number>,
    ) -> Option<(Number, Vec<Span>)> {
        let mut found = self.content(id, size_bytes);
        found.find(|(index, spans)| {
            let mut spans = spans.iter().map(|span| &span.index);
            indexes.contains(index) && spans.all(|index| indexes.contains(index))
        })
    }

    /// What a listed file consists of, if all of it is here.
    fn spans(&self, number: Number, at: u32) -> Option<Vec<Span>> {
        let entry = self.entry(number);
        if let Some(spans) = entry.spans.get(at as usize) {
            return Some(spans.clone());
        }
        let index = &entry.index;
        let runs = index.files[at as usize].runs.iter();
        let spans = runs.map(|run| {
            let from = match run.from.checked_sub(1) {
                None => number,
                Some(other) => self.number(&index.others[other as usize])?,
            };
            let end = run.first.checked_add(run.count)? as usize;
            (end <= self.entry(from).index.chunks.len()).then_some(Span {
                index: from,
                first: run.first,
                count: run.count,
            })
        });
        spans.collect()
    }

    /// How long the chunks of spans are together. `None` if that is more than
    /// any file has.
    pub fn size_bytes(&self, spans: &[Span]) -> Option<u64> {
        spans
            .iter()
            .try_fold(0_u64, |sum, span| sum.checked_add(self.span_bytes(span)))
    }

    /// The parts of a span that lie in one frame each, and the frame's number.
    pub fn split(&self, span: &Span) -> impl Iterator<Item = (u32, Span)> {
        let entry = self.entry(span.index);
        let (index, end) = (span.index, span.first + span.count);
        let mut first = span.first;
        std::iter::from_fn(move || {
            if first == end {
                return None;
            }
            let frame = entry.frame_of(first);
            let stop = end.min(entry.chunks_of(frame).end);
            let count = stop - first;
            let part = Span {
                index,
                first,
                count,
            };
            first = stop;
            Some((frame, part))
        })
    }

    /// How long the chunks of a span are together.
    pub fn span_bytes(&self, span: &Span) -> u64 {
        let offsets = &self.entry(span.index).offsets;
        offsets[(span.first + span.count) as usize] - offsets[span.first as usize]
    }
}

impl Entry {
    fn measure(&mut self) {
        let from = self.offsets.len() - 1;
        let mut end = self.offsets[from];
        for chunk in &self.index.chunks[from..] {
            end += u64::from(chunk.length);
            self.offsets.push(end);
        }
    }

    /// The number of the frame that a chunk is in.
    pub fn frame_of(&self, chunk: u32) -> u32 {
        self.firsts.partition_point(|first| *first <= chunk) as u32 - 1
    }

    /// The numbers of the chunks in a frame.
    pub fn chunks_of(&self, frame: u32) -> Range<u32> {
        self.firsts[frame as usize]..self.firsts[frame as usize + 1]
    }

    /// How many bytes of chunks are before this one.
    pub fn offset(&self, chunk: u32) -> u64 {
        self.offsets[chunk as usize]
    }
}

/// Where things are that may be in several indexes.
#[derive(Debug)]
struct Places<K> {
    first: HashMap<K, Place>,
    /// Second and further places.
    more: Vec<Place>,
}

/// One place, and where the next is noted in [`Places::more`].
#[derive(Clone, Copy, Debug)]
struct Place {
    index: Number,
    at: u32,
    next: u32,
}

const NO_MORE: u32 = u32::MAX;

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self {
            first: HashMap::new(),
            more: Vec::new(),
        }
    }
}

impl<K: Eq + Hash> Places<K> {
    fn add(&mut self, key: K, index: Number, at: usize) {
        let place = Place {
            index,
            at: at as u32,
            next: NO_MORE,
        };
        match self.first.entry(key) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(place);
            }
            std::collections::hash_map::Entry::Occupied(mut occupied) => {
                let next = std::mem::replace(&mut occupied.get_mut().next, self.more.len() as u32);
                self.more.push(Place { next, ..place });
            }
        }
    }

    fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = (Number, u32)> + use<'a, K> {
        let first = self.first.get(key).copied();
        let next = |place: &Place| self.more.get(place.next as usize).copied();
        std::iter::successors(first, next).map(|place| (place.index, place.at))
    }
}
