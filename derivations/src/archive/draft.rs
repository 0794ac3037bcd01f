//! The tree of an archive while it is being read. A file is the number of its
//! content, because contents are hashed on other threads meanwhile.

use std::collections::BTreeMap;

use kiln_store::hash::ContentId;
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::tree::{Name, Node};

use super::Refusal;

/// A file's place in the list of contents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(pub(super) usize);

#[derive(Clone, Debug)]
pub(super) enum Draft {
    File { slot: Slot, executable: bool },
    Symlink { target: Vec<u8> },
    Directory(Folder),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    entries: BTreeMap<Name, Draft>,
}

impl Folder {
    /// Puts `draft` at `path`. A later member replaces an earlier one, as tar
    /// does; directories are merged, and missing ones are made.
    pub(super) fn insert(&mut self, path: &[Name], draft: Draft) -> Result<(), Refusal> {
        let Some((name, parents)) = path.split_last() else {
            return match draft {
                Draft::Directory(_) => Ok(()),
                _ => Err(Refusal::Root),
            };
        };
        let folder = parents
            .iter()
            .try_fold(self, |folder, name| folder.descend(name))?;
        match (folder.entries.get(name), &draft) {
            (Some(Draft::Directory(_)), Draft::Directory(_)) => return Ok(()),
            (Some(Draft::Directory(old)), _) if !old.entries.is_empty() => {
                return Err(Refusal::OverDirectory);
            }
            _ => {}
        }
        folder.entries.insert(name.clone(), draft);
        Ok(())
    }

    fn descend(&mut self, name: &Name) -> Result<&mut Folder, Refusal> {
        let entry = self
            .entries
            .entry(name.clone())
            .or_insert_with(|| Draft::Directory(Self::default()));
        match entry {
            Draft::Directory(folder) => Ok(folder),
            Draft::Symlink { .. } => Err(Refusal::ThroughSymlink),
            Draft::File { .. } => Err(Refusal::ThroughFile),
        }
    }

    /// What a hard link to `path` becomes: the same content under another name.
    pub(super) fn linked(&self, path: &[Name]) -> Result<Draft, Refusal> {
        let (name, parents) = path.split_last().ok_or(Refusal::LinkToDirectory)?;
        let folder =
            parents
                .iter()
                .try_fold(self, |folder, name| match folder.entries.get(name) {
                    Some(Draft::Directory(folder)) => Ok(folder),
                    _ => Err(Refusal::DanglingLink),
                })?;
        match folder.entries.get(name) {
            None => Err(Refusal::DanglingLink),
            Some(Draft::Directory(_)) => Err(Refusal::LinkToDirectory),
            Some(leaf) => Ok(leaf.clone()),
        }
    }

    /// Fills in the contents.
    pub(super) fn finish(self, contents: &[(ContentId, u64)]) -> MutableDirectory {
        let entries = self.entries.into_iter();
        MutableDirectory {
            entries: entries
                .map(|(name, draft)| (name, draft.finish(contents)))
                .collect(),
        }
    }
}

impl Draft {
    fn finish(self, contents: &[(ContentId, u64)]) -> MutableNode {
        match self {
            Self::Directory(folder) => MutableNode::Directory(folder.finish(contents)),
            Self::Symlink { target } => MutableNode::Leaf(Node::Symlink { target }),
            Self::File { slot, executable } => {
                let (content, size) = contents[slot.0];
                MutableNode::Leaf(Node::File {
                    content,
                    size,
                    executable,
                })
            }
        }
    }
}
