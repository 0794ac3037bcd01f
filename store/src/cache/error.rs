//! Why a push, a pull or a look at a cache failed.

use std::io;
use std::path::PathBuf;

use super::backend::BackendError;
use super::id::ChunkId;
use super::name::Name;
use crate::canonical::CanonicalError;
use crate::error::StoreError;
use crate::hash::{ContentId, Digest, TreeId};
use crate::objects::ObjectError;
use crate::tree::TreeError;

/// Why a cache could not be used. Nothing that was not verified is in the store.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The cache could not be read or written.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A file that another one names is gone, or was never there.
    #[error(
        "{place}: no `{name}`, which `{wanted_by}` names; push again what it was, or use another cache"
    )]
    Missing {
        /// The cache.
        place: String,
        /// The file that is not there.
        name: Name,
        /// The file that names it.
        wanted_by: Name,
    },
    /// A cache does not have this tree.
    #[error("{place} does not have the tree {tree}")]
    NoTree {
        /// The cache.
        place: String,
        /// The tree.
        tree: TreeId,
    },
    /// A file is not what it should be.
    #[error(
        "{place}: `{name}` is damaged or forged: {flaw}; `kiln cache check` lists what else is"
    )]
    Damaged {
        /// The cache.
        place: String,
        /// The file.
        name: Name,
        /// What is wrong with it.
        flaw: Box<Flaw>,
    },
    /// Something that is to be pushed is not what its address says.
    #[error(
        "file {content} is damaged in the store: its bytes are {got}; `kiln verify` lists what is"
    )]
    Source {
        /// Its address.
        content: ContentId,
        /// The address of what was read.
        got: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object could not be read from the store, or written to it.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Content could not be read, or compressed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        source: io::Error,
    },
    /// The directory in which indexes are remembered failed.
    #[error("{}: {source}", .path.display())]
    Remembered {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// This kind of cache cannot say what it holds.
    #[error("{place} cannot list its files; do this where they lie")]
    Unlisted {
        /// The cache.
        place: String,
    },
    /// Whoever watched wanted it to end.
    #[error("cancelled")]
    Cancelled,
}

/// What is wrong with a file of a cache.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// Its name does not agree with its bytes.
    #[error("expected bytes whose BLAKE3 is {expected}, got {got}")]
    Hash {
        /// What its name says.
        expected: Digest,
        /// What its bytes are.
        got: Digest,
    },
    /// It has more or fewer bytes than it should.
    #[error("expected {expected} bytes, got {got}")]
    Length {
        /// How many are named.
        expected: u64,
        /// How many came; one too many stands for any number.
        got: u64,
    },
    /// It is larger than anything of its kind that is read.
    #[error("it is larger than the {limit} bytes that are read")]
    TooLarge {
        /// How many are read.
        limit: u64,
    },
    /// It is not in the form of its kind.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A frame does not unpack to what the index says.
    #[error("the frame at {offset}: expected {expected} bytes unpacked, got {got}")]
    Frame {
        /// Where it begins, in bytes.
        offset: u64,
        /// How long it is, unpacked.
        expected: u64,
        /// How long it is, or what the decoder said.
        got: String,
    },
    /// A chunk is not what the index says.
    #[error("in the frame at {offset}: expected chunk {expected}, got {got}")]
    Chunk {
        /// Where the frame begins, in bytes.
        offset: u64,
        /// The chunk that should be there.
        expected: ChunkId,
        /// What is there.
        got: ChunkId,
    },
    /// All chunks are right, but together they are not the file.
    #[error("it puts file {content} together so that it becomes {got}")]
    Recipe {
        /// The file.
        content: ContentId,
        /// What the named chunks are.
        got: Digest,
    },
    /// A file has another size than the directory says that names it.
    #[error("file {content}: expected {expected} bytes, got {got}")]
    Size {
        /// The file.
        content: ContentId,
        /// What the directory says.
        expected: u64,
        /// What it has.
        got: u64,
    },
    /// Something of the tree is in none of its indexes.
    #[error("none of its indexes has {kind} {digest}")]
    Lacks {
        /// `directory` or `file`.
        kind: &'static str,
        /// Its address.
        digest: Digest,
    },
    /// A directory breaks the rules of [`crate::tree`].
    #[error("directory {tree}: {source}")]
    Directory {
        /// Its address.
        tree: TreeId,
        /// What is wrong.
        source: TreeError,
    },
    /// The tree is deeper than any that is read.
    #[error("the tree is nested more than {limit} deep", limit = crate::tree::MAX_DEPTH)]
    TooDeep,
}

/// Why bytes are no index and no description of a tree.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The encoding is wrong.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// It does not unpack.
    #[error("it does not unpack: {0}")]
    Packing(io::Error),
    /// A newer kiln wrote it.
    #[error(
        "it has version {found}, but this kiln reads only up to {supported}; use the kiln that wrote it"
    )]
    Newer {
        /// Its version.
        found: u32,
        /// The newest that is understood here.
        supported: u32,
    },
    /// A rule of the format is broken.
    #[error("{0}")]
    Rule(&'static str),
}
