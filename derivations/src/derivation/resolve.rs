//! From a derivation and its inputs' outputs to the keys K and C.
//!
//! K has every edge replaced by the content it stands for, and says where the
//! builder runs. C leaves the build platform out, and stands for an executed
//! input by *its* C, since the bytes of a tool legitimately differ between
//! platforms; a pinned seed stands for itself by its whole lock record. So two
//! build platforms share C exactly as long as what they read agrees.

use kiln_store::hash::{ActionKey, RecipeKey, TreeId};

use super::encode::{ACTION_CONTEXT, HashSink, RECIPE_CONTEXT, Sink, builder};
use super::{Builder, Derivation, Input};

/// The version of the sandbox contract: what a builder can observe. A change of
/// anything that `docs/observables.md` lists as fixed is a new version.
pub const SANDBOX_CONTRACT: u32 = 1;
/// The version of kiln's own builders: what fetch, compose, rootfs and archive
/// make of the same input.
pub const BUILTIN_CONTRACT: u32 = 1;

/// What an input turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResolvedInput {
    /// The content of the output that is used.
    pub tree: TreeId,
    /// The recipe key of the derivation that made it.
    pub recipe: RecipeKey,
}

/// Both keys of a derivation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// K: decides reuse.
    pub action: ActionKey,
    /// C: what builders of different platforms meet under.
    pub recipe: RecipeKey,
}

/// The version of the contract that `derivation` is built under.
pub fn contract(derivation: &Derivation) -> u32 {
    match derivation.builder {
        Builder::Exec(_) => SANDBOX_CONTRACT,
        _ => BUILTIN_CONTRACT,
    }
}

/// Computes both keys. `inputs` are in the order of the derivation's own.
pub fn keys(derivation: &Derivation, inputs: &[ResolvedInput]) -> Keys {
    debug_assert_eq!(derivation.inputs.len(), inputs.len());
    let mut action = HashSink::new(ACTION_CONTEXT);
    encode_action(&mut action, derivation, inputs);
    let mut recipe = HashSink::new(RECIPE_CONTEXT);
    encode_recipe(&mut recipe, derivation, inputs);
    Keys {
        action: ActionKey(action.finish()),
        recipe: RecipeKey(recipe.finish()),
    }
}

/// Writes what K is the digest of.
pub fn encode_action(sink: &mut impl Sink, derivation: &Derivation, inputs: &[ResolvedInput]) {
    head(sink, derivation, true);
    sink.number("inputs", inputs.len() as u64);
    for (input, resolved) in derivation.inputs.iter().zip(inputs) {
        edge(sink, input);
        sink.field("tree", resolved.tree.digest().as_bytes());
    }
}

/// Writes what C is the digest of.
pub fn encode_recipe(sink: &mut impl Sink, derivation: &Derivation, inputs: &[ResolvedInput]) {
    head(sink, derivation, derivation.is_tool);
    if let Builder::Compose(compose) = &derivation.builder
        && let Some(seed) = &compose.seed
    {
        sink.field("seed", seed.as_bytes());
        return;
    }
    sink.number("inputs", inputs.len() as u64);
    for (input, resolved) in derivation.inputs.iter().zip(inputs) {
        edge(sink, input);
        if input.role.is_executed() {
            sink.field("recipe", resolved.recipe.digest().as_bytes());
        } else {
            sink.field("tree", resolved.tree.digest().as_bytes());
        }
    }
}

fn head(sink: &mut impl Sink, derivation: &Derivation, platform: bool) {
    sink.number("contract", u64::from(contract(derivation)));
    sink.text("target", derivation.target.map_or("", |t| t.name()));
    builder(sink, &derivation.builder, platform);
    sink.list("outputs", &derivation.outputs);
}

fn edge(sink: &mut impl Sink, input: &Input) {
    sink.text("role", input.role.name());
    sink.text("at", &input.at);
    sink.text("output", &input.output);
}
