//! The description of a tree in a cache: what has to be read to have all of it.
//! Pure.
//!
//! ```text
//! tree = v(1)                                    ; version
//!        tree-id[32]
//!        v(indexes) (index-id[32] v(size))*      ; sorted strictly; sizes as stored
//!        v(packs) pack-id[32]*                   ; all packs that those name, sorted
//! ```
//!
//! It is written last. The packs are for whoever sweeps, who then need not read
//! indexes.

use bincode::{Decode, Encode};

use super::error::FormatError;
use super::id::{IndexId, PackId};
use super::index::{MAX_INDEX_BYTES, check_version, strictly_sorted};
use crate::canonical;
use crate::hash::TreeId;

/// The version of this format.
pub const TREE_VERSION: u32 = 1;
/// The largest description that is read, in bytes.
pub const MAX_TREE_BYTES: u64 = 1 << 20;
/// The indexes of a tree are at most this large together, as they are stored.
pub const MAX_INDEXES_BYTES: u64 = 512 << 20;

/// An index that a tree needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct Needed {
    /// Which.
    pub index: IndexId,
    /// Its size as it is stored, in bytes.
    pub size_bytes: u64,
}

/// What has to be read to have all of a tree.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Description {
    version: u32,
    /// The tree.
    pub tree: TreeId,
    /// Indexes, sorted strictly.
    pub indexes: Vec<Needed>,
    /// All packs that these name, sorted strictly.
    pub packs: Vec<PackId>,
}

impl Description {
    /// Says what a tree needs, given in any order.
    pub fn new(tree: TreeId, mut indexes: Vec<Needed>, mut packs: Vec<PackId>) -> Self {
        indexes.sort_unstable();
        indexes.dedup();
        packs.sort_unstable();
        packs.dedup();
        Self {
            version: TREE_VERSION,
            tree,
            indexes,
            packs,
        }
    }

    /// The canonical encoding, as it is stored.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes and checks what is stored for `tree`.
    pub fn decode(tree: &TreeId, bytes: &[u8]) -> Result<Self, FormatError> {
        check_version(bytes, TREE_VERSION)?;
        let description: Self = canonical::decode(bytes)?;
        description.check(tree)?;
        Ok(description)
    }

    fn check(&self, tree: &TreeId) -> Result<(), FormatError> {
        let rule = |text| Err(FormatError::Rule(text));
        if self.tree != *tree {
            return rule("it describes another tree");
        }
        if !strictly_sorted(self.indexes.iter().map(|needed| needed.index)) {
            return rule("its indexes are not sorted");
        }
        if !strictly_sorted(self.packs.iter()) {
            return rule("its packs are not sorted");
        }
        let mut sizes = self.indexes.iter().map(|needed| needed.size_bytes);
        if sizes.any(|size| size == 0 || size > MAX_INDEX_BYTES) {
            return rule("an index has a size that none has");
        }
        // Each is bounded, so the sum of those that a file names is.
        let all: u64 = self.indexes.iter().map(|needed| needed.size_bytes).sum();
        match all > MAX_INDEXES_BYTES {
            true => rule("its indexes are larger than any tree needs"),
            false => Ok(()),
        }
    }
}
