//! Putting a root file system together: packages merged, files and links laid
//! over them, accounts written, and everything a tree cannot say in `meta`.

use std::collections::BTreeMap;

use kiln_store::hash::TreeId;
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Directory, Entry, Node};

use super::meta::{self, Kind, Line, Meta};
use super::packaged::{self, Said};
use crate::compose::merge::{self, Layer, Preference, known_name};
use crate::compose::{ComposeError, link_check, paths, remove};
use crate::derivation::Rootfs;

/// Why a root file system could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// Packages and files do not merge.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The store failed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// `modes` names a path that is not there.
    #[error("`modes` names `{0}`, and nothing is there")]
    NoSuchPath(String),
    /// A device is to stand where something else does.
    #[error("`devices` puts a node at `{0}`, where something else stands")]
    DeviceInTheWay(String),
    /// Two packages say different things of a path.
    #[error(
        "package `{first}` gives `{path}` the mode and owner {first_says}, package `{second}` {second_says}; \
         say which is right with `modes = {{ \"{path}\" = {{ mode = \"…\", owner = \"…\" }} }}`"
    )]
    Disagree {
        /// The path, with a leading `/`.
        path: String,
        /// The package that came first.
        first: String,
        /// Mode and owner there.
        first_says: String,
        /// The package that came second.
        second: String,
        /// Mode and owner there.
        second_says: String,
    },
    /// What a package says of owners and modes cannot be read.
    #[error("what package `{0}` says of owners and modes: {1}")]
    Said(String, String),
    /// Files refer to things that are not in the root file system.
    #[error("the root file system is not complete:{}", list(.0))]
    Broken(Vec<link_check::Broken>),
}

fn list(broken: &[link_check::Broken]) -> String {
    broken.iter().map(|one| format!("\n  {one}")).collect()
}

/// Makes the output `{tree/, meta}` and returns its address. `said` is what the
/// packages in the layers say of owners and modes; `spec` has the last word.
pub fn assemble(
    objects: &dyn Objects,
    layers: &[Layer],
    said: &[Said],
    spec: &Rootfs,
) -> Result<TreeId, RootfsError> {
    let mut root = MutableDirectory::default();
    merge::merge(objects, &mut root, layers, &Preference::new(&spec.prefer)?)?;
    remove(objects, &mut root, &spec.remove)?;
    for path in spec.directories.keys() {
        paths::directory(objects, &mut root, path)?;
    }
    for (path, target) in &spec.links {
        paths::add_link(objects, &mut root, path, target)?;
    }
    accounts(objects, &mut root, "/etc/passwd", &spec.users, passwd_line)?;
    accounts(objects, &mut root, "/etc/group", &spec.groups, group_line)?;
    for path in spec.devices.keys() {
        // The directory of a node is made; the node itself is only data.
        paths::directory(objects, &mut root, &paths::split(path)?.0)?;
    }
    let tree = root.freeze(objects)?;
    let own = metadata(objects, &tree, spec)?;
    let settled = |path: &str| own.contains_key(path.as_bytes());
    let mut meta = packaged::gather(objects, &tree, layers, said, &settled)?;
    meta.extend(own);
    let broken = link_check::check(objects, &tree)?;
    if !broken.is_empty() {
        return Err(RootfsError::Broken(broken));
    }
    output(objects, tree, &meta)
}

/// The output of a tree and its metadata.
pub(super) fn output(
    objects: &dyn Objects,
    tree: TreeId,
    meta: &Meta,
) -> Result<TreeId, RootfsError> {
    let text = meta::write(meta);
    let (content, size) = objects.put_file(&mut text.as_bytes(), false)?;
    let file = Node::File {
        content,
        size,
        executable: false,
    };
    let entry = |name, node| -> Result<Entry, ComposeError> {
        let name = known_name(name)?;
        Ok(Entry { name, node })
    };
    let directory = Directory::new(vec![
        entry("meta", file)?,
        entry("tree", Node::Directory { tree })?,
    ])
    .map_err(ObjectError::from)?;
    Ok(objects.put_directory(&directory)?)
}

/// Appends lines to an account file; a file that a package brought keeps its
/// lines.
fn accounts(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    path: &str,
    lines: &[String],
    complete: fn(&str) -> String,
) -> Result<(), RootfsError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut text = existing_text(objects, root, path)?;
    for line in lines {
        text.push_str(&complete(line));
        text.push('\n');
    }
    let (content, size) = objects.put_file(&mut text.as_bytes(), false)?;
    let node = Node::File {
        content,
        size,
        executable: false,
    };
    Ok(paths::put(objects, root, path, node)?)
}

fn existing_text(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    path: &str,
) -> Result<String, RootfsError> {
    let (parent, name) = paths::split(path)?;
    let directory = paths::directory(objects, root, &parent)?;
    let Some(MutableNode::Leaf(Node::File { content, .. })) =
        directory.entries.get(&known_name(name)?)
    else {
        return Ok(String::new());
    };
    let mut text = String::new();
    objects
        .open_file(content)?
        .read_to_string(&mut text)
        .map_err(|source| ObjectError::Io {
            what: format!("reading `{path}` of a package"),
            source,
        })?;
    Ok(text)
}

/// `name:uid:gid:comment:home:shell` becomes a line with a password field that
/// says "in the shadow file"; a line that has seven fields already stays.
fn passwd_line(line: &str) -> String {
    with_password_field(line, 6)
}

/// `name:gid:members` in the same way.
fn group_line(line: &str) -> String {
    with_password_field(line, 3)
}

fn with_password_field(line: &str, fields: usize) -> String {
    match line.split_once(':') {
        Some((name, rest)) if line.split(':').count() == fields => format!("{name}:x:{rest}"),
        _ => line.to_owned(),
    }
}

fn metadata(objects: &dyn Objects, tree: &TreeId, spec: &Rootfs) -> Result<Meta, RootfsError> {
    let mut meta = Meta::new();
    let mut attributes = BTreeMap::new();
    attributes.extend(&spec.directories);
    attributes.extend(&spec.modes);
    for (path, attributes) in attributes {
        let found = paths::follow(objects, tree, path)?;
        let (path, node) = found.ok_or_else(|| RootfsError::NoSuchPath(path.clone()))?;
        let kind = match node {
            Node::Directory { .. } => Kind::Directory,
            _ => Kind::File,
        };
        let path = if path.is_empty() {
            "/".to_owned()
        } else {
            path
        };
        meta.insert(
            path.into_bytes(),
            Line {
                kind,
                attributes: *attributes,
            },
        );
    }
    for (path, device) in &spec.devices {
        let (parent, name) = paths::split(path)?;
        let parent = paths::follow(objects, tree, &parent)?.map_or(parent, |(path, _)| path);
        let path = format!("{parent}/{name}");
        if paths::lookup(objects, tree, &path)?.is_some() {
            return Err(RootfsError::DeviceInTheWay(path));
        }
        meta.insert(path.into_bytes(), Line::from(device));
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use kiln_store::objects::Memory;

    use super::*;
    use crate::compose::fixture::{layer, show};
    use crate::derivation::{Attributes, Device};

    fn attributes(mode: u32, uid: u32, gid: u32) -> Attributes {
        Attributes { mode, uid, gid }
    }

    fn console() -> Device {
        Device {
            block: false,
            major: 5,
            minor: 1,
            attributes: attributes(0o622, 0, 0),
        }
    }

    /// Assembles layers called `a`, `b`, …; the result is the lines of the
    /// output, or of the error.
    fn check(spec: &Rootfs, layers: &[&[&str]], expected: &[&str]) {
        let objects = Memory::default();
        let layers: Vec<_> = (b'a'..)
            .zip(layers)
            .map(|(name, lines)| layer(&objects, &char::from(name).to_string(), lines))
            .collect();
        let got = match assemble(&objects, &layers, &[], spec) {
            Ok(output) => show(&objects, &output),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn keeps_what_a_tree_cannot_say_in_the_metadata() {
        let spec = Rootfs {
            modes: [
                ("/bin/su".to_owned(), attributes(0o4755, 0, 7)),
                // Through a link: it is the file that has a mode.
                ("/sbin/login".to_owned(), attributes(0o755, 1, 0)),
            ]
            .into(),
            devices: [("/dev/console".to_owned(), console())].into(),
            directories: [("/tmp".to_owned(), attributes(0o1777, 0, 0))].into(),
            links: [("/etc/mtab".to_owned(), "/proc/mounts".to_owned())].into(),
            ..Rootfs::default()
        };
        check(
            &spec,
            &[&["bin/su* = s"], &["sbin -> bin", "bin/login* = l"]],
            &[
                "meta = kiln-meta 1\n\
                 f 0755 1 0 /bin/login\n\
                 f 4755 0 7 /bin/su\n\
                 c 0622 0 0 5 1 /dev/console\n\
                 d 1777 0 0 /tmp\n",
                "tree/bin/login* = l",
                "tree/bin/su* = s",
                "tree/dev/",
                "tree/etc/mtab -> /proc/mounts",
                "tree/sbin -> bin",
                "tree/tmp/",
            ],
        );
    }

    #[test]
    fn adds_accounts_after_what_a_package_brought() {
        let spec = Rootfs {
            users: vec!["me:1:2:I:/:/bin/sh".to_owned(), "x:*:3:3::/:/".to_owned()],
            groups: vec!["we:2:me".to_owned()],
            ..Rootfs::default()
        };
        check(
            &spec,
            &[&["etc/passwd = root:x:0:0::/:/bin/sh\n"]],
            &[
                "meta = kiln-meta 1\n",
                "tree/etc/group = we:x:2:me\n",
                "tree/etc/passwd = root:x:0:0::/:/bin/sh\nme:x:1:2:I:/:/bin/sh\nx:*:3:3::/:/\n",
            ],
        );
    }

    #[test]
    fn a_layer_that_is_preferred_wins() {
        let spec = Rootfs {
            prefer: [("/etc/motd".to_owned(), "b".to_owned())].into(),
            remove: vec!["/usr/share/**".to_owned()],
            ..Rootfs::default()
        };
        check(
            &spec,
            &[&["etc/motd = a", "usr/share/doc = d"], &["etc/motd = b"]],
            &["meta = kiln-meta 1\n", "tree/etc/motd = b"],
        );
    }

    #[test]
    fn refuses_what_is_not_there_or_in_the_way() {
        let mut spec = Rootfs::default();
        spec.modes.insert("/x".to_owned(), attributes(0o600, 0, 0));
        check(&spec, &[], &["`modes` names `/x`, and nothing is there"]);

        let mut spec = Rootfs::default();
        spec.devices.insert("/dev/console".to_owned(), console());
        check(
            &spec,
            &[&["dev/console = 1"]],
            &["`devices` puts a node at `/dev/console`, where something else stands"],
        );
        check(&spec, &[&["dev = 1"]], &["`/dev`: `dev` is no directory"]);
        check(
            &Rootfs::default(),
            &[&["bin/a* = #!/bin/sh -e\n", "l -> m"]],
            &[
                "the root file system is not complete:",
                "  `/bin/a` is run by `/bin/sh`, which is not there",
                "  `/l` links to `m`, which is not there",
            ],
        );
    }
}
