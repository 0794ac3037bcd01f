//! Paths inside a tree: looked up, followed through links, added and removed.
//!
//! A path is text with a leading `/`; the empty text is the root. Links are
//! followed inside the tree only: `..` above the root stays at the root, as it
//! does in a chroot.

use kiln_store::hash::TreeId;
use kiln_store::mutable::{MutableDirectory, MutableNode};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::Node;

use super::ComposeError;
use super::merge::known_name;

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Where a link in directory `parent` leads, as a path from the root.
pub fn target(parent: &str, target: &[u8]) -> String {
    let target = String::from_utf8_lossy(target);
    if target.starts_with('/') {
        normalise(&target)
    } else {
        normalise(&format!("{parent}/{target}"))
    }
}

/// Resolves `.`, `..` and doubled slashes by name.
pub fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().map(|part| format!("/{part}")).collect()
}

/// The node at `path`, no link followed. `None` if there is nothing, or if the
/// path leads through something that is no directory.
pub fn lookup(
    objects: &dyn Objects,
    root: &TreeId,
    path: &str,
) -> Result<Option<Node>, ObjectError> {
    let mut node = Node::Directory { tree: *root };
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let Node::Directory { tree } = node else {
            return Ok(None);
        };
        match objects.directory(&tree)?.get(part.as_bytes()) {
            Some(next) => node = next.clone(),
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}

/// The node at `path` with every link followed, the last one too, and the path
/// where it was found.
pub fn follow(
    objects: &dyn Objects,
    root: &TreeId,
    path: &str,
) -> Result<Option<(String, Node)>, ObjectError> {
    let mut rest: Vec<String> = normalise_keep_dots(path);
    let mut here = String::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            here = parent_of(&here).to_owned();
            continue;
        }
        let next = format!("{here}/{part}");
        match lookup(objects, root, &next)? {
            None => return Ok(None),
            Some(Node::Symlink { target }) => {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                let target = String::from_utf8_lossy(&target).into_owned();
                if target.starts_with('/') {
                    here.clear();
                }
                rest.extend(normalise_keep_dots(&target));
            }
            Some(_) => here = next,
        }
    }
    Ok(lookup(objects, root, &here)?.map(|node| (here, node)))
}

/// The parts of a path, last one first, `..` kept: what it means depends on the
/// links before it.
fn normalise_keep_dots(path: &str) -> Vec<String> {
    let parts = path.split('/').rev();
    parts
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
        .collect()
}

fn parent_of(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

/// The directory at `path`, opened for changes; missing directories are made,
/// links to directories are followed.
pub fn directory<'a>(
    objects: &dyn Objects,
    root: &'a mut MutableDirectory,
    path: &str,
) -> Result<&'a mut MutableDirectory, ComposeError> {
    let path = resolve(objects, root, path, 0)?;
    let mut here = root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let name = known_name(part)?;
        here = here
            .subdirectory(objects, &name)?
            .ok_or_else(|| ComposeError::Path {
                path: path.clone(),
                why: format!("`{part}` is no directory"),
            })?;
    }
    Ok(here)
}

/// `path` with the links in it followed, as far as it exists.
fn resolve(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    path: &str,
    links: usize,
) -> Result<String, ComposeError> {
    let path = normalise(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut here = root as &mut MutableDirectory;
    let mut walked = String::new();
    for (index, part) in parts.iter().enumerate() {
        let name = known_name(part)?;
        match here.entries.get(&name) {
            None => break,
            Some(MutableNode::Leaf(Node::Symlink { target: to })) => {
                if links >= MAX_LINKS {
                    return Err(ComposeError::Path {
                        path,
                        why: "too many links in it".to_owned(),
                    });
                }
                let rest: String = parts[index + 1..].iter().map(|p| format!("/{p}")).collect();
                let next = format!("{}{rest}", target(&walked, to));
                return resolve(objects, root, &next, links + 1);
            }
            Some(_) => {}
        }
        walked = format!("{walked}/{part}");
        match here.subdirectory(objects, &name)? {
            Some(next) => here = next,
            None => break,
        }
    }
    Ok(path)
}

/// Splits a path of the manifest into its directory and its last name.
pub fn split(path: &str) -> Result<(String, &str), ComposeError> {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((parent, name)) if path.starts_with('/') && !name.is_empty() => {
            Ok((parent.to_owned(), name))
        }
        _ => Err(ComposeError::Path {
            path: path.to_owned(),
            why: "expected a path with a leading `/`, and a name in it".to_owned(),
        }),
    }
}

/// Puts `node` at `path`, making the directories that lead there. What is there
/// already is replaced, unless it is a directory.
pub fn put(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    path: &str,
    node: Node,
) -> Result<(), ComposeError> {
    let (parent, name) = split(path)?;
    let directory = directory(objects, root, &parent)?;
    let name = known_name(name)?;
    match directory.entries.get(&name) {
        Some(existing) if is_directory(existing) => Err(ComposeError::Path {
            path: path.to_owned(),
            why: "a directory stands there".to_owned(),
        }),
        _ => {
            directory.entries.insert(name, MutableNode::Leaf(node));
            Ok(())
        }
    }
}

/// Adds a symlink at `path`. Something else at that path is an error.
pub fn add_link(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    path: &str,
    target: &str,
) -> Result<(), ComposeError> {
    let node = Node::Symlink {
        target: target.as_bytes().to_vec(),
    };
    let (parent, name) = split(path)?;
    let existing = directory(objects, root, &parent)?;
    let refuse = |why: &str| ComposeError::Path {
        path: path.to_owned(),
        why: format!("a link to `{target}` was wanted there, but {why}"),
    };
    match existing.entries.get(&known_name(name)?) {
        Some(MutableNode::Leaf(old)) if *old == node => Ok(()),
        Some(_) => Err(refuse("something else stands there")),
        None => put(objects, root, path, node),
    }
}

/// Keeps the entries whose path `keep` agrees to. A directory that is not kept
/// goes with all that is in it, and so does one that loses all it had.
pub fn retain(
    objects: &dyn Objects,
    root: &mut MutableDirectory,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<(), ObjectError> {
    retain_below(objects, root, "", keep)
}

fn retain_below(
    objects: &dyn Objects,
    directory: &mut MutableDirectory,
    parent: &str,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<(), ObjectError> {
    directory
        .entries
        .retain(|name, _| keep(&format!("{parent}/{name}")));
    let names: Vec<_> = directory.entries.keys().cloned().collect();
    for name in names {
        if !is_directory(&directory.entries[&name]) {
            continue;
        }
        let Some(below) = directory.subdirectory(objects, &name)? else {
            continue;
        };
        let was_empty = below.entries.is_empty();
        retain_below(objects, below, &format!("{parent}/{name}"), keep)?;
        if below.entries.is_empty() && !was_empty {
            directory.entries.remove(&name);
        }
    }
    Ok(())
}

/// Whether an entry is a directory, open for changes or not.
pub fn is_directory(node: &MutableNode) -> bool {
    matches!(
        node,
        MutableNode::Directory(_) | MutableNode::Leaf(Node::Directory { .. })
    )
}
