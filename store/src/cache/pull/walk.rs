//! The directories of trees that are pulled, from the roots down.

use std::collections::HashMap;

use super::plan::Wanted;
use crate::cache::catalogue::Catalogue;
use crate::cache::error::{CacheError, Flaw};
use crate::cache::id::tree_name;
use crate::cache::transfer::Reader;
use crate::hash::{ContentId, TreeId};
use crate::order;
use crate::tree::{Directory, MAX_DEPTH, Node};

/// Directories, and a tree that is pulled and has them.
type Directories = HashMap<TreeId, (Directory, TreeId)>;

/// What some trees consist of, but for what the store has.
pub(in crate::cache) struct Walked {
    /// Directories that the store lacks.
    pub(in crate::cache) directories: Directories,
    /// The same in layers, each before whatever it names.
    pub(in crate::cache) layers: Vec<Vec<TreeId>>,
    /// What files these name, each once.
    pub(in crate::cache) files: Vec<Wanted>,
}

/// Walks over trees, but not below what `has` says the store has. Every
/// directory is what its address says: the catalogue finds them by what their
/// bytes hash to.
pub(in crate::cache) fn walk(
    reader: &Reader<'_>,
    catalogue: &Catalogue,
    trees: &[TreeId],
    has: &mut dyn FnMut(&TreeId) -> Result<bool, CacheError>,
) -> Result<Walked, CacheError> {
    let mut directories = Directories::new();
    for root in trees {
        let mut todo = vec![*root];
        while let Some(tree) = todo.pop() {
            if directories.contains_key(&tree) || has(&tree)? {
                continue;
            }
            let Some((_, encoded)) = catalogue.directory(&tree).next() else {
                return Err(lacks(reader, root, "directory", tree.0));
            };
            let directory = Directory::decode(encoded).map_err(|source| {
                let flaw = Flaw::Directory { tree, source };
                reader.damaged(&tree_name(root), flaw)
            })?;
            todo.extend(order::children(&directory));
            directories.insert(tree, (directory, *root));
        }
    }
    let children = directories.iter();
    let children: order::Children = children
        .map(|(tree, (directory, _))| (*tree, order::children(directory)))
        .collect();
    let layers = order::parents_first(&children);
    // A layer is as deep as the longest way to it.
    if layers.len() > MAX_DEPTH {
        return Err(reader.damaged(&tree_name(&trees[0]), Flaw::TooDeep));
    }
    Ok(Walked {
        files: files(reader, &directories)?,
        directories,
        layers,
    })
}

/// All files that directories name. One that has two sizes is a lie.
fn files(reader: &Reader<'_>, directories: &Directories) -> Result<Vec<Wanted>, CacheError> {
    let mut found: HashMap<ContentId, Wanted> = HashMap::new();
    for (directory, root) in directories.values() {
        for entry in directory.entries() {
            let Node::File {
                content,
                size,
                executable,
            } = entry.node
            else {
                continue;
            };
            let wanted = Wanted {
                content,
                size_bytes: size,
                executable,
                root: *root,
            };
            let first = found.entry(content).or_insert(wanted);
            if first.size_bytes != size {
                return Err(wrong_size(reader, &wanted, first.size_bytes));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// A directory gives a file another size than it has.
pub(super) fn wrong_size(reader: &Reader<'_>, file: &Wanted, got: u64) -> CacheError {
    let flaw = Flaw::Size {
        content: file.content,
        expected: file.size_bytes,
        got,
    };
    reader.damaged(&tree_name(&file.root), flaw)
}

/// None of the indexes has something.
pub(in crate::cache) fn lacks(
    reader: &Reader<'_>,
    tree: &TreeId,
    kind: &'static str,
    digest: crate::hash::Digest,
) -> CacheError {
    reader.damaged(&tree_name(tree), Flaw::Lacks { kind, digest })
}
