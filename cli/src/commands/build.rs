//! `kiln build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_derivations::manifest::{Evaluation, Manifest};
use kiln_derivations::realise::execute::Report;
use kiln_store::hash::TreeId;
use serde::Serialize;

use crate::args::BuildArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::workshop::{Workshop, root_ids};
use crate::{output, results};

/// Builds, makes `result`, and says what came of it.
pub fn run(context: &Context, args: &BuildArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let workshop = Workshop::open(context, &args.realise)?;
    if args.dry_run {
        return dry_run(context, &workshop, &manifest, &evaluation);
    }
    let report = workshop.realise(&manifest, &evaluation.graph, &root_ids(&evaluation))?;
    results::keep(workshop.store(), &manifest, &evaluation, &report)?;
    let made = made(&evaluation, &report);
    let places = place(&workshop, &made, args.out.as_deref(), args.no_result)?;
    print(context, &made, &places, &report)
}

/// Copies outputs out of the store, and says where to.
pub fn place(
    workshop: &Workshop<'_>,
    made: &[Made],
    out: Option<&Path>,
    no_result: bool,
) -> Result<Vec<PathBuf>, CliError> {
    match (out, no_result) {
        (Some(directory), _) => results::copy_out(workshop.store(), made, directory),
        (None, true) => Ok(Vec::new()),
        (None, false) => results::link(workshop.store(), made),
    }
}

/// One output that was asked for, and what it is.
pub struct Made {
    /// As it was asked for.
    pub name: String,
    /// What it runs on.
    pub target: Option<&'static str>,
    /// Which output.
    pub output: String,
    /// Its content.
    pub tree: TreeId,
}

/// The outputs that were asked for.
pub fn made(evaluation: &Evaluation, report: &Report) -> Vec<Made> {
    let roots = evaluation.roots.iter().zip(&report.roots);
    roots
        .filter_map(|(root, realised)| {
            let (_, outputs) = realised.as_ref()?;
            let (_, tree) = outputs.iter().find(|(name, _)| *name == root.output)?;
            Some(Made {
                name: root.wanted.to_string(),
                target: root.target.map(|target| target.name()),
                output: root.output.clone(),
                tree: *tree,
            })
        })
        .collect()
}

#[derive(Serialize)]
struct Json<'a> {
    outputs: Vec<JsonOutput<'a>>,
    built: usize,
    fetched: usize,
    fetched_bytes: u64,
    reused: usize,
    claimed: usize,
    pulled: usize,
    pulled_bytes: u64,
}

#[derive(Serialize)]
struct JsonOutput<'a> {
    name: &'a str,
    target: Option<&'static str>,
    output: &'a str,
    tree: TreeId,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// Says what came of it.
pub fn print(
    context: &Context,
    made: &[Made],
    places: &[PathBuf],
    report: &Report,
) -> Result<(), CliError> {
    let place = |index: usize| places.get(index).map(|path| path.display().to_string());
    if !context.global.json {
        for (index, one) in made.iter().enumerate() {
            let place = place(index).unwrap_or_else(|| one.name.clone());
            output::line(&format!("{} {place}", one.tree))?;
        }
        return Ok(());
    }
    let outputs = made.iter().enumerate().map(|(index, one)| JsonOutput {
        name: &one.name,
        target: one.target,
        output: &one.output,
        tree: one.tree,
        path: place(index),
    });
    output::json(Json {
        outputs: outputs.collect(),
        built: report.built,
        fetched: report.fetched,
        fetched_bytes: report.fetched_bytes,
        reused: report.reused,
        claimed: report.claimed,
        pulled: report.pulled,
        pulled_bytes: report.pulled_bytes,
    })
}

#[derive(Serialize)]
struct Planned {
    build: Vec<String>,
    download: Vec<String>,
    pull: Vec<String>,
    unknown_yet: Vec<String>,
}

/// Says what would be built or had from others, as far as it can be known without
/// building.
fn dry_run(
    context: &Context,
    workshop: &Workshop<'_>,
    manifest: &Manifest,
    evaluation: &Evaluation,
) -> Result<(), CliError> {
    let states = workshop.plan(manifest, &evaluation.graph, &root_ids(evaluation))?;
    let mut planned: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (kind, name) in states {
        planned.entry(kind).or_default().push(name);
    }
    let mut take = |kind| planned.remove(kind).unwrap_or_default();
    let planned = Planned {
        build: take("build"),
        download: take("download"),
        pull: take("pull"),
        unknown_yet: take("unknown"),
    };
    if context.global.json {
        return output::json(planned);
    }
    let parts = [
        ("download", &planned.download),
        ("pull", &planned.pull),
        ("build", &planned.build),
        (
            "build, unless what it needs turns out as before",
            &planned.unknown_yet,
        ),
    ];
    if !context.global.quiet && parts.iter().all(|(_, names)| names.is_empty()) {
        eprintln!("nothing to do: all is realised");
    }
    for (verb, names) in parts {
        for name in names {
            output::line(&format!("{verb}: {name}"))?;
        }
    }
    Ok(())
}
