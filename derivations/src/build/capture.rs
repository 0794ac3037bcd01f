//! What is done to the output of a script after it was captured.
//!
//! - Absolute links into the output itself become relative, so that they hold
//!   wherever the output is mounted.
//! - Lints: things that are nearly always mistakes, named by file.
//!
//! Whether the output may hold what it holds (devices, setuid files) was judged
//! when it was captured from the disk.

use std::io::Read;

use kiln_store::hash::{ContentId, TreeId};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Directory, Entry, Node};

use crate::compose::{link_check, paths};

/// Rewrites absolute links below any of `prefixes` (such as `/out` and the
/// place where users mount the output) to relative ones.
pub fn relative_links(
    objects: &dyn Objects,
    root: &TreeId,
    prefixes: &[String],
) -> Result<TreeId, ObjectError> {
    Rewrite { objects, prefixes }.directory(root, 0)
}

struct Rewrite<'a> {
    objects: &'a dyn Objects,
    prefixes: &'a [String],
}

impl Rewrite<'_> {
    /// `depth` is how many directories lie between the root and this one.
    fn directory(&self, tree: &TreeId, depth: usize) -> Result<TreeId, ObjectError> {
        let old = self.objects.directory(tree)?;
        let entries: Result<Vec<_>, ObjectError> = old
            .entries()
            .iter()
            .map(|entry| self.entry(entry, depth))
            .collect();
        let new = Directory::new(entries?)?;
        if new == old {
            return Ok(*tree);
        }
        self.objects.put_directory(&new)
    }

    fn entry(&self, entry: &Entry, depth: usize) -> Result<Entry, ObjectError> {
        let node = match &entry.node {
            Node::Directory { tree } => Node::Directory {
                tree: self.directory(tree, depth + 1)?,
            },
            Node::Symlink { target } => Node::Symlink {
                target: self.target(target, depth),
            },
            file @ Node::File { .. } => file.clone(),
        };
        Ok(Entry {
            name: entry.name.clone(),
            node,
        })
    }

    fn target(&self, target: &[u8], depth: usize) -> Vec<u8> {
        let Some(rest) = self.prefixes.iter().find_map(|prefix| {
            let rest = target.strip_prefix(prefix.as_bytes())?;
            (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
        }) else {
            return target.to_vec();
        };
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let mut relative = "../".repeat(depth).into_bytes();
        relative.extend_from_slice(rest);
        if relative.is_empty() {
            relative.push(b'.');
        }
        if relative.len() > 1 && relative.ends_with(b"/") {
            relative.pop();
        }
        relative
    }
}

/// Something odd in an output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lint {
    /// The file, from the root of the output.
    pub path: String,
    /// What is odd.
    pub why: String,
}

/// The directory whose name has no business in an output.
const BUILD_DIRECTORY: &[u8] = b"/build/";
/// How much is read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// Looks through an output for likely mistakes.
pub fn lint(objects: &dyn Objects, root: &TreeId) -> Result<Vec<Lint>, ObjectError> {
    let mut lints = Vec::new();
    lint_directory(objects, root, root, "", &mut lints)?;
    Ok(lints)
}

fn lint_directory(
    objects: &dyn Objects,
    root: &TreeId,
    tree: &TreeId,
    parent: &str,
    lints: &mut Vec<Lint>,
) -> Result<(), ObjectError> {
    for entry in objects.directory(tree)?.entries() {
        let path = format!("{parent}/{}", entry.name);
        match &entry.node {
            Node::Directory { tree } => lint_directory(objects, root, tree, &path, lints)?,
            Node::Symlink { target } => lints.extend(lint_link(objects, root, &path, target)?),
            Node::File {
                content,
                executable,
                ..
            } => lints.extend(lint_file(objects, path, content, *executable)?),
        }
    }
    Ok(())
}

/// Only links that stay in the output can be judged here.
fn lint_link(
    objects: &dyn Objects,
    root: &TreeId,
    path: &str,
    target: &[u8],
) -> Result<Option<Lint>, ObjectError> {
    let target_text = String::from_utf8_lossy(target).into_owned();
    let parent = path.rfind('/').map_or("", |slash| &path[..slash]);
    let depth = parent.matches('/').count();
    let leaves = target_text.starts_with('/') || target_text.matches("..").count() > depth;
    if leaves || paths::follow(objects, root, &paths::target(parent, target))?.is_some() {
        return Ok(None);
    }
    Ok(Some(Lint {
        path: path.to_owned(),
        why: format!("links to `{target_text}`, which is not there"),
    }))
}

fn lint_file(
    objects: &dyn Objects,
    path: String,
    content: &ContentId,
    executable: bool,
) -> Result<Option<Lint>, ObjectError> {
    if path.ends_with(".la") {
        let why = "is a libtool archive, which names places of this build".to_owned();
        return Ok(Some(Lint { path, why }));
    }
    let mut reader = objects.open_file(content)?;
    let (names_build, head) = scan(&mut reader).map_err(|source| ObjectError::Io {
        what: format!("reading `{path}` of an output"),
        source,
    })?;
    if names_build {
        let why = "names `/build`, a place that is gone after the build".to_owned();
        return Ok(Some(Lint { path, why }));
    }
    match link_check::shebang(&head) {
        Some(interpreter) if executable && !interpreter.starts_with('/') => Ok(Some(Lint {
            path,
            why: format!("is run by `{interpreter}`, which is no absolute path"),
        })),
        _ => Ok(None),
    }
}

/// Whether a content names the build directory, and its first bytes.
fn scan(reader: &mut dyn Read) -> std::io::Result<(bool, Vec<u8>)> {
    let overlap = BUILD_DIRECTORY.len() - 1;
    let mut window = Vec::with_capacity(WINDOW_BYTES + overlap);
    let mut head = Vec::new();
    loop {
        let read = reader.take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
        if head.is_empty() {
            head.extend_from_slice(&window[..window.len().min(256)]);
        }
        if contains(&window, BUILD_DIRECTORY) {
            return Ok((true, head));
        }
        if read < WINDOW_BYTES {
            return Ok((false, head));
        }
        window.drain(..window.len() - overlap);
    }
}

/// Whether `needle` stands in `haystack` as the start of a path, not within a
/// longer one such as `/usr/src/build/`.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let mut start = 0;
    while let Some(slash) = haystack[start..].iter().position(|&b| b == b'/') {
        let at = start + slash;
        if haystack[at..].starts_with(needle) && starts_path(&haystack[..at]) {
            return true;
        }
        start = at + 1;
    }
    false
}

/// Whether a `/` after `before` starts a path: no other `/` in the same word.
fn starts_path(before: &[u8]) -> bool {
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b"._-+$(){}/".contains(&b);
    let word = before.iter().rev().take_while(|&&b| is_path(b));
    !word.copied().any(|b| b == b'/')
}

#[cfg(test)]
mod tests {
    use kiln_store::objects::Memory;
    use kiln_store::tree::Name;

    use super::*;

    fn entry(name: &str, node: Node) -> Entry {
        let Ok(name) = Name::try_from(name) else {
            panic!("{name} is a name")
        };
        Entry { name, node }
    }

    fn link(target: &str) -> Node {
        Node::Symlink {
            target: target.as_bytes().to_vec(),
        }
    }

    /// A link to `target` in `/lib/` of an output that is mounted at /sysroot.
    fn check_link(target: &str, expected: &str) {
        let memory = Memory::default();
        let put = |entries| {
            let directory = Directory::new(entries).expect("sorted entries");
            memory.put_directory(&directory).expect("memory takes all")
        };
        let lib = put(vec![entry("l", link(target))]);
        let root = put(vec![entry("lib", Node::Directory { tree: lib })]);
        let prefixes = ["/out".to_owned(), "/sysroot".to_owned()];
        let root = relative_links(&memory, &root, &prefixes).expect("all is there");
        let node = paths::lookup(&memory, &root, "/lib/l").expect("all is there");
        assert_eq!(node, Some(link(expected)), "{target}");
    }

    #[test]
    fn links_into_the_output_become_relative() {
        check_link("/sysroot/lib/libc.so", "../lib/libc.so");
        check_link("/out/x", "../x");
        check_link("/out", "..");
        check_link("/output/x", "/output/x");
        check_link("x", "x");
        check_link("/lib/x", "/lib/x");
    }

    fn check_text(text: &str, expected: bool) {
        let (found, _) = scan(&mut text.as_bytes()).expect("memory is readable");
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn finds_the_build_directory_and_not_its_namesakes() {
        check_text("-I/build/src", true);
        check_text("\0/build/x\0", true);
        check_text("/usr/src/build/x", false);
        check_text("/builder/", false);
        check_text("", false);
        let far = format!("{}/build/x", " ".repeat(WINDOW_BYTES - 3));
        check_text(&far, true);
    }
}
