//! What a tree consists of, in the order in which it will be read.

use std::collections::HashSet;

use crate::hash::{ContentId, TreeId};
use crate::objects::{ObjectError, Objects};
use crate::tree::Node;

/// All of a tree, each thing once, in the order of a walk.
#[derive(Default)]
pub(super) struct Parts {
    /// Directories and their encodings.
    pub(super) directories: Vec<(TreeId, Vec<u8>)>,
    /// Files that are not empty, and their sizes in bytes.
    pub(super) files: Vec<(ContentId, u64)>,
}

/// Walks over a tree: a directory before what is in it, names in order.
pub(super) fn walk(objects: &dyn Objects, tree: &TreeId) -> Result<Parts, ObjectError> {
    let mut parts = Parts::default();
    let mut seen = HashSet::new();
    let mut seen_files = HashSet::new();
    let mut todo = vec![*tree];
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        let directory = objects.directory(&id)?;
        parts.directories.push((id, directory.encode()));
        let first = todo.len();
        for entry in directory.entries() {
            match &entry.node {
                Node::File { content, size, .. } if *size > 0 => {
                    if seen_files.insert(*content) {
                        parts.files.push((*content, *size));
                    }
                }
                Node::Directory { tree } => todo.push(*tree),
                Node::File { .. } | Node::Symlink { .. } => {}
            }
        }
        todo[first..].reverse();
    }
    Ok(parts)
}
