//! Trees: what an output is made of, and how its address is computed.
//!
//! A node is a file (content digest, size, executable bit), a symlink (target)
//! or a directory. A directory is a list of entries sorted strictly by name.
//! Nothing else of a file is kept: no owner, no time, no mode beyond the
//! executable bit, no extended attribute. What a root file system needs beyond
//! that is data of the output (see `docs/formats.md`, "rootfs metadata").
//!
//! Bytes, as bincode writes them (`v` is a variable-length integer):
//!
//! ```text
//! directory = v(count) entry*
//! entry     = v(len) name-bytes node
//! node      = v(0) content-digest[32] v(size) bool      ; file
//!           | v(1) v(len) target-bytes                  ; symlink
//!           | v(2) tree-digest[32]                      ; directory
//! TreeId    = derive_key("kiln 2026-11 directory v1", directory)
//! ```
//!
//! This module is pure: it never touches a disk.

use std::fmt;

use bincode::{Decode, Encode};

use crate::canonical::{self, CanonicalError};
use crate::hash::{ContentId, Digest, TreeId};

/// The `derive_key` context of directories.
pub const DIRECTORY_CONTEXT: &str = "kiln 2026-11 directory v1";
/// The longest symlink target, in bytes: Linux's PATH_MAX without the NUL.
pub const MAX_TARGET_BYTES: usize = 4095;
/// The deepest tree that is read or written, counted in directories.
pub const MAX_DEPTH: usize = 256;
/// The time of every file, link and directory that leaves the store:
/// 1980-01-02 00:00:00 UTC in seconds, the first day that zip can express.
pub const MTIME_S: i64 = 315_619_200;

/// The name of a directory entry: 1–255 bytes, no `/`, no NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct Name(Vec<u8>);

/// Why bytes are no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a file name: expected 1 to 255 bytes without `/` and NUL, and not `.` or `..`", String::from_utf8_lossy(.bytes))]
pub struct BadName {
    /// The bytes as given.
    pub bytes: Vec<u8>,
}

impl Name {
    /// Checks `bytes` and wraps them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadName> {
        let name = Self(bytes.into());
        if name.is_valid() {
            Ok(name)
        } else {
            Err(BadName { bytes: name.0 })
        }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn is_valid(&self) -> bool {
        !self.0.is_empty()
            && self.0.len() <= 255
            && !self.0.iter().any(|&b| b == b'/' || b == 0)
            && self.0 != b"."
            && self.0 != b".."
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl TryFrom<&str> for Name {
    type Error = BadName;

    fn try_from(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

/// What a directory entry is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub enum Node {
    /// A regular file.
    File {
        /// Plain BLAKE3 of the content.
        content: ContentId,
        /// Length of the content in bytes.
        size: u64,
        /// Whether it may be executed. The only mode bit that is kept.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its target: 1–4095 bytes, no NUL.
        target: Vec<u8>,
    },
    /// A directory.
    Directory {
        /// The digest of the encoded directory.
        tree: TreeId,
    },
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
pub struct Entry {
    /// Its name, unique within the directory.
    pub name: Name,
    /// What it is.
    pub node: Node,
}

/// A directory: entries sorted strictly by name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Encode, Decode)]
pub struct Directory {
    entries: Vec<Entry>,
}

/// Why a directory was refused.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The encoding is wrong.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// An entry's name is not allowed.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Entries are not sorted strictly by name, or a name stands twice.
    #[error("entry `{0}` is out of order or stands twice")]
    Order(Name),
    /// A symlink target is empty, too long or holds a NUL.
    #[error("symlink `{0}` has a target that no file system accepts")]
    Target(Name),
}

impl Directory {
    /// Builds a directory from entries in any order. Two entries of one name
    /// are an error.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, TreeError> {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let directory = Self { entries };
        directory.check()?;
        Ok(directory)
    }

    /// The entries, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Takes the entries out, sorted by name.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The entry of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Node> {
        self.entries
            .binary_search_by(|entry| entry.name.as_bytes().cmp(name))
            .ok()
            .map(|index| &self.entries[index].node)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes and checks everything that can be checked without the store.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let directory: Self = canonical::decode(bytes)?;
        directory.check()?;
        Ok(directory)
    }

    /// The address of this directory.
    pub fn id(&self) -> TreeId {
        Self::id_of(&self.encode())
    }

    /// The address of a directory whose encoding is at hand.
    pub fn id_of(encoded: &[u8]) -> TreeId {
        TreeId(Digest::derive(DIRECTORY_CONTEXT, encoded))
    }

    fn check(&self) -> Result<(), TreeError> {
        for pair in self.entries.windows(2) {
            if pair[0].name >= pair[1].name {
                return Err(TreeError::Order(pair[1].name.clone()));
            }
        }
        self.entries.iter().try_for_each(Entry::check)
    }
}

impl Entry {
    fn check(&self) -> Result<(), TreeError> {
        if !self.name.is_valid() {
            return Err(BadName {
                bytes: self.name.0.clone(),
            }
            .into());
        }
        match &self.node {
            Node::Symlink { target }
                if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) =>
            {
                Err(TreeError::Target(self.name.clone()))
            }
            _ => Ok(()),
        }
    }
}
