//! Archives decoded straight into nodes, never through a disk path.
//!
//! An archive is a stream that somebody else wrote. What it may do is small:
//! add files, symlinks, hard links and directories below one root. Everything
//! else is refused by the member's name, and nothing of it is guessed.
//!
//! - [`source`]: source archives (tar, compressed or not), and single files.
//! - [`deb`]: Debian binary packages, which are [`ar`] archives of two tars.
//! - [`compression`]: gzip, bzip2, xz, zstd or none, told apart by their magic.
//! - [`limits`]: how much one archive may unpack to.
//!
//! Inside, [`tar`] walks members, [`draft`] keeps the tree while it grows, and
//! [`intake`] hashes and writes contents on other threads while the archive is
//! still being decompressed.
//!
//! Every function takes a `Read` and an [`Objects`]; none opens a file, knows
//! where an archive came from, or checks its hash: that was done before.
//!
//! [`Objects`]: kiln_store::objects::Objects

pub mod ar;
pub mod compression;
pub mod deb;
mod draft;
mod error;
mod intake;
pub mod limits;
mod member;
pub mod source;
mod tar;
mod xz;

pub use compression::Compression;
pub use error::{ArchiveError, Refusal};
pub use limits::Limits;

use kiln_store::hash::TreeId;

/// What an archive was decoded into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The tree.
    pub tree: TreeId,
    /// What the tree cannot say, sorted by path: one record for each entry that
    /// is not root's, or whose mode is not what its node says. Empty for source
    /// archives, whose owners mean nothing.
    pub metadata: Vec<Metadata>,
    /// How many members were kept.
    pub entries: u64,
    /// The bytes of all their contents.
    pub content_bytes: u64,
}

/// Owner, mode and extended attributes of one entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// The path below the root, without a leading `/`.
    pub path: Vec<u8>,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// The permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
