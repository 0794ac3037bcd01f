//! Finds a circle among what entries are made of, and shows its whole path.

use std::collections::BTreeMap;

use super::{runtime, uses};
use crate::derivation::Target;
use crate::manifest::assemble::Manifest;
use crate::manifest::problem::Problem;
use crate::manifest::reference::Kind;
use crate::manifest::span::{At, Span};

type Node = (Kind, String);

/// An entry that another is made of, and the places that say so: one, or more
/// if the other gets it with something that needs it at run time.
struct Edge {
    to: Node,
    hops: Vec<Hop>,
}

/// Who names the next entry, and where.
#[derive(Clone)]
struct Hop {
    from: String,
    span: Span,
}

/// The first circle for any target, if there is one.
pub(super) fn find(manifest: &Manifest) -> Option<Problem> {
    manifest.targets().into_iter().find_map(|target| {
        let mut walk = Walk {
            manifest,
            target,
            done: BTreeMap::new(),
            path: Vec::new(),
        };
        [Kind::Package, Kind::Compose, Kind::Rootfs, Kind::Image]
            .into_iter()
            .flat_map(|kind| {
                manifest
                    .keys(kind)
                    .map(move |name| (kind, name.value.clone()))
            })
            .find_map(|node| walk.visit(node))
    })
}

struct Walk<'m> {
    manifest: &'m Manifest,
    target: Target,
    /// Entries that were entered; true once they were left.
    done: BTreeMap<Node, bool>,
    /// The way from the first entry to the current one.
    path: Vec<(Node, Vec<Hop>)>,
}

impl Walk<'_> {
    fn visit(&mut self, node: Node) -> Option<Problem> {
        if let Some(&left) = self.done.get(&node) {
            return if left { None } else { Some(self.circle(&node)) };
        }
        self.done.insert(node.clone(), false);
        for edge in self.edges(&node) {
            self.path.push((node.clone(), edge.hops));
            let found = self.visit(edge.to);
            if found.is_some() {
                return found;
            }
            self.path.pop();
        }
        self.done.insert(node, true);
        None
    }

    /// `node` was reached again.
    fn circle(&self, node: &Node) -> Problem {
        let start = self.path.iter().position(|(from, _)| from == node);
        let circle = &self.path[start.unwrap_or(0)..];
        let hops: Vec<&Hop> = circle.iter().flat_map(|(_, hops)| hops).collect();
        let mut names: Vec<&str> = hops.iter().map(|hop| hop.from.as_str()).collect();
        names.push(&node.1);
        let mut problem = Problem::nowhere(format!("a cycle: {}", names.join(" → ")));
        let needs = |pair: &[&str]| format!("`{}` needs `{}`", pair[0], pair[1]);
        let labels = hops.iter().zip(names.windows(2));
        problem.labels = labels.map(|(hop, pair)| (hop.span, needs(pair))).collect();
        problem.help("take one of these edges out")
    }

    /// What `node` needs, with what that needs at run time.
    fn edges(&self, (kind, name): &Node) -> Vec<Edge> {
        let mut edges = Vec::new();
        for used in uses(self.manifest, *kind, name, Some(self.target)) {
            self.add(&mut edges, (name, &[]), &used.text, used.kinds);
        }
        edges
    }

    /// Adds what `text` means, and what that needs at run time. `from` says it,
    /// after `hops`.
    fn add(
        &self,
        edges: &mut Vec<Edge>,
        (from, hops): (&str, &[Hop]),
        text: &At<String>,
        kinds: &[Kind],
    ) {
        // What is imported cannot refer back.
        let Some(found) = self.manifest.look_up(text, kinds) else {
            return;
        };
        let to = (found.kind, found.name.value.clone());
        if found.import.is_some() || edges.iter().any(|edge| edge.to == to) {
            return;
        }
        let mut hops = hops.to_vec();
        hops.push(Hop {
            from: from.to_owned(),
            span: text.span,
        });
        edges.push(Edge {
            to,
            hops: hops.clone(),
        });
        if found.kind == Kind::Package {
            for used in runtime(self.manifest, found.name, Some(self.target)) {
                self.add(edges, (found.name, &hops), &used.text, used.kinds);
            }
        }
    }
}
