//! The index: what one push added to a cache for one tree. Pure.
//!
//! Bytes, zstd over what bincode writes (`v` is a variable-length integer):
//!
//! ```text
//! index = v(1)                                   ; version
//!         v(packs) pack-id[32]*                  ; each is used
//!         v(frames) frame*                       ; by pack, by offset
//!         v(chunks) chunk*                       ; in the order of the frames
//!         v(others) index-id[32]*                ; sorted strictly
//!         v(files) file*                         ; sorted strictly
//!         v(directories) (v(length) bytes)*      ; as `tree.rs` encodes them
//! frame = v(pack) v(offset) v(packed) v(raw) v(chunks)
//! chunk = id[32] v(length)
//! file  = content[32] v(runs) run*               ; of more than one chunk
//! run   = v(from) v(first) v(count)              ; from: 0 is this index,
//! ```                                              n the n-th of the others
//!
//! A file that is one chunk needs no entry: the chunk's digest is its own. The
//! size of a file stands in the directory that names it. A file that was changed
//! in one place is two runs of an older index and one of this.

use std::io::Read;

use bincode::{Decode, Encode};

use super::error::FormatError;
use super::id::{ChunkId, IndexId, PackId};
use crate::canonical::{self, MAX_OBJECT_BYTES};
use crate::hash::ContentId;

/// The version of this format.
pub const INDEX_VERSION: u32 = 1;
/// The largest index that is read, as it is stored, in bytes.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The largest frame that is read, unpacked, in bytes.
pub const MAX_FRAME_BYTES: u32 = 16 << 20;
/// The largest pack that is read, in bytes.
pub const MAX_PACK_BYTES: u64 = 256 << 20;

/// A frame of a pack, and how much is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Frame {
    /// The number of its pack in [`Index::packs`].
    pub pack: u32,
    /// Where it begins in the pack, in bytes.
    pub offset: u64,
    /// How long it is in the pack, in bytes.
    pub packed: u32,
    /// How long it is unpacked, in bytes.
    pub raw: u32,
    /// How many chunks are in it.
    pub chunks: u32,
}

impl Frame {
    /// Where it ends in its pack, in bytes.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.packed))
    }
}

/// A piece of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Chunk {
    /// Its digest.
    pub id: ChunkId,
    /// How long it is, in bytes.
    pub length: u32,
}

/// Chunks that follow one another in an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Run {
    /// In which index: 0 is the one that this stands in, `n` the `n`-th of
    /// [`Index::others`].
    pub from: u32,
    /// The number of the first chunk there.
    pub first: u32,
    /// How many; at least one.
    pub count: u32,
}

/// A file of more than one chunk.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct File {
    /// Its address.
    pub content: ContentId,
    /// What it consists of, in order.
    pub runs: Vec<Run>,
}

/// What one push added for one tree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Index {
    version: u32,
    /// The packs that have the frames.
    pub packs: Vec<PackId>,
    /// The frames, by pack and offset.
    pub frames: Vec<Frame>,
    /// The chunks in all frames, one frame's after another's.
    pub chunks: Vec<Chunk>,
    /// Other indexes that files have chunks from, sorted strictly.
    pub others: Vec<IndexId>,
    /// The files of more than one chunk, sorted strictly by content.
    pub files: Vec<File>,
    /// Encoded directories.
    pub directories: Vec<Vec<u8>>,
}

impl Index {
    /// An index with nothing in it.
    pub fn new() -> Self {
        Self {
            version: INDEX_VERSION,
            ..Self::default()
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.files.is_empty() && self.directories.is_empty()
    }

    /// The pack of a frame.
    pub fn pack_of(&self, frame: u32) -> PackId {
        self.packs[self.frames[frame as usize].pack as usize]
    }

    /// The packs, and how far into each the frames reach, in bytes.
    pub fn pack_ends(&self) -> impl Iterator<Item = (PackId, u64)> {
        let frames = self.frames.iter();
        frames.map(|frame| (self.packs[frame.pack as usize], frame.end()))
    }

    /// The canonical encoding, not yet packed.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes and checks everything that can be checked without the packs and
    /// the other indexes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        check_version(bytes, INDEX_VERSION)?;
        let index: Self = canonical::decode(bytes)?;
        index.check()?;
        Ok(index)
    }

    /// As it is stored.
    pub fn pack(&self) -> std::io::Result<Vec<u8>> {
        zstd::bulk::compress(&self.encode(), LEVEL)
    }

    /// Reads what is stored, and says how many bytes it was unpacked. However
    /// little is stored, that is at most [`MAX_OBJECT_BYTES`].
    pub fn unpack(stored: &[u8]) -> Result<(Self, u64), FormatError> {
        let decoder = zstd::stream::read::Decoder::with_buffer(stored);
        let mut bytes = Vec::new();
        let limit = MAX_OBJECT_BYTES as u64 + 1;
        let unpacked = decoder.and_then(|decoder| decoder.take(limit).read_to_end(&mut bytes));
        unpacked.map_err(FormatError::Packing)?;
        Ok((Self::decode(&bytes)?, bytes.len() as u64))
    }

    fn check(&self) -> Result<(), FormatError> {
        self.check_frames()?;
        if !strictly_sorted(self.others.iter()) {
            return Err(FormatError::Rule("its other indexes are not sorted"));
        }
        if !strictly_sorted(self.files.iter().map(|file| &file.content)) {
            return Err(FormatError::Rule("its files are not sorted"));
        }
        let mut runs = self.files.iter().flat_map(|file| &file.runs);
        if !runs.all(|run| self.is_possible(run)) {
            return Err(FormatError::Rule("a file has chunks that are not there"));
        }
        match self.files.iter().any(|file| file.runs.is_empty()) {
            true => Err(FormatError::Rule("a file has no chunks")),
            false => Ok(()),
        }
    }

    /// How far the chunks of another index reach is not known here.
    fn is_possible(&self, run: &Run) -> bool {
        let end = run.first.checked_add(run.count);
        run.count > 0
            && run.from as usize <= self.others.len()
            && end.is_some_and(|end| run.from > 0 || end as usize <= self.chunks.len())
    }

    fn check_frames(&self) -> Result<(), FormatError> {
        let rule = |text| Err(FormatError::Rule(text));
        let mut chunks = self.chunks.as_slice();
        // The pack of the frame before, and where that frame ends.
        let mut before: Option<(u32, u64)> = None;
        for frame in &self.frames {
            let (next, start) = match before {
                Some((pack, end)) if pack == frame.pack => (pack, end),
                Some((pack, _)) => (pack.saturating_add(1), 0),
                None => (0, 0),
            };
            if frame.pack != next || frame.offset < start {
                return rule("its frames are not sorted");
            }
            let end = frame.end();
            if frame.packed == 0 || end > MAX_PACK_BYTES {
                return rule("a frame lies outside of any pack");
            }
            if frame.raw > MAX_FRAME_BYTES {
                return rule("a frame is larger than any that is read");
            }
            let Some((own, rest)) = chunks.split_at_checked(frame.chunks as usize) else {
                return rule("a frame has chunks that are not there");
            };
            chunks = rest;
            let lengths: Option<u64> = own.iter().map(|chunk| nonzero(chunk.length)).sum();
            if own.is_empty() || lengths != Some(u64::from(frame.raw)) {
                return rule("a frame and its chunks differ in length");
            }
            before = Some((frame.pack, end));
        }
        if !chunks.is_empty() {
            return rule("a chunk is in no frame");
        }
        match before.map_or(0, |(pack, _)| pack as usize + 1) == self.packs.len() {
            true => Ok(()),
            false => rule("its frames are in other packs than it names"),
        }
    }
}

const LEVEL: i32 = 3;

fn nonzero(length: u32) -> Option<u64> {
    (length > 0).then_some(u64::from(length))
}

/// Whether each is greater than the one before.
pub(super) fn strictly_sorted<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    items.is_sorted_by(|a, b| a < b)
}

/// Refuses what a newer kiln wrote before anything else is looked at.
pub(super) fn check_version(bytes: &[u8], supported: u32) -> Result<(), FormatError> {
    let found = bincode::decode_from_slice::<u32, _>(bytes, bincode::config::standard());
    let (found, _) = found.map_err(canonical::CanonicalError::from)?;
    if found > supported {
        return Err(FormatError::Newer { found, supported });
    }
    match found {
        0 => Err(FormatError::Rule("it has version 0, which never was")),
        _ => Ok(()),
    }
}
