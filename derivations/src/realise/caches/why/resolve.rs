//! The fields of recipes as far as they are known here.

use kiln_store::cache::recipes::Field;
use kiln_store::hash::{Digest, RecipeKey, TreeId};
use kiln_store::realisation::OutputMap;

use super::super::recipes::fields;
use crate::derivation::Input;
use crate::derivation::resolve::{Lineage, RecipeInput, RecipeKeys, pinned_seed, recipe_keys};
use crate::graph::{DerivationId, Graph};
use crate::realise::plan::Plan;

/// What is known here of a derivation.
#[derive(Debug, Default)]
pub(super) struct Here {
    keys: Option<RecipeKeys>,
    /// What it makes, if it was built or is claimed.
    pub outputs: Option<OutputMap>,
    /// The fields of its recipe. Inputs that are not known yet say so.
    pub fields: Vec<Field>,
    /// Which of its inputs are not known.
    unknown: Vec<usize>,
}

impl Here {
    /// Its recipe key, if all that it is made of is known.
    pub fn recipe(&self) -> Option<RecipeKey> {
        self.keys.map(|keys| keys.recipe)
    }

    /// The inputs that are not known.
    pub fn unknown(&self, graph: &Graph, id: DerivationId) -> Vec<DerivationId> {
        let inputs = &graph.get(id).inputs;
        let unknown = self.unknown.iter();
        unknown.map(|at| inputs[*at].derivation).collect()
    }
}

/// What is known of each derivation, by its number.
pub(super) fn here(graph: &Graph, plan: &Plan<'_>) -> Vec<Here> {
    let mut all: Vec<Here> = Vec::with_capacity(graph.len());
    for (id, derivation) in graph.iter() {
        let parts: Vec<Option<RecipeInput>> = match pinned_seed(derivation) {
            Some(_) => Vec::new(),
            None => {
                let inputs = derivation.inputs.iter();
                inputs.map(|input| part(&all, input)).collect()
            }
        };
        let (keys, state) = match plan.state(id).outputs() {
            Some((keys, outputs)) => (
                Some(RecipeKeys {
                    recipe: keys.recipe,
                    lineage: keys.lineage,
                }),
                Some(outputs.clone()),
            ),
            None => {
                let known: Option<Vec<_>> = parts.iter().copied().collect();
                (known.map(|inputs| recipe_keys(derivation, &inputs)), None)
            }
        };
        let unknown: Vec<usize> = (0..parts.len()).filter(|at| parts[*at].is_none()).collect();
        let nothing = RecipeInput::Read(TreeId(Digest::from_bytes([0; 32])));
        let inputs: Vec<_> = parts.iter().map(|part| part.unwrap_or(nothing)).collect();
        let mut fields = fields(derivation, &inputs);
        for at in &unknown {
            say_unknown(&mut fields, &derivation.inputs[*at]);
        }
        all.push(Here {
            keys,
            outputs: state,
            fields,
            unknown,
        });
    }
    all
}

fn part(all: &[Here], input: &Input) -> Option<RecipeInput> {
    let made = &all[input.derivation.index()];
    if input.role.is_executed() {
        let keys = made.keys?;
        return Some(RecipeInput::Executed(Lineage(keys.lineage.0)));
    }
    let mut outputs = made.outputs.iter().flatten();
    let (_, tree) = outputs.find(|(name, _)| *name == input.output)?;
    Some(RecipeInput::Read(*tree))
}

/// The content of this input is not known.
fn say_unknown(fields: &mut [Field], input: &Input) {
    let part = format!("{} {}", crate::derivation::resolve::INPUT, input.at);
    let content = if input.role.is_executed() {
        "lineage"
    } else {
        "tree"
    };
    let mut of_part = fields.iter_mut().filter(|field| field.part == part);
    if let Some(field) = of_part.find(|field| ["tree", "lineage"].contains(&field.name.as_str())) {
        field.name = content.to_owned();
        field.value = "not known yet".to_owned();
    }
}
