//! What files of a cache and the parts of them are identified by, and what the
//! files are called.
//!
//! ```text
//! packs/ab/HEX      zstd frames of chunks; HEX is the BLAKE3 of the file
//! indexes/ab/HEX    what a push added for one tree; HEX is the BLAKE3 of the file
//! trees/ab/HEX      which indexes hold all of a tree; HEX is the tree's address
//! gc/SECONDS        what nothing used at that time (since 1970)
//! ```
//!
//! All but the last two are named by their own bytes: two pushers that write one
//! name write the same.

use std::fmt;

use bincode::{Decode, Encode};

use super::name::Name;
use crate::hash::{ContentId, Digest, TreeId};

/// Where packs lie.
pub const PACKS: &str = "packs";
/// Where indexes lie.
pub const INDEXES: &str = "indexes";
/// Where trees are described.
pub const TREES: &str = "trees";
/// Where sweeps note what they found unused.
pub const CONDEMNED: &str = "gc";

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

identifier! {
    /// The plain BLAKE3 digest of a chunk: a piece of a file's content. A file of
    /// one chunk has its digest as [`ContentId`].
    ChunkId
}
identifier! {
    /// The plain BLAKE3 digest of a pack, as it is stored.
    PackId
}
identifier! {
    /// The plain BLAKE3 digest of an index, as it is stored.
    IndexId
}

impl From<ContentId> for ChunkId {
    /// The chunk that such a content would be, if it is one chunk.
    fn from(content: ContentId) -> Self {
        Self(content.0)
    }
}

/// What a pack is called.
pub fn pack_name(id: &PackId) -> Name {
    sharded(PACKS, &id.0)
}

/// What an index is called.
pub fn index_name(id: &IndexId) -> Name {
    sharded(INDEXES, &id.0)
}

/// What the description of a tree is called.
pub fn tree_name(id: &TreeId) -> Name {
    sharded(TREES, &id.0)
}

/// The digest in the name of a file in `directory`, if it is one of ours.
pub fn digest_in(directory: &str, name: &Name) -> Option<Digest> {
    let digest = name.as_str().rsplit('/').next()?.parse().ok()?;
    (sharded(directory, &digest) == *name).then_some(digest)
}

fn sharded(directory: &str, digest: &Digest) -> Name {
    let hex = digest.to_string();
    match Name::new(format!("{directory}/{}/{hex}", &hex[..2])) {
        Ok(name) => name,
        Err(error) => unreachable!("digits and a word of ours: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let digest = Digest::of(b"a");
        let name = pack_name(&PackId(digest));
        assert_eq!(digest_in(PACKS, &name), Some(digest));
        assert_eq!(digest_in(TREES, &name), None);
        let other = Name::new(format!("packs/00/{digest}")).expect("a name");
        assert_eq!(digest_in(PACKS, &other), None);
    }
}
