//! The merge: a layer's entries go into the tree one after the other.
//!
//! Equal nodes at one path are fine, two directories merge, and a directory
//! over a link to a directory goes where the link leads (that is how packages
//! written before the usr-merge land below `/usr`). Anything else is a conflict
//! unless a preference names the winner.
//!
//! A layer's directory that meets nothing is taken over as one node, without
//! being opened; so merging costs what differs, not what there is.

use std::collections::BTreeMap;

use globset::GlobMatcher;

use kiln_store::hash::TreeId;
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::Objects;
use kiln_store::tree::{Entry, MAX_DEPTH, Name, Node};

use super::{ComposeError, one_glob, paths};

/// A tree that is merged, and the name that conflicts give it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name for people and for preferences.
    pub name: String,
    /// Its content.
    pub tree: TreeId,
}

/// Which layer wins where.
pub struct Preference(Vec<(GlobMatcher, String)>);

impl Preference {
    /// Compiles a map from globs to layer names.
    pub fn new(prefer: &BTreeMap<String, String>) -> Result<Self, ComposeError> {
        let compile = |(glob, layer): (&String, &String)| {
            Ok((one_glob(glob)?.compile_matcher(), layer.clone()))
        };
        prefer
            .iter()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn winner(&self, path: &str) -> Option<&str> {
        let matches = |(glob, _): &&(GlobMatcher, String)| glob.is_match(path);
        self.0.iter().find(matches).map(|(_, layer)| layer.as_str())
    }
}

/// What one merge carries along.
struct Merge<'a> {
    objects: &'a dyn Objects,
    layers: &'a [Layer],
    prefer: &'a Preference,
    /// Directories that met a link: where the link leads, and what is to be
    /// merged there. Done from the root, since a link may lead anywhere.
    redirected: Vec<(String, TreeId)>,
}

/// Merges `layers` into `root` in their order.
pub fn merge(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    layers: &[Layer],
    prefer: &Preference,
) -> Result<(), ComposeError> {
    for (index, layer) in layers.iter().enumerate() {
        let mut merge = Merge {
            objects,
            layers: &layers[..=index],
            prefer,
            redirected: vec![(String::new(), layer.tree)],
        };
        let mut redirections = 0;
        while let Some((path, tree)) = merge.redirected.pop() {
            redirections += 1;
            if redirections > MAX_DEPTH {
                return Err(too_many_links(path));
            }
            let directory = paths::directory(objects, root, &path)?;
            merge.directory(directory, &path, &tree)?;
        }
    }
    Ok(())
}

fn too_many_links(path: String) -> ComposeError {
    ComposeError::Path {
        path,
        why: "the layer leads through more links than a tree can need; do they form a circle?"
            .to_owned(),
    }
}

impl Merge<'_> {
    fn directory(
        &mut self,
        into: &mut MutableDirectory,
        path: &str,
        tree: &TreeId,
    ) -> Result<(), ComposeError> {
        for entry in self.objects.directory(tree)?.into_entries() {
            self.entry(into, path, entry)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        into: &mut MutableDirectory,
        parent: &str,
        entry: Entry,
    ) -> Result<(), ComposeError> {
        let path = format!("{parent}/{}", entry.name);
        let Some(existing) = into.entries.get(&entry.name) else {
            into.entries
                .insert(entry.name, MutableNode::Leaf(entry.node));
            return Ok(());
        };
        match (existing, &entry.node) {
            (MutableNode::Leaf(old), new) if old == new => Ok(()),
            (MutableNode::Leaf(Node::Symlink { target }), Node::Directory { tree }) => {
                let target = paths::target(parent, target);
                self.redirected.push((target, *tree));
                Ok(())
            }
            (
                MutableNode::Directory(_) | MutableNode::Leaf(Node::Directory { .. }),
                Node::Directory { tree },
            ) => {
                let tree = *tree;
                match into.subdirectory(self.objects, &entry.name)? {
                    Some(directory) => self.directory(directory, &path, &tree),
                    None => Ok(()),
                }
            }
            _ => self.conflict(into, &path, entry),
        }
    }

    fn conflict(
        &self,
        into: &mut MutableDirectory,
        path: &str,
        entry: Entry,
    ) -> Result<(), ComposeError> {
        let existing = &into.entries[&entry.name];
        let second = &self.layers[self.layers.len() - 1].name;
        let first = self.owner(path);
        match self.prefer.winner(path) {
            Some(winner) if winner == second => {
                into.entries
                    .insert(entry.name, MutableNode::Leaf(entry.node));
                Ok(())
            }
            Some(winner) if winner == first => Ok(()),
            Some(winner) => Err(ComposeError::Prefer {
                path: path.to_owned(),
                layer: winner.to_owned(),
                first,
                second: second.clone(),
            }),
            None => Err(ComposeError::Conflict {
                path: path.to_owned(),
                first,
                first_is: describe_existing(existing),
                second: second.clone(),
                second_is: describe(&entry.node),
            }),
        }
    }

    /// The first layer that has something at `path`; the base if none has.
    fn owner(&self, path: &str) -> String {
        let earlier = &self.layers[..self.layers.len() - 1];
        let has =
            |layer: &&Layer| matches!(paths::lookup(self.objects, &layer.tree, path), Ok(Some(_)));
        let owner = earlier.iter().find(has);
        owner.map_or_else(|| "the base".to_owned(), |layer| layer.name.clone())
    }
}

fn describe_existing(node: &MutableNode) -> String {
    match node {
        MutableNode::Leaf(node) => describe(node),
        MutableNode::Directory(_) => "a directory".to_owned(),
    }
}

fn describe(node: &Node) -> String {
    match node {
        Node::File {
            content,
            size,
            executable,
        } => format!(
            "{} of {size} bytes ({})",
            if *executable { "a program" } else { "a file" },
            content.digest().short()
        ),
        Node::Symlink { target } => format!("a link to `{}`", String::from_utf8_lossy(target)),
        Node::Directory { .. } => "a directory".to_owned(),
    }
}

/// An entry name that kiln itself chose.
pub(crate) fn known_name(name: &str) -> Result<Name, ComposeError> {
    Name::new(name).map_err(|error| ComposeError::Path {
        path: name.to_owned(),
        why: error.to_string(),
    })
}
