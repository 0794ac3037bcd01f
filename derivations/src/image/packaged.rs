//! Owners and modes that Debian packages bring, on their way into a root file
//! system.
//!
//! A package's files are one output, what their tree cannot say is a second one:
//! a directory with a file `meta`. A composition of packages (a seed) merges the
//! first; a root file system reads the second too, and takes from it what is said
//! of files that came through, whichever package or layer won.

use std::collections::BTreeMap;

use kiln_store::hash::TreeId;
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Directory, Entry, Node};

use super::meta::{self, Kind, Line, Meta};
use super::rootfs::RootfsError;
use crate::archive::Unpacked;
use crate::compose::merge::{Layer, known_name};
use crate::compose::{ComposeError, paths};
use crate::derivation::Attributes;

/// The output of a package with what its tree cannot say.
pub const META: &str = "meta";

/// What one package says, as input of a root file system.
#[derive(Clone, Debug)]
pub struct Said {
    /// Through which layer its files came.
    pub layer: String,
    /// The package.
    pub package: String,
    /// Its output [`META`].
    pub tree: TreeId,
}

const PREFIX: &str = "(meta)/";

impl Said {
    /// The name of such an input, by which it is known again. No layer can have
    /// it.
    pub fn input_name(layer: &str, package: &str) -> String {
        format!("{PREFIX}{layer}/{package}")
    }

    /// The input of this name, if it is one.
    pub fn of_input(name: &str, tree: TreeId) -> Option<Self> {
        let (layer, package) = name.strip_prefix(PREFIX)?.split_once('/')?;
        Some(Self {
            layer: layer.to_owned(),
            package: package.to_owned(),
            tree,
        })
    }
}

/// Stores what a package's tree cannot say and returns the output. As with dpkg,
/// extended attributes do not come through, and a link has no owner.
pub fn output(objects: &dyn Objects, package: &Unpacked) -> Result<TreeId, PackagedError> {
    let mut meta = Meta::new();
    for record in &package.metadata {
        let path = String::from_utf8(record.path.clone());
        let path = path.map_err(|error| {
            PackagedError::NotUtf8(String::from_utf8_lossy(error.as_bytes()).into_owned())
        })?;
        let kind = match paths::lookup(objects, &package.tree, &path)? {
            Some(Node::Directory { .. }) => Kind::Directory,
            Some(Node::File { .. }) => Kind::File,
            Some(Node::Symlink { .. }) | None => continue,
        };
        let id = |id: u64| u32::try_from(id).map_err(|_| PackagedError::Owner(path.clone(), id));
        let attributes = Attributes {
            mode: record.mode,
            uid: id(record.uid)?,
            gid: id(record.gid)?,
        };
        meta.insert(format!("/{path}").into_bytes(), Line { kind, attributes });
    }
    let text = meta::write(&meta);
    let (content, size) = objects.put_file(&mut text.as_bytes(), false)?;
    let node = Node::File {
        content,
        size,
        executable: false,
    };
    let name = known_name(META)?;
    let directory = Directory::new(vec![Entry { name, node }]).map_err(ObjectError::from)?;
    Ok(objects.put_directory(&directory)?)
}

/// Why what a package says could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum PackagedError {
    /// A path is no text.
    #[error("`{0}` has an owner or mode of its own, and a name that is not UTF-8")]
    NotUtf8(String),
    /// An owner is too large for any file system.
    #[error("`{0}` belongs to {1}: expected a number up to 4294967295")]
    Owner(String, u64),
    /// A name of kiln's own was refused.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The store failed.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Lines by path, and the package each is of.
type Gathered<'s> = BTreeMap<String, (Line, &'s Said)>;

/// What `said` comes to in `tree`, which `layers` were merged to. Paths that
/// `settled` knows are somebody else's to decide.
pub fn gather(
    objects: &dyn Objects,
    tree: &TreeId,
    layers: &[Layer],
    said: &[Said],
    settled: &dyn Fn(&str) -> bool,
) -> Result<Meta, RootfsError> {
    let mut gathered = Gathered::new();
    for said in said {
        let layer = layers.iter().find(|layer| layer.name == said.layer);
        for (path, line) in read(objects, said)? {
            let path = String::from_utf8_lossy(&path);
            let found = paths::follow(objects, tree, &path)?;
            let Some((path, node)) = found else { continue };
            let still = match (&node, line.kind) {
                (Node::Directory { .. }, Kind::Directory) => true,
                // Another layer's file of the same name has that one's owner.
                (Node::File { .. }, Kind::File) => match layer {
                    Some(layer) => paths::lookup(objects, &layer.tree, &path)? == Some(node),
                    None => false,
                },
                _ => false,
            };
            if still && !settled(&path) {
                add(&mut gathered, path, line, said)?;
            }
        }
    }
    let lines = gathered.into_iter();
    Ok(lines
        .map(|(path, (line, _))| (path.into_bytes(), line))
        .collect())
}

fn add<'s>(
    gathered: &mut Gathered<'s>,
    path: String,
    line: Line,
    said: &'s Said,
) -> Result<(), RootfsError> {
    match gathered.get(&path) {
        Some((first, by)) if *first != line => Err(RootfsError::Disagree {
            path,
            first: by.package.clone(),
            first_says: shown(first),
            second: said.package.clone(),
            second_says: shown(&line),
        }),
        _ => {
            gathered.insert(path, (line, said));
            Ok(())
        }
    }
}

fn shown(line: &Line) -> String {
    let Attributes { mode, uid, gid } = line.attributes;
    format!("{mode:04o} {uid}:{gid}")
}

fn read(objects: &dyn Objects, said: &Said) -> Result<Meta, RootfsError> {
    let broken = |why: String| RootfsError::Said(said.package.clone(), why);
    let found = paths::lookup(objects, &said.tree, META)?;
    let Some(Node::File { content, .. }) = found else {
        return Err(broken("expected a file `meta`".to_owned()));
    };
    let mut text = String::new();
    objects
        .open_file(&content)?
        .read_to_string(&mut text)
        .map_err(|error| broken(error.to_string()))?;
    meta::parse(&text).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use kiln_store::objects::Memory;

    use super::*;
    use crate::archive::Metadata;
    use crate::compose::fixture::{layer, show, tree};

    fn record(path: &str, mode: u32, uid: u64, gid: u64) -> Metadata {
        Metadata {
            path: path.into(),
            uid,
            gid,
            mode,
            xattrs: Vec::new(),
        }
    }

    fn package(objects: &Memory, lines: &[&str], metadata: Vec<Metadata>) -> Unpacked {
        Unpacked {
            tree: tree(objects, lines),
            metadata,
            entries: 0,
            content_bytes: 0,
        }
    }

    #[test]
    fn keeps_what_is_said_of_files_and_directories() {
        let objects = Memory::default();
        let lines = ["bin/su* = s", "bin/l -> su", "tmp/"];
        let records = vec![
            record("bin/l", 0o777, 1, 1),
            record("bin/su", 0o4755, 0, 0),
            record("tmp", 0o1777, 0, 0),
        ];
        let output = output(&objects, &package(&objects, &lines, records)).expect("memory");
        let expected = "meta = kiln-meta 1\nf 4755 0 0 /bin/su\nd 1777 0 0 /tmp\n";
        assert_eq!(show(&objects, &output), [expected]);
    }

    #[test]
    fn refuses_what_it_cannot_say() {
        let objects = Memory::default();
        let mut not_text = record("", 0o600, 0, 0);
        not_text.path = b"\xff".to_vec();
        let far = record("a", 0o600, 1 << 32, 0);
        for (record, why) in [
            (not_text, "a name that is not UTF-8"),
            (far, "`a` belongs to 4294967296"),
        ] {
            let package = package(&objects, &["a = 1"], vec![record]);
            let error = output(&objects, &package).expect_err("it is refused");
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    /// Gathers what packages of the layer `seed` say of the tree of `lines`,
    /// which is all but `/etc/own` from that layer.
    fn check(said: &[(&str, &str)], expected: &str) {
        let objects = Memory::default();
        let seed = layer(
            &objects,
            "seed",
            &["usr/bin/su* = s", "etc/own = p", "tmp/"],
        );
        let merged = [
            "bin -> usr/bin",
            "usr/bin/su* = s",
            "etc/own = other",
            "tmp/",
        ];
        let merged = tree(&objects, &merged);
        let said: Vec<_> = said
            .iter()
            .map(|(package, lines)| {
                let tree = tree(&objects, &[&format!("meta = kiln-meta 1\n{lines}")]);
                let name = Said::input_name("seed", package);
                Said::of_input(&name, tree).expect("it is known again")
            })
            .collect();
        let settled = |path: &str| path == "/settled";
        let got = match gather(&objects, &merged, &[seed], &said, &settled) {
            Ok(meta) => meta::write(&meta).replace("kiln-meta 1\n", ""),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn follows_what_was_said_to_where_the_file_is_now() {
        check(
            &[
                ("a", "f 4755 0 0 /bin/su\nd 1777 0 0 /tmp\n"),
                ("b", "d 1777 0 0 /tmp\n"),
            ],
            "d 1777 0 0 /tmp\nf 4755 0 0 /usr/bin/su\n",
        );
    }

    #[test]
    fn says_nothing_of_what_is_gone_or_anothers() {
        check(&[("a", "f 0600 0 0 /etc/own\nf 0600 0 0 /removed\n")], "");
        check(&[("a", "f 0600 0 0 /tmp\n")], "");
        check(&[("a", "d 0700 0 0 /settled\n")], "");
    }

    #[test]
    fn packages_that_disagree_are_named() {
        check(
            &[("a", "d 1777 0 0 /tmp\n"), ("b", "d 0700 0 7 /tmp\n")],
            "package `a` gives `/tmp` the mode and owner 1777 0:0, package `b` 0700 0:7; \
             say which is right with `modes = { \"/tmp\" = { mode = \"…\", owner = \"…\" } }`",
        );
        check(
            &[("a", "nonsense\n")],
            "what package `a` says of owners and modes: meta file, line 2: expected a kind",
        );
    }
}
