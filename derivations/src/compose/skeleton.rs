//! What the sandbox contract adds to a build root.
//!
//! The mount points are real, empty directories that kiln made itself, so that
//! no input can put a link where something is mounted. Part of the contract:
//! a change here is a new [`crate::derivation::resolve::SANDBOX_CONTRACT`].

use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::Objects;
use kiln_store::tree::Node;

use super::merge::known_name;
use super::{ComposeError, paths};

/// The mount points, all at the top of the tree.
pub const MOUNT_POINTS: [&str; 9] = [
    "src",
    "sysroot",
    "toolchain",
    "build",
    "out",
    "tmp",
    "proc",
    "dev",
    "in",
];

/// The accounts a builder can look up: itself, root and nobody.
pub const FILES: [(&str, &str); 3] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/build:/bin/sh\n\
         kiln:x:1000:1000:kiln:/build:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\nkiln:x:1000:\nnogroup:x:65534:\n"),
    (
        "/etc/hosts",
        "127.0.0.1 localhost kiln\n::1 localhost kiln\n",
    ),
];

/// The links of the usr-merge, name and target.
const USR_MERGE: [(&str, &str); 4] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
];

/// Lays the base that usr-merged packages go onto.
pub fn usr_merge(root: &mut MutableDirectory) -> Result<(), ComposeError> {
    let mut usr = MutableDirectory::default();
    for (name, target) in USR_MERGE {
        usr.entries.insert(
            known_name(name)?,
            MutableNode::Directory(MutableDirectory::default()),
        );
        let link = Node::Symlink {
            target: target.as_bytes().to_vec(),
        };
        root.entries
            .insert(known_name(name)?, MutableNode::Leaf(link));
    }
    root.entries
        .insert(known_name("usr")?, MutableNode::Directory(usr));
    Ok(())
}

/// Adds the mount points and the files of the contract. A root that has
/// something in a mount point is refused.
pub fn add(objects: &dyn Objects, root: &mut MutableDirectory) -> Result<(), ComposeError> {
    for name in MOUNT_POINTS {
        mount_point(objects, root, name)?;
    }
    for (path, text) in FILES {
        let (content, size) = objects.put_file(&mut text.as_bytes(), false)?;
        let node = Node::File {
            content,
            size,
            executable: false,
        };
        paths::put(objects, root, path, node)?;
    }
    Ok(())
}

fn mount_point(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    name: &str,
) -> Result<(), ComposeError> {
    match root.subdirectory(objects, &known_name(name)?)? {
        Some(directory) if directory.entries.is_empty() => Ok(()),
        _ => Err(ComposeError::Path {
            path: format!("/{name}"),
            why: "is a mount point of the sandbox, and has to be empty in a build root; \
                  remove what is there"
                .to_owned(),
        }),
    }
}
