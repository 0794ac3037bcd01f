//! `kiln graph`.

use kiln_derivations::derivation::{Builder, Derivation};
use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::manifest::Evaluation;
use serde::Serialize;

use crate::args::GraphArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Shows the graph as a tree, as JSON or for Graphviz.
pub fn run(context: &Context, args: &GraphArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let shown = |id| args.all || !is_download(evaluation.graph.get(id));
    if context.global.json {
        return json(&evaluation, &shown);
    }
    if args.dot {
        return dot(&evaluation.graph, &shown);
    }
    let mut seen = vec![false; evaluation.graph.len()];
    for root in &evaluation.roots {
        tree(&evaluation.graph, root.derivation, 0, &shown, &mut seen)?;
    }
    Ok(())
}

fn is_download(derivation: &Derivation) -> bool {
    matches!(derivation.builder, Builder::Fetch(_))
}

fn title(derivation: &Derivation) -> String {
    let target = derivation
        .target
        .map_or_else(String::new, |t| format!(" ({t})"));
    format!("{}{target}", derivation.name)
}

fn tree(
    graph: &Graph,
    id: DerivationId,
    depth: usize,
    shown: &dyn Fn(DerivationId) -> bool,
    seen: &mut [bool],
) -> Result<(), CliError> {
    if !shown(id) {
        return Ok(());
    }
    let derivation = graph.get(id);
    let again = std::mem::replace(&mut seen[id.index()], true) && !derivation.inputs.is_empty();
    let mark = if again { " …" } else { "" };
    let kind = derivation.builder.kind();
    let indent = "  ".repeat(depth);
    output::line(&format!("{indent}{} [{kind}]{mark}", title(derivation)))?;
    if again {
        return Ok(());
    }
    for input in &derivation.inputs {
        tree(graph, input.derivation, depth + 1, shown, seen)?;
    }
    Ok(())
}

fn dot(graph: &Graph, shown: &dyn Fn(DerivationId) -> bool) -> Result<(), CliError> {
    output::line("digraph kiln {")?;
    output::line("  rankdir = LR; node [shape = box];")?;
    for (id, derivation) in graph.iter().filter(|(id, _)| shown(*id)) {
        let label = title(derivation).replace('"', "\\\"");
        output::line(&format!("  n{} [label = \"{label}\"];", id.index()))?;
        for input in derivation.inputs.iter().filter(|i| shown(i.derivation)) {
            let from = input.derivation.index();
            let role = input.role.name();
            output::line(&format!(
                "  n{from} -> n{} [label = \"{role}\"];",
                id.index()
            ))?;
        }
    }
    output::line("}")
}

#[derive(Serialize)]
struct Json<'a> {
    derivations: Vec<JsonDerivation<'a>>,
    roots: Vec<usize>,
}

#[derive(Serialize)]
struct JsonDerivation<'a> {
    id: usize,
    name: &'a str,
    description: &'a str,
    builder: &'static str,
    target: Option<&'static str>,
    outputs: &'a [String],
    inputs: Vec<JsonInput<'a>>,
}

#[derive(Serialize)]
struct JsonInput<'a> {
    derivation: usize,
    output: &'a str,
    role: &'static str,
    at: &'a str,
}

fn json(evaluation: &Evaluation, shown: &dyn Fn(DerivationId) -> bool) -> Result<(), CliError> {
    let all = evaluation.graph.iter().filter(|(id, _)| shown(*id));
    let derivations = all.map(|(id, derivation)| JsonDerivation {
        id: id.index(),
        name: &derivation.name,
        description: &derivation.description,
        builder: derivation.builder.kind(),
        target: derivation.target.map(|target| target.name()),
        outputs: &derivation.outputs,
        inputs: derivation
            .inputs
            .iter()
            .filter(|input| shown(input.derivation))
            .map(|input| JsonInput {
                derivation: input.derivation.index(),
                output: &input.output,
                role: input.role.name(),
                at: &input.at,
            })
            .collect(),
    });
    output::json(Json {
        derivations: derivations.collect(),
        roots: evaluation
            .roots
            .iter()
            .map(|root| root.derivation.index())
            .collect(),
    })
}
