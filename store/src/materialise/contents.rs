//! Which contents the files of a tree have: what could share an inode.
//!
//! A content under a mode is told by eight bytes. Should two ever agree in
//! those, one is copied that could have been linked, and nothing else is
//! different.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::blobs::read_directory;
use crate::error::StoreError;
use crate::hash::{ContentId, Digest, TreeId};
use crate::parallel::{Step, Walk, walk};
use crate::store::Store;
use crate::tree::{Entry, MAX_DEPTH, Node};

/// A content under one of its two modes: an inode of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileKey(u64);

impl FileKey {
    pub(super) fn new(content: &ContentId, executable: bool) -> Self {
        let mut start = [0; 8];
        start.copy_from_slice(&content.digest().as_bytes()[..8]);
        Self(u64::from_le_bytes(start) & !1 | u64::from(executable))
    }
}

/// A set of contents, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents(Vec<FileKey>);

impl Contents {
    fn of(keys: HashSet<FileKey>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable();
        Self(keys)
    }

    /// Those that are in `other`, and those that are not.
    pub(super) fn split(self, other: &HashSet<FileKey>) -> (Self, Vec<FileKey>) {
        let (inside, outside) = self.0.into_iter().partition(|key| other.contains(key));
        (Self(inside), outside)
    }

    pub(super) fn keys(&self) -> HashSet<FileKey> {
        self.0.iter().copied().collect()
    }

    /// What the name of a tree's directory ends with in which these contents
    /// are copies.
    pub(super) fn variant(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        format!("-{}", Digest::of(&self.encode()).short())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let keys = self.0.iter();
        keys.flat_map(|FileKey(key)| key.to_le_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let keys = bytes.as_chunks::<8>().0.iter();
        Self(keys.map(|key| FileKey(u64::from_le_bytes(*key))).collect())
    }
}

/// The contents of all files in a tree.
pub(super) fn list(store: &Store, tree: &TreeId) -> Result<Contents, StoreError> {
    let list = List {
        store,
        seen: Mutex::default(),
        keys: Mutex::default(),
    };
    walk(&list, (*tree, 1))?;
    let keys = list.keys.into_inner().unwrap_or_else(|e| e.into_inner());
    Ok(Contents::of(keys))
}

struct List<'a> {
    store: &'a Store,
    seen: Mutex<HashSet<TreeId>>,
    keys: Mutex<HashSet<FileKey>>,
}

impl Walk for List<'_> {
    type Job = (TreeId, usize);
    type State = ();
    type Out = ();
    type Error = StoreError;

    fn enter(&self, (tree, depth): (TreeId, usize)) -> Result<Step<Self>, StoreError> {
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        if !seen.insert(tree) {
            return Ok(Step::Done(()));
        }
        drop(seen);
        if depth > MAX_DEPTH {
            return Err(StoreError::TooDeep { tree });
        }
        let directory = read_directory(&self.store.layout, &tree)?;
        let files = directory.entries().iter().filter_map(key);
        let mut keys = self.keys.lock().unwrap_or_else(|e| e.into_inner());
        keys.extend(files);
        drop(keys);
        let children = crate::order::children(&directory).into_iter();
        Ok(Step::Children(
            (),
            children.map(|tree| (tree, depth + 1)).collect(),
        ))
    }

    fn leave(&self, (): (), _: Vec<()>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a file shares its inode with. Empty ones are never linked: there are
/// many of them, and nothing to share.
pub(super) fn key(entry: &Entry) -> Option<FileKey> {
    match &entry.node {
        Node::File {
            content,
            size,
            executable,
        } if *size > 0 => Some(FileKey::new(content, *executable)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_split_named_and_read_back() {
        let key = |text: &str, executable| {
            FileKey::new(&ContentId(Digest::of(text.as_bytes())), executable)
        };
        let (a, b, bx) = (key("a", false), key("b", false), key("b", true));
        assert_ne!(b, bx, "modes have inodes of their own");
        let contents = Contents::of(HashSet::from([a, b, bx]));
        assert_eq!(Contents::decode(&contents.encode()), contents);
        let (inside, outside) = contents.clone().split(&HashSet::from([b]));
        assert_eq!(inside, Contents(vec![b]));
        assert_eq!(outside.len(), 2);
        assert_eq!(Contents::default().variant(), "");
        assert_ne!(inside.variant(), contents.variant());
    }
}
