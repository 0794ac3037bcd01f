//! `kiln pull`.

use kiln_derivations::manifest::{Evaluation, Manifest};

use crate::args::PullArgs;
use crate::commands::build;
use crate::context::Context;
use crate::error::CliError;
use crate::results;
use crate::workshop::{Workshop, root_ids};

/// Gets what others built.
pub fn run(context: &Context, args: &PullArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let workshop = Workshop::open(context, &args.realise)?.without_building();
    get(context, args, &manifest, &evaluation, &workshop)
}

/// Gets what was asked for from wherever the workshop asks.
pub fn get(
    context: &Context,
    args: &PullArgs,
    manifest: &Manifest,
    evaluation: &Evaluation,
    workshop: &Workshop<'_>,
) -> Result<(), CliError> {
    let report = workshop.realise(manifest, &evaluation.graph, &root_ids(evaluation))?;
    results::keep(workshop.store(), manifest, evaluation, &report)?;
    let made = build::made(evaluation, &report);
    let places = build::place(workshop, &made, args.out.as_deref(), args.no_result)?;
    build::print(context, &made, &places, &report)
}
