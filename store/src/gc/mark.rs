//! What is reachable from some trees.

use std::collections::HashSet;
use std::convert::Infallible;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::blobs::read_directory;
use crate::hash::{ContentId, TreeId};
use crate::inventory::Object;
use crate::layout::Layout;
use crate::objects::ObjectError;
use crate::tree::{Directory, Node};

/// What is reachable.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    pub(crate) trees: HashSet<TreeId>,
    pub(crate) contents: HashSet<ContentId>,
}

impl Marked {
    /// Content is kept under both of its modes: a tree may want one of which
    /// only the other was written.
    pub(crate) fn has(&self, object: &Object) -> bool {
        match object {
            Object::Blob(content, _) => self.contents.contains(content),
            Object::Tree(tree) => self.trees.contains(tree),
        }
    }

    /// Marks what a directory names; returns the directories that were not
    /// marked before.
    fn add(&mut self, directory: &Directory) -> Vec<TreeId> {
        let mut found = Vec::new();
        for entry in directory.entries() {
            match &entry.node {
                Node::File { content, .. } => {
                    self.contents.insert(*content);
                }
                Node::Directory { tree } if self.trees.insert(*tree) => found.push(*tree),
                Node::Directory { .. } | Node::Symlink { .. } => {}
            }
        }
        found
    }
}

/// Marks all that is reachable from `starts`. A tree that is not here has
/// nothing below it; one that cannot be read is an error, since what it needs
/// is not known.
pub(super) fn mark(layout: &Layout, starts: HashSet<TreeId>) -> Result<Marked, ObjectError> {
    mark_with(starts, |tree| match read_directory(layout, tree) {
        Err(ObjectError::Missing { .. }) => Ok(Directory::default()),
        other => other,
    })
}

/// Marks what is reachable as far as it can be read.
pub(crate) fn mark_readable(layout: &Layout, starts: HashSet<TreeId>) -> Marked {
    let read = |tree: &TreeId| Ok(read_directory(layout, tree).unwrap_or_default());
    match mark_with::<Infallible>(starts, read) {
        Ok(marked) => marked,
        Err(never) => match never {},
    }
}

/// Level by level, so that the stack does not grow with the depth.
fn mark_with<E: Send>(
    starts: HashSet<TreeId>,
    read: impl Fn(&TreeId) -> Result<Directory, E> + Sync,
) -> Result<Marked, E> {
    let mut level: Vec<TreeId> = starts.iter().copied().collect();
    let mut marked = Marked {
        trees: starts,
        contents: HashSet::new(),
    };
    while !level.is_empty() {
        let read: Result<Vec<Directory>, E> = level.par_iter().map(&read).collect();
        level = read?.iter().flat_map(|d| marked.add(d)).collect();
    }
    Ok(marked)
}
