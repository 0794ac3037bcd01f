//! A tree while it is being put together: names looked up by path, entries
//! added, replaced and removed, and frozen into objects at the end.
//!
//! It knows no policy: whether an entry may be replaced, and through which
//! links a path goes, is its user's business.

use std::collections::BTreeMap;

use crate::hash::TreeId;
use crate::objects::{ObjectError, Objects};
use crate::tree::{Directory, Entry, Name, Node};

/// An entry of a [`MutableDirectory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MutableNode {
    /// A file or symlink, or a directory that is taken over whole.
    Leaf(Node),
    /// A directory that is open for changes.
    Directory(MutableDirectory),
}

/// A directory that is open for changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MutableDirectory {
    /// The entries by name.
    pub entries: BTreeMap<Name, MutableNode>,
}

impl MutableDirectory {
    /// Opens a stored directory, one level deep.
    pub fn open(objects: &dyn Objects, id: &TreeId) -> Result<Self, ObjectError> {
        let entries = objects.directory(id)?.into_entries();
        Ok(Self {
            entries: entries
                .into_iter()
                .map(|entry| (entry.name, MutableNode::Leaf(entry.node)))
                .collect(),
        })
    }

    /// The directory called `name`, opened for changes. A stored directory of
    /// that name is opened; where there is none, an empty one is made. `None`
    /// if a file or a symlink stands there.
    pub fn subdirectory(
        &mut self,
        objects: &dyn Objects,
        name: &Name,
    ) -> Result<Option<&mut MutableDirectory>, ObjectError> {
        let slot = self
            .entries
            .entry(name.clone())
            .or_insert_with(|| MutableNode::Directory(Self::default()));
        if let MutableNode::Leaf(Node::Directory { tree }) = slot {
            *slot = MutableNode::Directory(Self::open(objects, tree)?);
        }
        Ok(match slot {
            MutableNode::Directory(directory) => Some(directory),
            MutableNode::Leaf(_) => None,
        })
    }

    /// Writes all directories, deepest first, and returns the root's address.
    pub fn freeze(self, objects: &dyn Objects) -> Result<TreeId, ObjectError> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (name, node) in self.entries {
            let node = match node {
                MutableNode::Leaf(node) => node,
                MutableNode::Directory(directory) => Node::Directory {
                    tree: directory.freeze(objects)?,
                },
            };
            entries.push(Entry { name, node });
        }
        objects.put_directory(&Directory::new(entries)?)
    }
}
