//! What hints are found by, and what they say together.
//!
//! Two digests lead to a hint. The *sketch* of a derivation is the digest of all
//! that it is built from as far as the manifest says it: known before anything is
//! realised, the same for everyone with the same manifest and lock. The *label*
//! is the digest of a project's name and what was asked of it: it leads to the
//! newest hint of an earlier or later version, most of whose claims still fit.

use std::collections::HashMap;

use kiln_store::hash::{Digest, RecipeKey};
use kiln_store::realisation::SignedRealisation;

use crate::derivation::Target;
use crate::derivation::resolve::sketch;
use crate::graph::{DerivationId, Graph};

/// The `derive_key` context of labels.
const LABEL_CONTEXT: &str = "kiln 2026-11 hint label v1";

/// What hints are looked for by.
///
/// A sketch's hint tells all that a label's does and more, and both are as large
/// as the graph is. So labels are asked for only of keys whose hints the sketches
/// do not lead to: a round trip more then, and half the bytes otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subjects {
    /// Asked for first.
    pub sketches: Vec<Digest>,
    /// Asked for only where sketches lead to nothing.
    pub labels: Vec<Digest>,
}

impl Subjects {
    /// All of them: what a share writes hints for.
    pub fn all(&self) -> Vec<Digest> {
        [&self.sketches[..], &self.labels].concat()
    }
}

/// Claims by recipe, neither checked nor believed.
pub type Claims = HashMap<RecipeKey, Vec<SignedRealisation>>;

/// The sketches of `roots`.
pub fn sketches(graph: &Graph, roots: &[DerivationId]) -> Vec<Digest> {
    let wanted = graph.closure(roots);
    let mut sketches: Vec<Option<Digest>> = Vec::with_capacity(graph.len());
    for (id, derivation) in graph.iter() {
        let inputs: Option<Vec<Digest>> = match wanted[id.index()] {
            true => derivation
                .inputs
                .iter()
                .map(|input| sketches[input.derivation.index()])
                .collect(),
            false => None,
        };
        sketches.push(inputs.map(|inputs| sketch(derivation, &inputs)));
    }
    roots
        .iter()
        .filter_map(|root| sketches[root.index()])
        .collect()
}

/// The label of `name`, asked of the project called `project` for `target`.
pub fn label(project: &str, name: &str, target: Option<Target>) -> Digest {
    let target = target.map_or("", Target::name);
    // No name has a NUL.
    let text = format!("{project}\0{name}\0{target}");
    Digest::derive(LABEL_CONTEXT, text.as_bytes())
}
