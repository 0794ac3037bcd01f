//! The merge: a layer's entries go into the tree one after the other.
//!
//! Equal nodes at one path are fine, two directories merge, and a directory
//! over a link to a directory goes where the link leads (that is how packages
//! written before the usr-merge land below `/usr`). Anything else is a conflict
//! unless a preference names the winner.
//!
//! A layer's directory that meets nothing is taken over as one node, without
//! being opened; so merging costs what differs, not what there is.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Which of them is being merged.
    current: usize,
    prefer: &'a Preference,
    /// Directories that met a link: where the link leads, and what is to be
    /// merged there. Done from the root, since a link may lead anywhere.
    redirected: Vec<(String, TreeId)>,
    /// Every link that a directory met, and where it led: under which other
    /// names a layer may have a path.
    links: BTreeSet<(String, String)>,
    /// Which layer won what was contested.
    won: BTreeMap<String, usize>,
}

/// Merges `layers` into `root` in their order.
pub fn merge(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    layers: &[Layer],
    prefer: &Preference,
) -> Result<(), ComposeError> {
    let mut merge = Merge {
        objects,
        layers,
        current: 0,
        prefer,
        redirected: Vec::new(),
        links: BTreeSet::new(),
        won: BTreeMap::new(),
    };
    for (index, layer) in layers.iter().enumerate() {
        merge.current = index;
        merge.redirected.push((String::new(), layer.tree));
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
                self.redirected.push((target.clone(), *tree));
                self.links.insert((path, target));
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
        &mut self,
        into: &mut MutableDirectory,
        path: &str,
        entry: Entry,
    ) -> Result<(), ComposeError> {
        let existing = &into.entries[&entry.name];
        let first = self.owner(path);
        let second = &self.layers[self.current].name;
        match self.prefer.winner(path) {
            Some(winner) if winner == second => {
                into.entries
                    .insert(entry.name, MutableNode::Leaf(entry.node));
                self.won.insert(path.to_owned(), self.current);
                Ok(())
            }
            Some(winner) if winner == first || self.is_to_come(winner, path) => Ok(()),
            Some(winner) => Err(ComposeError::Prefer {
                path: path.to_owned(),
                layer: winner.to_owned(),
                first: first.to_owned(),
                second: second.clone(),
            }),
            None => Err(ComposeError::Conflict {
                path: path.to_owned(),
                first: first.to_owned(),
                first_is: describe_existing(existing),
                second: second.clone(),
                second_is: describe(&entry.node),
            }),
        }
    }

    /// Whose what stands at `path` is: the one's who won it, else the first
    /// layer's that has it; the base's if none has.
    fn owner(&self, path: &str) -> &str {
        let first = || (0..self.current).find(|&layer| self.has(layer, path));
        let owner = self.won.get(path).copied().or_else(first);
        owner.map_or("the base", |layer| &self.layers[layer].name)
    }

    /// Whether a later layer of this name has `path`, and so decides it.
    fn is_to_come(&self, name: &str, path: &str) -> bool {
        let mut later = self.current + 1..self.layers.len();
        later.any(|layer| self.layers[layer].name == name && self.has(layer, path))
    }

    fn has(&self, layer: usize, path: &str) -> bool {
        let tree = &self.layers[layer].tree;
        let has = |path: &str| matches!(paths::lookup(self.objects, tree, path), Ok(Some(_)));
        let through = |(link, target): &(String, String)| {
            let below = path.strip_prefix(target.as_str());
            below.is_some_and(|below| below.starts_with('/') && has(&format!("{link}{below}")))
        };
        has(path) || self.links.iter().any(through)
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

#[cfg(test)]
mod tests {
    use kiln_store::objects::Memory;

    use super::super::fixture::{layer, show};
    use super::*;

    /// Merges layers called `a`, `b`, …; what comes out is the lines of the
    /// tree, or the error.
    fn check_with(prefer: &[(&str, &str)], layers: &[&[&str]], expected: &[&str]) {
        let objects = Memory::default();
        let prefer = prefer.iter();
        let prefer = prefer.map(|&(glob, layer)| (glob.to_owned(), layer.to_owned()));
        let layers: Vec<_> = (b'a'..)
            .zip(layers)
            .map(|(name, lines)| layer(&objects, &char::from(name).to_string(), lines))
            .collect();
        let mut root = MutableDirectory::default();
        let prefer = Preference::new(&prefer.collect()).expect("globs");
        let got = match merge(&objects, &mut root, &layers, &prefer) {
            Ok(()) => show(&objects, &root.freeze(&objects).expect("memory")),
            Err(ComposeError::Conflict {
                path,
                first,
                second,
                ..
            }) => vec![format!("{path}: {first} or {second}?")],
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(got, expected);
    }

    fn check(layers: &[&[&str]], expected: &[&str]) {
        check_with(&[], layers, expected);
    }

    #[test]
    fn merges_directories_and_what_is_equal() {
        check(
            &[
                &["usr/bin/a* = 1", "usr/share/common = c", "etc/"],
                &["usr/bin/b* = 2", "usr/share/common = c", "etc/"],
            ],
            &[
                "etc/",
                "usr/bin/a* = 1",
                "usr/bin/b* = 2",
                "usr/share/common = c",
            ],
        );
    }

    #[test]
    fn names_both_owners_of_a_conflict() {
        check(&[&["x = 1"], &[], &["x = 2"]], &["/x: a or c?"]);
        check(&[&["x = 1"], &["x* = 1"]], &["/x: a or b?"]);
        check(&[&["x = 1"], &["x/y = 1"]], &["/x: a or b?"]);
        check(&[&["x/y = 1"], &["x = 1"]], &["/x: a or b?"]);
        check(&[&["x/"], &["x -> y"]], &["/x: a or b?"]);
        check(&[&["x -> y"], &["x -> z"]], &["/x: a or b?"]);
    }

    #[test]
    fn tells_what_the_two_are() {
        let objects = Memory::default();
        let layers = [
            layer(&objects, "a", &["x* = 1"]),
            layer(&objects, "b", &["x -> y"]),
        ];
        let none = Preference(Vec::new());
        let merged = merge(&objects, &mut MutableDirectory::default(), &layers, &none);
        assert_eq!(
            merged.expect_err("they differ").to_string(),
            "`/x` is a program of 1 bytes (d63bd9a826af) in `a` and a link to `y` in `b`; \
             say which one wins with `prefer = { \"/x\" = \"b\" }`, or remove it from one of them"
        );
    }

    #[test]
    fn follows_a_link_where_a_later_layer_has_a_directory() {
        check(
            &[
                &["bin -> usr/bin", "usr/bin/a* = 1"],
                &["bin/b* = 2"],
                &["bin/c* = 3", "usr/bin/d* = 4"],
            ],
            &[
                "bin -> usr/bin",
                "usr/bin/a* = 1",
                "usr/bin/b* = 2",
                "usr/bin/c* = 3",
                "usr/bin/d* = 4",
            ],
        );
        // The link leads through another, to what is not there yet.
        check(
            &[
                &["lib -> usr/lib", "usr/lib64 -> ../lib/x"],
                &["usr/lib64/y = 1"],
            ],
            &["lib -> usr/lib", "usr/lib/x/y = 1", "usr/lib64 -> ../lib/x"],
        );
        check(
            &[&["a -> b", "b -> a"], &["a/x = 1"]],
            &["`/b`: too many links in it"],
        );
    }

    #[test]
    fn names_the_owner_that_came_through_a_link() {
        let base: &[&str] = &["bin -> usr/bin", "usr/bin/"];
        check(
            &[base, &["bin/x* = 1"], &["usr/bin/x* = 2"]],
            &["/usr/bin/x: b or c?"],
        );
        check(
            &[base, &["usr/bin/x* = 1"], &["bin/x* = 2"]],
            &["/usr/bin/x: b or c?"],
        );
        check_with(
            &[("/usr/bin/x", "b")],
            &[base, &["bin/x* = 1"], &["usr/bin/x* = 2"]],
            &["bin -> usr/bin", "usr/bin/x* = 1"],
        );
    }

    #[test]
    fn a_preference_decides() {
        let layers: &[&[&str]] = &[&["bin/x = 1", "y = 1"], &["bin/x = 2", "y = 1"]];
        check_with(&[("/bin/*", "a")], layers, &["bin/x = 1", "y = 1"]);
        check_with(&[("/bin/*", "b")], layers, &["bin/x = 2", "y = 1"]);
        check_with(
            &[("/bin/x", "z")],
            layers,
            &["`prefer` gives `/bin/x` to `z`, but the conflict is between `a` and `b`"],
        );
        check_with(&[("/*", "b")], layers, &["/bin/x: a or b?"]);
        // Among three, the one that is named wins from wherever it is.
        let three: &[&[&str]] = &[&["x = 1"], &["x = 2"], &["x = 3"]];
        check_with(&[("/x", "a")], three, &["x = 1"]);
        check_with(&[("/x", "b")], three, &["x = 2"]);
        check_with(&[("/x", "c")], three, &["x = 3"]);
    }
}
