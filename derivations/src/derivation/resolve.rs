//! From a derivation and its inputs' outputs to its keys.
//!
//! - **K**, the action key, has every edge replaced by the content it stands
//!   for, and says where the builder runs.
//! - **C**, the recipe key, leaves the build platform out, unless the output is
//!   executed in builds: the bytes of a tool legitimately differ between
//!   platforms. A material is in it by content, an executed input by its
//!   lineage.
//! - The **lineage** is C without any platform: what a tool is made by,
//!   wherever that is. A pinned seed's is its whole lock record. It is never
//!   claimed or looked up, only read by the C of what uses it.
//!
//! So two build platforms share C exactly as long as what they read agrees.

use kiln_store::hash::{ActionKey, Digest, RecipeKey, TreeId};

use super::encode::{
    ACTION_CONTEXT, HashSink, LINEAGE_CONTEXT, RECIPE_CONTEXT, SKETCH_CONTEXT, Sink, builder,
};
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
    /// The lineage of the derivation that made it.
    pub lineage: Lineage,
}

/// What an executed input is in the recipe key of what uses it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lineage(pub Digest);

/// What an input is in the recipe key of what uses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecipeInput {
    /// Read into the output: its content.
    Read(TreeId),
    /// Executed: its lineage.
    Executed(Lineage),
}

/// The keys that need no tool to be realised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecipeKeys {
    /// C: what builders of different platforms meet under.
    pub recipe: RecipeKey,
    /// What it is to the recipe keys of what executes it.
    pub lineage: Lineage,
}

/// The keys of a derivation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// K: decides reuse.
    pub action: ActionKey,
    /// C: what builders of different platforms meet under.
    pub recipe: RecipeKey,
    /// What it is to the recipe keys of what executes it.
    pub lineage: Lineage,
}

/// The version of the contract that `derivation` is built under.
pub fn contract(derivation: &Derivation) -> u32 {
    match derivation.builder {
        Builder::Exec(_) => SANDBOX_CONTRACT,
        _ => BUILTIN_CONTRACT,
    }
}

/// Computes the keys. `inputs` are in the order of the derivation's own.
pub fn keys(derivation: &Derivation, inputs: &[ResolvedInput]) -> Keys {
    debug_assert_eq!(derivation.inputs.len(), inputs.len());
    let mut action = HashSink::new(ACTION_CONTEXT);
    encode_action(&mut action, derivation, inputs);
    let RecipeKeys { recipe, lineage } =
        recipe_keys(derivation, &recipe_inputs(derivation, inputs));
    Keys {
        action: ActionKey(action.finish()),
        recipe,
        lineage,
    }
}

/// Computes what can be computed before any tool is realised. `inputs` are in
/// the order of the derivation's own; a pinned seed needs none.
pub fn recipe_keys(derivation: &Derivation, inputs: &[RecipeInput]) -> RecipeKeys {
    let mut recipe = HashSink::new(RECIPE_CONTEXT);
    encode_recipe(&mut recipe, derivation, inputs);
    let mut lineage = HashSink::new(LINEAGE_CONTEXT);
    encode_lineage(&mut lineage, derivation, inputs);
    RecipeKeys {
        recipe: RecipeKey(recipe.finish()),
        lineage: Lineage(lineage.finish()),
    }
}

/// The digest of all that a derivation is built from as far as a manifest says
/// it. `inputs` are the sketches of its inputs, in its own order. Nothing is ever
/// looked up by it but hints.
pub fn sketch(derivation: &Derivation, inputs: &[Digest]) -> Digest {
    let mut sink = HashSink::new(SKETCH_CONTEXT);
    head(&mut sink, derivation, false);
    sink.count("inputs", inputs.len());
    for (input, sketch) in derivation.inputs.iter().zip(inputs) {
        edge(&mut sink, input);
        sink.field("sketch", sketch.as_bytes());
    }
    sink.finish()
}

/// What of resolved inputs counts for the recipe key.
pub fn recipe_inputs(derivation: &Derivation, inputs: &[ResolvedInput]) -> Vec<RecipeInput> {
    let pairs = derivation.inputs.iter().zip(inputs);
    let part = |(input, resolved): (&Input, &ResolvedInput)| match input.role.is_executed() {
        true => RecipeInput::Executed(resolved.lineage),
        false => RecipeInput::Read(resolved.tree),
    };
    pairs.map(part).collect()
}

/// The lock record that stands for all inputs of a pinned seed.
pub fn pinned_seed(derivation: &Derivation) -> Option<&Digest> {
    match &derivation.builder {
        Builder::Compose(compose) => compose.seed.as_ref(),
        _ => None,
    }
}

/// Writes what K is the digest of.
pub fn encode_action(sink: &mut impl Sink, derivation: &Derivation, inputs: &[ResolvedInput]) {
    executed_on(sink, derivation);
    head(sink, derivation, true);
    sink.count("inputs", inputs.len());
    for (input, resolved) in derivation.inputs.iter().zip(inputs) {
        sink.begin(INPUT, &input.at);
        edge(sink, input);
        sink.field("tree", resolved.tree.digest().as_bytes());
        sink.end();
    }
}

/// Writes what C is the digest of.
pub fn encode_recipe(sink: &mut impl Sink, derivation: &Derivation, inputs: &[RecipeInput]) {
    executed_on(sink, derivation);
    without_platform(sink, derivation, inputs);
}

/// Writes what the lineage is the digest of.
pub fn encode_lineage(sink: &mut impl Sink, derivation: &Derivation, inputs: &[RecipeInput]) {
    without_platform(sink, derivation, inputs);
}

fn without_platform(sink: &mut impl Sink, derivation: &Derivation, inputs: &[RecipeInput]) {
    head(sink, derivation, false);
    if let Some(seed) = pinned_seed(derivation) {
        sink.field("seed", seed.as_bytes());
        return;
    }
    sink.count("inputs", inputs.len());
    for (input, part) in derivation.inputs.iter().zip(inputs) {
        sink.begin(INPUT, &input.at);
        edge(sink, input);
        match part {
            RecipeInput::Executed(lineage) => sink.field("lineage", lineage.0.as_bytes()),
            RecipeInput::Read(tree) => sink.field("tree", tree.digest().as_bytes()),
        }
        sink.end();
    }
}

fn executed_on(sink: &mut impl Sink, derivation: &Derivation) {
    let platform = derivation
        .executed_on
        .map_or("", |platform| platform.name());
    sink.text("executed-on", platform);
}

fn head(sink: &mut impl Sink, derivation: &Derivation, platform: bool) {
    sink.number("contract", u64::from(contract(derivation)));
    sink.text("target", derivation.target.map_or("", |t| t.name()));
    builder(sink, &derivation.builder, platform);
    sink.list("outputs", &derivation.outputs);
}

/// What an input is called among its derivation's fields.
pub const INPUT: &str = "input";

fn edge(sink: &mut impl Sink, input: &Input) {
    sink.text("role", input.role.name());
    sink.text("at", &input.at);
    sink.text("output", &input.output);
}
