//! The first step of a push: reads trees, finds what is new in them, and gathers
//! that into frames.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::packs::{Draft, Item, Packed, Raw};
use super::upload::Uploads;
use super::walk::{Parts, walk};
use super::{Surveyed, choose};
use crate::cache::catalogue::{Catalogue, Number, Span};
use crate::cache::chunk::{self, WHOLE_BYTES};
use crate::cache::error::CacheError;
use crate::cache::id::ChunkId;
use crate::cache::index::Chunk;
use crate::cache::transfer::{Reader, in_parallel};
use crate::hash::{ContentId, Digest, TreeId};
use crate::objects::Objects;

/// How much a frame holds before it is packed, in bytes.
const FRAME_BYTES: usize = 4 << 20;

/// Reads trees and hands on frames.
pub(super) struct Sender<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) objects: &'a dyn Objects,
    pub(super) catalogue: Catalogue,
    pub(super) threads: usize,
    /// Frames to be packed.
    pub(super) frames: SyncSender<(Raw, SyncSender<Packed>)>,
    /// What goes into packs, in order.
    pub(super) items: SyncSender<Item>,
    /// The frame that is being gathered.
    pub(super) raw: Raw,
    /// Buffers of frames that are packed.
    pub(super) buffers: Receiver<Vec<u8>>,
    /// Where it all goes; nothing more is read once that has failed.
    pub(super) uploads: &'a Uploads<'a>,
    /// Contents that whoever watches was told to expect.
    pub(super) announced: HashSet<ContentId>,
}

/// A tree that is being sent.
struct Tree {
    /// Its own index.
    own: Number,
    /// The indexes it may refer to.
    allowed: BTreeSet<Number>,
    /// Those it does refer to.
    used: BTreeSet<Number>,
}

impl Sender<'_> {
    pub(super) fn run(&mut self, trees: &[TreeId]) -> Result<(), CacheError> {
        self.announce(trees)?;
        trees.iter().try_for_each(|tree| self.tree(tree))
    }

    /// Tells how much content the cache lacks, before any of it is read. What
    /// turns out to be there in pieces counts as moved.
    fn announce(&mut self, trees: &[TreeId]) -> Result<(), CacheError> {
        let mut bytes = 0;
        for tree in trees {
            self.reader.check_cancelled()?;
            for (content, size_bytes) in walk(self.objects, tree)?.files {
                let mut found = self.catalogue.content(&content, size_bytes);
                if found.next().is_none() && self.announced.insert(content) {
                    bytes += size_bytes;
                }
            }
        }
        self.reader.watch.expect(bytes);
        Ok(())
    }

    fn tree(&mut self, id: &TreeId) -> Result<(), CacheError> {
        let parts = walk(self.objects, id)?;
        let surveyed = self.survey(&parts)?;
        let chosen = choose::choose(&self.catalogue, &parts, &surveyed);
        let own = self.catalogue.begin();
        let mut tree = Tree {
            own,
            allowed: chosen,
            used: BTreeSet::new(),
        };
        tree.allowed.insert(own);
        for (directory, encoded) in parts.directories {
            match self.catalogue.directory_in(&directory, &tree.allowed) {
                Some(index) => drop(tree.used.insert(index)),
                None => self.catalogue.add_directory(own, directory, encoded),
            }
        }
        for (content, size_bytes) in &parts.files {
            self.file(&mut tree, content, *size_bytes, surveyed.get(content))?;
        }
        self.flush()?;
        self.catalogue.guess_size(own);
        let draft = Draft::new(*id, own, tree.used, self.catalogue.entry(own));
        self.hand_on(Item::Tree(Box::new(draft)))
    }

    /// Cuts what is nowhere as a whole.
    fn survey(&self, parts: &Parts) -> Result<Surveyed, CacheError> {
        let files = parts.files.iter();
        let lacking: Vec<ContentId> = files
            .filter(|(content, size_bytes)| {
                *size_bytes > WHOLE_BYTES
                    && self
                        .catalogue
                        .content(content, *size_bytes)
                        .next()
                        .is_none()
            })
            .map(|(content, _)| *content)
            .collect();
        let (reader, objects) = (&self.reader, self.objects);
        let chunks = in_parallel(self.threads, &lacking, |content| {
            cut(reader, objects, content)
        })?;
        Ok(lacking.into_iter().zip(chunks).collect())
    }

    fn file(
        &mut self,
        tree: &mut Tree,
        content: &ContentId,
        size_bytes: u64,
        chunks: Option<&Vec<Chunk>>,
    ) -> Result<(), CacheError> {
        let found = self
            .catalogue
            .content_in(content, size_bytes, &tree.allowed);
        let is_announced = self.announced.remove(content);
        if let Some((index, spans)) = found {
            if is_announced {
                self.reader.watch.moved(size_bytes);
            }
            tree.used.insert(index);
            tree.used.extend(spans.iter().map(|span| span.index));
            return Ok(());
        }
        if !is_announced {
            self.reader.watch.expect(size_bytes);
        }
        match chunks {
            Some(chunks) => self.chunks(tree, content, chunks),
            None if size_bytes <= WHOLE_BYTES => self.small(tree, content, size_bytes),
            // It is somewhere, but not where the tree may refer to.
            None => {
                let chunks = cut(&self.reader, self.objects, content)?;
                self.chunks(tree, content, &chunks)
            }
        }
    }

    /// Sends a file of one chunk, which was not read yet.
    fn small(
        &mut self,
        tree: &Tree,
        content: &ContentId,
        size_bytes: u64,
    ) -> Result<(), CacheError> {
        self.make_room(size_bytes as usize)?;
        let mut file = self.objects.open_file(content)?;
        let start = self.raw.bytes.len();
        // One byte more than it should have, so that too many are noticed.
        let read = (&mut file)
            .take(size_bytes + 1)
            .read_to_end(&mut self.raw.bytes);
        read.map_err(reading)?;
        let got = Digest::of(&self.raw.bytes[start..]);
        if got != content.0 {
            return Err(damaged(content, got));
        }
        self.count(tree.own, ChunkId(got), size_bytes as u32);
        Ok(())
    }

    /// Sends those chunks of a file that its tree's indexes lack.
    fn chunks(
        &mut self,
        tree: &mut Tree,
        content: &ContentId,
        chunks: &[Chunk],
    ) -> Result<(), CacheError> {
        let mut file = self.objects.open_file(content)?;
        let mut spans: Vec<Span> = Vec::new();
        for wanted in chunks {
            let length = u64::from(wanted.length);
            let (index, at) = match self.catalogue.chunk_in(&wanted.id, &tree.allowed) {
                Some(found) => {
                    skip(&mut file, length).map_err(reading)?;
                    self.reader.watch.moved(length);
                    found
                }
                None => {
                    self.make_room(wanted.length as usize)?;
                    append(&mut file, length, &mut self.raw.bytes).map_err(reading)?;
                    (tree.own, self.count(tree.own, wanted.id, wanted.length))
                }
            };
            tree.used.insert(index);
            extend(&mut spans, index, at);
        }
        // A file of one chunk is found by that.
        if chunks.len() > 1 {
            self.catalogue.add_file(tree.own, *content, spans);
        }
        Ok(())
    }

    /// Notes a chunk that was put at the end of the frame.
    fn count(&mut self, own: Number, id: ChunkId, length: u32) -> u32 {
        self.raw.chunks += 1;
        self.catalogue.add_chunk(own, Chunk { id, length })
    }

    fn make_room(&mut self, length: usize) -> Result<(), CacheError> {
        match self.raw.bytes.len() + length > FRAME_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Hands on the frame. The next thing begins another.
    fn flush(&mut self) -> Result<(), CacheError> {
        if self.raw.chunks == 0 {
            return Ok(());
        }
        self.reader.check_cancelled()?;
        // What was packed before has left a buffer, but for the first few.
        let mut bytes = self.buffers.try_recv().unwrap_or_default();
        bytes.clear();
        bytes.reserve(FRAME_BYTES);
        let next = Raw { bytes, chunks: 0 };
        let raw = std::mem::replace(&mut self.raw, next);
        let (reply, packed) = sync_channel(1);
        self.hand_on(Item::Frame(packed))?;
        let sent = self.frames.send((raw, reply));
        sent.map_err(|_| CacheError::Cancelled)
    }

    /// Whoever hung up says why it did.
    fn hand_on(&self, item: Item) -> Result<(), CacheError> {
        self.uploads.check()?;
        self.items.send(item).map_err(|_| CacheError::Cancelled)
    }
}

/// Reads a file as a whole, and says what chunks it consists of.
fn cut(
    reader: &Reader<'_>,
    objects: &dyn Objects,
    content: &ContentId,
) -> Result<Vec<Chunk>, CacheError> {
    reader.check_cancelled()?;
    let mut file = objects.open_file(content)?;
    let (chunks, got) = chunk::survey(&mut file).map_err(reading)?;
    match got == *content {
        true => Ok(chunks),
        false => Err(damaged(content, got.0)),
    }
}

/// Adds a chunk to spans.
fn extend(spans: &mut Vec<Span>, index: Number, at: u32) {
    match spans.last_mut() {
        Some(last) if last.index == index && last.first + last.count == at => last.count += 1,
        _ => spans.push(Span {
            index,
            first: at,
            count: 1,
        }),
    }
}

/// Reads exactly so many bytes, to the end of what is in `bytes`.
fn append(file: &mut dyn Read, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    match file.take(length).read_to_end(bytes)? as u64 == length {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads exactly so many bytes, for nothing.
fn skip(file: &mut dyn Read, length: u64) -> io::Result<()> {
    match io::copy(&mut file.take(length), &mut io::sink())? == length {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn reading(source: io::Error) -> CacheError {
    CacheError::Io {
        what: "reading from the store",
        source,
    }
}

fn damaged(content: &ContentId, got: Digest) -> CacheError {
    CacheError::Source {
        content: *content,
        got,
    }
}
