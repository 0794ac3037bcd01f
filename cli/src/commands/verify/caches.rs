//! What was built here beside what others claim: who differs from whom.

use std::collections::BTreeMap;

use kiln_derivations::derivation::resolve::Keys;
use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::realise::plan::Asked;
use kiln_store::hash::{RecipeKey, TreeId};
use kiln_store::realisation::OutputMap;
use kiln_store::trust::key::PublicKey;
use kiln_store::trust::policy::Counted;
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::output;
use crate::workshop::{Workshop, build_error, root_ids};

#[derive(Serialize)]
struct Compared {
    /// Derivations that somebody claims, and that all agree about.
    agree: usize,
    /// Those that nobody else claims.
    unclaimed: usize,
    /// Those that somebody claims other outputs of, what is needed first first.
    differ: Vec<Differs>,
}

#[derive(Serialize)]
struct Differs {
    name: String,
    recipe: RecipeKey,
    here: BTreeMap<String, TreeId>,
    claims: Vec<Claimed>,
}

#[derive(Serialize)]
struct Claimed {
    key: PublicKey,
    build_platform: String,
    same: bool,
    outputs: BTreeMap<String, TreeId>,
}

/// Compares everything that names were built from.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let graph = &evaluation.graph;
    let workshop = Workshop::open(context, &args.realise)?;
    let roots = root_ids(&evaluation);
    let realised = workshop.realised(graph, &roots)?;
    if realised.is_empty() {
        return Err(super::rehash::not_built(&args.names.join(", ")));
    }
    let others = workshop.others(&manifest, graph, &roots, workshop.listener())?;
    let others = others.ok_or_else(|| {
        CliError::usage("nobody is trusted, so there is nobody to compare with")
            .with_hint("list keys in `[trust]`, and caches as `[cache.NAME]`")
    })?;
    let asked: Vec<_> = realised
        .iter()
        .map(|(id, keys, _)| Asked {
            name: &graph.get(*id).name,
            recipe: keys.recipe,
        })
        .collect();
    let heard = others.heard(&asked).map_err(build_error)?;
    let compared = compare(graph, &realised, heard);
    let agrees = compared.differ.is_empty();
    print(context, &compared)?;
    match agrees {
        true => Ok(()),
        false => Err(CliError::Said(ExitStatus::Nondeterministic)),
    }
}

fn compare(
    graph: &Graph,
    realised: &[(DerivationId, Keys, OutputMap)],
    heard: Vec<Vec<Counted>>,
) -> Compared {
    let mut compared = Compared {
        agree: 0,
        unclaimed: 0,
        differ: Vec::new(),
    };
    for ((id, keys, here), claims) in realised.iter().zip(heard) {
        let claims: Vec<_> = claims.into_iter().map(|it| claimed(it, here)).collect();
        match (claims.is_empty(), claims.iter().all(|claim| claim.same)) {
            (true, _) => compared.unclaimed += 1,
            (false, true) => compared.agree += 1,
            (false, false) => compared.differ.push(Differs {
                name: title(graph, *id),
                recipe: keys.recipe,
                here: here.iter().cloned().collect(),
                claims,
            }),
        }
    }
    compared
}

fn claimed(counted: Counted, here: &OutputMap) -> Claimed {
    let claim = counted.claim.realisation;
    Claimed {
        key: counted.key,
        same: claim.outputs == *here,
        build_platform: claim.build_platform,
        outputs: claim.outputs.into_iter().collect(),
    }
}

fn title(graph: &Graph, id: DerivationId) -> String {
    let derivation = graph.get(id);
    match derivation.target {
        Some(target) => format!("{} ({target})", derivation.name),
        None => derivation.name.clone(),
    }
}

fn print(context: &Context, compared: &Compared) -> Result<(), CliError> {
    if context.global.json {
        return output::json(compared);
    }
    let outputs = |map: &BTreeMap<String, TreeId>| {
        let texts: Vec<_> = map
            .iter()
            .map(|(name, tree)| format!("{name} = {tree}"))
            .collect();
        texts.join(", ")
    };
    for one in &compared.differ {
        output::line(&format!("differs   {}", one.name))?;
        output::line(&format!("  here: {}", outputs(&one.here)))?;
        for claim in &one.claims {
            let word = if claim.same { "agrees" } else { "differs" };
            output::line(&format!(
                "  {word}: {} on {}: {}",
                claim.key,
                claim.build_platform,
                outputs(&claim.outputs)
            ))?;
        }
    }
    output::line(&format!(
        "{} agree, {} differ, {} claimed by nobody",
        compared.agree,
        compared.differ.len(),
        compared.unclaimed
    ))
}
