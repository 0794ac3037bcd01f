//! The second step of a push: puts packed frames into packs, and completes the
//! indexes of trees whose packs are closed.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender};

use super::upload::Batch;
use crate::cache::catalogue::{Catalogue, Entry, Number, Span};
use crate::cache::description::{Description, Needed};
use crate::cache::error::CacheError;
use crate::cache::id::{IndexId, PackId};
use crate::cache::index::{Chunk, File, Frame, Index, Run};
use crate::hash::{ContentId, Digest, TreeId};

/// A pack is closed before it grows beyond this, in bytes.
const PACK_BYTES: usize = 32 << 20;

/// A frame before it is packed.
#[derive(Debug, Default)]
pub(super) struct Raw {
    /// Chunks, one after another.
    pub(super) bytes: Vec<u8>,
    /// How many.
    pub(super) chunks: u32,
}

/// A packed frame, how long it was before, and how many chunks are in it.
pub(super) type Packed = io::Result<(Vec<u8>, u32, u32)>;

/// What goes into packs, in order.
pub(super) enum Item {
    /// A frame, once it is packed.
    Frame(Receiver<Packed>),
    /// The tree that all frames since the last one belong to.
    Tree(Box<Draft>),
}

/// A tree whose chunks are handed on, and its index but for the frames.
pub(super) struct Draft {
    tree: TreeId,
    own: Number,
    /// Indexes that it refers to.
    used: BTreeSet<Number>,
    chunks: Vec<Chunk>,
    files: Vec<(ContentId, Vec<Span>)>,
    directories: Vec<Vec<u8>>,
    /// Its frames, with the number of each one's pack within the push.
    frames: Vec<Frame>,
}

impl Draft {
    pub(super) fn new(tree: TreeId, own: Number, used: BTreeSet<Number>, entry: &Entry) -> Self {
        let contents = entry.index.files.iter().map(|file| file.content);
        let mut files: Vec<_> = contents.zip(entry.spans.iter().cloned()).collect();
        files.sort_unstable_by_key(|(content, _)| *content);
        Self {
            tree,
            own,
            used,
            chunks: entry.index.chunks.clone(),
            files,
            directories: entry.index.directories.clone(),
            frames: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.files.is_empty() && self.directories.is_empty()
    }
}

/// What indexes are called, by their number.
#[derive(Default)]
pub(super) struct Ledger(Vec<Option<Noted>>);

struct Noted {
    needed: Needed,
    packs: Vec<PackId>,
}

impl Ledger {
    /// Those that the cache has.
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        let noted = catalogue.entries().iter().map(|entry| {
            Some(Noted {
                needed: Needed {
                    index: entry.id?,
                    size_bytes: entry.size_bytes,
                },
                packs: entry.index.packs.clone(),
            })
        });
        Self(noted.collect())
    }

    fn note(&mut self, number: Number, noted: Noted) {
        let number = number as usize;
        if self.0.len() <= number {
            self.0.resize_with(number + 1, || None);
        }
        self.0[number] = Some(noted);
    }

    fn get(&self, number: Number) -> &Noted {
        match self.0.get(number as usize) {
            Some(Some(noted)) => noted,
            // A tree refers to what the cache has, to trees before it, which
            // are completed before it, and to its own.
            _ => unreachable!("index {number} is completed before it is referred to"),
        }
    }
}

/// Packs that are being filled, one after another.
pub(super) struct Packing {
    ledger: Ledger,
    batches: SyncSender<Batch>,
    /// The packs that are closed.
    closed: Vec<PackId>,
    /// The one that is open.
    open: Vec<u8>,
    /// How long its frames were before they were packed.
    open_raw_bytes: u64,
    /// Batches that were handed on.
    handed_on: u64,
    /// Frames of the tree that is not handed on yet.
    frames: Vec<Frame>,
    /// Trees that wait for the open pack.
    waiting: VecDeque<Draft>,
}

impl Packing {
    pub(super) fn new(ledger: Ledger, batches: SyncSender<Batch>) -> Self {
        Self {
            ledger,
            batches,
            closed: Vec::new(),
            open: Vec::new(),
            open_raw_bytes: 0,
            handed_on: 0,
            frames: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self, items: Receiver<Item>) -> Result<(), CacheError> {
        for item in items {
            match item {
                Item::Frame(packed) => self.frame(packed)?,
                Item::Tree(mut draft) => {
                    draft.frames = std::mem::take(&mut self.frames);
                    self.waiting.push_back(*draft);
                }
            }
        }
        self.close()
    }

    fn frame(&mut self, packed: Receiver<Packed>) -> Result<(), CacheError> {
        let packed = packed.recv().map_err(|_| CacheError::Cancelled)?;
        let (bytes, raw, chunks) = packed.map_err(packing)?;
        if !self.open.is_empty() && self.open.len() + bytes.len() > PACK_BYTES {
            self.close()?;
        }
        self.frames.push(Frame {
            pack: self.closed.len() as u32,
            offset: self.open.len() as u64,
            packed: bytes.len() as u32,
            raw,
            chunks,
        });
        self.open.extend_from_slice(&bytes);
        self.open_raw_bytes += u64::from(raw);
        Ok(())
    }

    /// Closes the open pack and completes what waited for it.
    fn close(&mut self) -> Result<(), CacheError> {
        let mut batch = Batch {
            number: self.handed_on,
            raw_bytes: std::mem::take(&mut self.open_raw_bytes),
            ..Batch::default()
        };
        if !self.open.is_empty() {
            let id = PackId(Digest::of(&self.open));
            self.closed.push(id);
            batch.pack = Some((id, std::mem::take(&mut self.open)));
        }
        let complete = |draft: &Draft| {
            let last = draft.frames.last();
            last.is_none_or(|frame| (frame.pack as usize) < self.closed.len())
        };
        let count = self
            .waiting
            .iter()
            .take_while(|draft| complete(draft))
            .count();
        for draft in self.waiting.drain(..count).collect::<Vec<_>>() {
            self.complete(draft, &mut batch)?;
        }
        self.handed_on += 1;
        let sent = self.batches.send(batch);
        sent.map_err(|_| CacheError::Cancelled)
    }

    fn complete(&mut self, draft: Draft, batch: &mut Batch) -> Result<(), CacheError> {
        let (tree, mut used) = (draft.tree, draft.used.clone());
        if !draft.is_empty() {
            let own = draft.own;
            let index = self.index(draft);
            let stored = index.pack().map_err(packing)?;
            let id = IndexId(Digest::of(&stored));
            let needed = Needed {
                index: id,
                size_bytes: stored.len() as u64,
            };
            let packs = index.packs;
            self.ledger.note(own, Noted { needed, packs });
            batch.indexes.push((id, stored));
            used.insert(own);
        }
        let used: Vec<_> = used.iter().map(|number| self.ledger.get(*number)).collect();
        let packs = used.iter().flat_map(|noted| &noted.packs).copied();
        let indexes = used.iter().map(|noted| noted.needed);
        let description = Description::new(tree, indexes.collect(), packs.collect());
        batch.trees.push(description);
        Ok(())
    }

    fn index(&self, draft: Draft) -> Index {
        let mut index = Index::new();
        let spans = draft.files.iter().flat_map(|(_, spans)| spans);
        let others = spans
            .map(|span| span.index)
            .filter(|from| *from != draft.own);
        let others: BTreeSet<IndexId> = others
            .map(|number| self.ledger.get(number).needed.index)
            .collect();
        index.others = others.into_iter().collect();
        let run = |span: &Span| Run {
            from: match span.index == draft.own {
                true => 0,
                false => self.place(&index.others, span.index),
            },
            first: span.first,
            count: span.count,
        };
        let files = draft.files.iter().map(|(content, spans)| File {
            content: *content,
            runs: spans.iter().map(run).collect(),
        });
        index.files = files.collect();
        index.chunks = draft.chunks;
        index.directories = draft.directories;
        index.frames = draft.frames;
        let first = index.frames.first().map_or(0, |frame| frame.pack);
        let last = index.frames.last().map(|frame| frame.pack);
        for frame in &mut index.frames {
            frame.pack -= first;
        }
        if let Some(last) = last {
            index.packs = self.closed[first as usize..=last as usize].to_vec();
        }
        index
    }

    /// The number of an index among the others, from one.
    fn place(&self, others: &[IndexId], number: Number) -> u32 {
        let id = self.ledger.get(number).needed.index;
        match others.binary_search(&id) {
            Ok(place) => place as u32 + 1,
            Err(_) => unreachable!("all that are referred to are among the others"),
        }
    }
}

fn packing(source: io::Error) -> CacheError {
    CacheError::Io {
        what: "packing",
        source,
    }
}
