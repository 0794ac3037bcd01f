//! In which order directories go. Pure.

use std::collections::HashMap;

use crate::hash::TreeId;
use crate::tree::{Directory, Node};

/// The directories that each of some directories names.
pub(crate) type Children = HashMap<TreeId, Vec<TreeId>>;

/// The directories that `directory` names.
pub(crate) fn children(directory: &Directory) -> Vec<TreeId> {
    let nodes = directory.entries().iter().map(|entry| &entry.node);
    nodes
        .filter_map(|node| match node {
            Node::Directory { tree } => Some(*tree),
            _ => None,
        })
        .collect()
}

/// Sorts directories into layers, so that each stands in an earlier layer than
/// whatever it names. Those of one layer do not name each other. Names of
/// directories that are not in `graph` are ignored.
pub(crate) fn parents_first(graph: &Children) -> Vec<Vec<TreeId>> {
    let mut parents: HashMap<TreeId, usize> = graph.keys().map(|id| (*id, 0)).collect();
    for child in graph.values().flatten() {
        if let Some(count) = parents.get_mut(child) {
            *count += 1;
        }
    }
    let roots = parents.iter().filter(|(_, count)| **count == 0);
    let mut layer: Vec<TreeId> = roots.map(|(id, _)| *id).collect();
    let mut layers = Vec::new();
    while !layer.is_empty() {
        let next = without_parents(graph, &layer, &mut parents);
        layers.push(std::mem::replace(&mut layer, next));
    }
    layers
}

/// The directories whose last remaining parents are in `layer`.
fn without_parents(
    graph: &Children,
    layer: &[TreeId],
    parents: &mut HashMap<TreeId, usize>,
) -> Vec<TreeId> {
    let mut freed = Vec::new();
    for child in layer.iter().flat_map(|id| &graph[id]) {
        if let Some(count) = parents.get_mut(child) {
            *count -= 1;
            if *count == 0 {
                freed.push(*child);
            }
        }
    }
    freed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Digest;

    fn id(name: &str) -> TreeId {
        TreeId(Digest::of(name.as_bytes()))
    }

    fn check(edges: &[(&str, &[&str])], expected: &[&[&str]]) {
        let graph = edges
            .iter()
            .map(|(name, children)| (id(name), children.iter().map(|c| id(c)).collect()))
            .collect();
        let sorted = |names: Vec<TreeId>| {
            let mut names = names;
            names.sort();
            names
        };
        let layers: Vec<_> = parents_first(&graph).into_iter().map(sorted).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|layer| sorted(layer.iter().map(|name| id(name)).collect()))
            .collect();
        assert_eq!(layers, expected);
    }

    #[test]
    fn parents_stand_before_children() {
        check(&[], &[]);
        check(&[("a", &["b"]), ("b", &["c"])], &[&["a"], &["b"]]);
        check(
            &[
                ("a", &["b", "c"]),
                ("c", &["b", "b"]),
                ("b", &[]),
                ("d", &[]),
            ],
            &[&["a", "d"], &["c"], &["b"]],
        );
    }
}
