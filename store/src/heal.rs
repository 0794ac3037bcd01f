//! Removes damaged objects and everything that names them, so that what is
//! left is whole and what is missing can be made again.

use std::collections::{HashMap, HashSet};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rustix::fs;

use crate::blobs::read_directory;
use crate::error::{During, StoreError};
use crate::gc::sweep;
use crate::hash::{ContentId, TreeId};
use crate::inventory::{self, Object};
use crate::layout::Layout;
use crate::tree::{Directory, Node};

/// Removes `damaged` objects and the directories that reach them; returns the
/// latter, the damaged ones included. The caller is alone in the store.
pub(crate) fn remove(layout: &Layout, damaged: &[Object]) -> Result<Vec<TreeId>, StoreError> {
    let directories = read_all(layout)?;
    let touched = reaching(
        &directories,
        naming(&directories, damaged, &contents(damaged)),
    );
    let shown = directories.keys().filter(|tree| !touched.contains(tree));
    let unused = sweep::unused_materialised(layout, &shown.copied().collect())?;
    sweep::paths(layout, &unused)?;
    let lost = lost_contents(layout, damaged)?;
    let broken = reaching(&directories, naming(&directories, damaged, &lost));
    let broken: Vec<_> = broken.into_iter().collect();
    sweep::trees(layout, &broken)?;
    fs::syncfs(layout.fd()).during("sync", layout.path())?;
    sweep::unlink(layout, damaged)?;
    Ok(broken)
}

/// All directories that can be read.
fn read_all(layout: &Layout) -> Result<HashMap<TreeId, Directory>, StoreError> {
    let directories = inventory::trees(layout)?.into_par_iter();
    let directories = directories.filter_map(|stored| match stored.object {
        Object::Tree(tree) => Some((tree, read_directory(layout, &tree).ok()?)),
        Object::Blob(..) => None,
    });
    Ok(directories.collect())
}

/// The directories among `damaged`, and those that name one of `contents`.
fn naming(
    directories: &HashMap<TreeId, Directory>,
    damaged: &[Object],
    contents: &HashSet<ContentId>,
) -> HashSet<TreeId> {
    let damaged = damaged.iter().filter_map(|object| match object {
        Object::Tree(tree) => Some(*tree),
        Object::Blob(..) => None,
    });
    let naming = directories
        .iter()
        .filter(|(_, directory)| names_any(directory, contents))
        .map(|(tree, _)| *tree);
    damaged.chain(naming).collect()
}

/// The contents of which an inode is damaged: what is shown may link it.
fn contents(damaged: &[Object]) -> HashSet<ContentId> {
    let blobs = damaged.iter().filter_map(|object| match object {
        Object::Blob(content, _) => Some(*content),
        Object::Tree(_) => None,
    });
    blobs.collect()
}

/// The contents of which no undamaged inode is left.
fn lost_contents(layout: &Layout, damaged: &[Object]) -> Result<HashSet<ContentId>, StoreError> {
    let damaged: HashSet<&Object> = damaged.iter().collect();
    let mut lost = HashSet::new();
    for object in &damaged {
        let Object::Blob(content, executable) = object else {
            continue;
        };
        let other = Object::Blob(*content, !executable);
        let path = layout.path().join(other.path());
        if damaged.contains(&other) || !path.try_exists().during("stat", &path)? {
            lost.insert(*content);
        }
    }
    Ok(lost)
}

fn names_any(directory: &Directory, lost: &HashSet<ContentId>) -> bool {
    let mut nodes = directory.entries().iter().map(|entry| &entry.node);
    nodes.any(|node| matches!(node, Node::File { content, .. } if lost.contains(content)))
}

/// `broken`, and all directories from which one of them is reached.
fn reaching(directories: &HashMap<TreeId, Directory>, broken: HashSet<TreeId>) -> HashSet<TreeId> {
    let mut parents: HashMap<TreeId, Vec<TreeId>> = HashMap::new();
    for (parent, directory) in directories {
        for child in crate::order::children(directory) {
            parents.entry(child).or_default().push(*parent);
        }
    }
    let mut todo: Vec<_> = broken.iter().copied().collect();
    let mut reaching = broken;
    while let Some(tree) = todo.pop() {
        let above = parents.get(&tree).into_iter().flatten();
        todo.extend(above.filter(|parent| reaching.insert(**parent)));
    }
    reaching
}
