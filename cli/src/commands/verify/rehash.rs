//! Rehashing what is stored.

use std::collections::BTreeSet;

use kiln_store::hash::TreeId;
use kiln_store::store::Store;
use kiln_store::verify::{Damage, VerifyReport};
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::output;
use crate::workshop::Workshop;

/// Rehashes what names stand for, or all that is stored.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    let (store, report) = match args.names.as_slice() {
        [] => {
            let store = context.store()?;
            let report = store.verify()?;
            (store, report)
        }
        _ => named(context, args)?,
    };
    print(context, &store, &report)
}

#[derive(Serialize)]
struct Json {
    files: u64,
    directories: u64,
    realisations: u64,
    damaged: Vec<JsonDamage>,
}

#[derive(Serialize)]
struct JsonDamage {
    kind: &'static str,
    digest: String,
    path: String,
    problem: String,
}

fn print(context: &Context, store: &Store, report: &VerifyReport) -> Result<(), CliError> {
    if context.global.json {
        output::json(Json {
            files: report.files,
            directories: report.directories,
            realisations: report.realisations,
            damaged: report.damage.iter().map(json_damage).collect(),
        })?;
    } else {
        for damage in &report.damage {
            let path = damage.path.display();
            output::line(&format!(
                "damaged {}: {path}: {}",
                damage.kind, damage.problem
            ))?;
        }
        output::line(&format!(
            "{} files, {} directories and {} realisations rehashed in {}: {} damaged",
            report.files,
            report.directories,
            report.realisations,
            store.path().display(),
            report.damage.len()
        ))?;
    }
    match report.damage.is_empty() {
        true => Ok(()),
        false => Err(
            CliError::plain(ExitStatus::HashMismatch, "the store has damaged objects")
                .with_hint("`kiln gc --damaged` removes them, and the next build makes them anew"),
        ),
    }
}

fn json_damage(damage: &Damage) -> JsonDamage {
    JsonDamage {
        kind: damage.kind,
        digest: damage.digest.to_string(),
        path: damage.path.display().to_string(),
        problem: damage.problem.to_string(),
    }
}

/// Rehashes the outputs of names, and with `--closure` of all they were built
/// from. What was not built is an error, not a silent "all is well".
fn named(context: &Context, args: &VerifyArgs) -> Result<(Store, VerifyReport), CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let workshop = Workshop::open(context, &args.realise)?;
    let roots = crate::workshop::root_ids(&evaluation);
    let known = workshop.known(&evaluation.graph, &roots)?;
    let mut trees = BTreeSet::new();
    for (index, outputs) in known.iter().enumerate() {
        let wanted = args.closure || roots.iter().any(|root| root.index() == index);
        if !wanted {
            continue;
        }
        match outputs {
            Some(outputs) => trees.extend(outputs.iter().map(|&(_, tree)| tree)),
            None if roots.iter().any(|root| root.index() == index) => {
                return Err(not_built(&args.names.join(", ")));
            }
            None => {}
        }
    }
    let store = workshop.into_store();
    let report = rehash(&store, &trees)?;
    Ok((store, report))
}

pub(super) fn not_built(name: &str) -> CliError {
    CliError::usage(format!(
        "`{name}` was not built here, so there is nothing to rehash"
    ))
    .with_hint(format!("kiln build {name}"))
}

pub(super) fn rehash(store: &Store, trees: &BTreeSet<TreeId>) -> Result<VerifyReport, CliError> {
    let mut all = VerifyReport::default();
    for tree in trees {
        // Bytes that gc took are no damage; only what is here can be rehashed.
        if !store.has_tree(tree)? {
            continue;
        }
        let report = store.verify_tree(tree)?;
        all.files += report.files;
        all.directories += report.directories;
        all.damage.extend(report.damage);
    }
    Ok(all)
}
