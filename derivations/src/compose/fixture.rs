//! Trees as lists of lines, for tests.
//!
//! ```text
//! usr/bin/sh* = text      a program; without `*` a file
//! bin -> usr/bin          a symlink
//! var/empty/              an empty directory
//! ```

use kiln_store::hash::TreeId;
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::{Name, Node};

use super::merge::Layer;
use super::paths;

/// The tree of these lines.
pub(crate) fn tree(objects: &Memory, lines: &[&str]) -> TreeId {
    let mut root = MutableDirectory::default();
    for line in lines {
        let (path, node) = node(objects, line);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = paths::directory(objects, &mut root, parent).expect("a directory");
        let name = Name::new(name).expect("a name");
        directory.entries.insert(name, node);
    }
    root.freeze(objects).expect("memory does not fail")
}

fn node<'l>(objects: &Memory, line: &'l str) -> (&'l str, MutableNode) {
    if let Some((path, target)) = line.split_once(" -> ") {
        let target = target.as_bytes().to_vec();
        return (path, MutableNode::Leaf(Node::Symlink { target }));
    }
    if let Some(path) = line.strip_suffix('/') {
        return (path, MutableNode::Directory(MutableDirectory::default()));
    }
    let (path, text) = line.split_once(" = ").expect("a line of the three forms");
    let executable = path.ends_with('*');
    (
        path.trim_end_matches('*'),
        MutableNode::Leaf(file(objects, text.as_bytes(), executable)),
    )
}

/// A file in `objects`.
pub(crate) fn file(objects: &Memory, mut content: &[u8], executable: bool) -> Node {
    let stored = objects.put_file(&mut content, executable);
    let (content, size) = stored.expect("memory does not fail");
    Node::File {
        content,
        size,
        executable,
    }
}

/// The layer called `name` of these lines.
pub(crate) fn layer(objects: &Memory, name: &str, lines: &[&str]) -> Layer {
    Layer {
        name: name.to_owned(),
        tree: tree(objects, lines),
    }
}

/// The lines of a tree, in the order of a walk.
pub(crate) fn show(objects: &dyn Objects, tree: &TreeId) -> Vec<String> {
    let mut lines = Vec::new();
    show_below(objects, tree, "", &mut lines);
    lines
}

fn show_below(objects: &dyn Objects, tree: &TreeId, parent: &str, lines: &mut Vec<String>) {
    let directory = objects.directory(tree).expect("the tree is whole");
    for entry in directory.entries() {
        let path = format!("{parent}{}", entry.name);
        match &entry.node {
            Node::Directory { tree } => {
                let before = lines.len();
                show_below(objects, tree, &format!("{path}/"), lines);
                if lines.len() == before {
                    lines.push(format!("{path}/"));
                }
            }
            Node::Symlink { target } => {
                lines.push(format!("{path} -> {}", String::from_utf8_lossy(target)));
            }
            Node::File {
                content,
                executable,
                ..
            } => {
                let mut text = String::new();
                let mut reader = objects.open_file(content).expect("the tree is whole");
                reader.read_to_string(&mut text).expect("it is text");
                let star = if *executable { "*" } else { "" };
                lines.push(format!("{path}{star} = {text}"));
            }
        }
    }
}
