//! What claimed recipes are made of, left in caches for `kiln why`.

use kiln_store::cache::recipes::{Field, Recipe};
use kiln_store::hash::Digest;
use kiln_store::realisation::OutputMap;

use crate::derivation::fields::Named;
use crate::derivation::resolve::{
    Keys, RecipeInput, ResolvedInput, encode_recipe, pinned_seed, recipe_inputs,
};
use crate::derivation::{Derivation, Target};
use crate::graph::{DerivationId, Graph};

/// The `derive_key` context of projects.
const PROJECT_CONTEXT: &str = "kiln 2026-11 project label v1";

/// What a project's lists are found by.
pub fn project(name: &str) -> Digest {
    Digest::derive(PROJECT_CONTEXT, name.as_bytes())
}

/// The recipe of a realised derivation; none if not all that it was made of is
/// in `realised`.
pub(super) fn of_realised(
    graph: &Graph,
    id: DerivationId,
    realised: &dyn Fn(DerivationId) -> Option<(Keys, OutputMap)>,
) -> Option<Recipe> {
    let derivation = graph.get(id);
    let (keys, outputs) = realised(id)?;
    let inputs = match pinned_seed(derivation) {
        Some(_) => Vec::new(),
        None => {
            let resolve = |input: &crate::derivation::Input| {
                let (keys, outputs) = realised(input.derivation)?;
                let (_, tree) = outputs.iter().find(|(name, _)| *name == input.output)?;
                Some(ResolvedInput {
                    tree: *tree,
                    lineage: keys.lineage,
                })
            };
            let inputs: Option<Vec<_>> = derivation.inputs.iter().map(resolve).collect();
            recipe_inputs(derivation, &inputs?)
        }
    };
    Some(Recipe {
        name: derivation.name.clone(),
        target: platform(derivation.target),
        executed_on: platform(derivation.executed_on),
        recipe: keys.recipe,
        lineage: keys.lineage.0,
        outputs,
        fields: fields(derivation, &inputs),
    })
}

/// The fields of a derivation's recipe key.
pub(super) fn fields(derivation: &Derivation, inputs: &[RecipeInput]) -> Vec<Field> {
    let mut named = Named::default();
    encode_recipe(&mut named, derivation, inputs);
    named.fields
}

/// A platform as lists write it.
pub(super) fn platform(target: Option<Target>) -> String {
    target.map_or_else(String::new, |target| target.name().to_owned())
}
