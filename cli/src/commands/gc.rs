//! `kiln gc`.

use std::time::Duration;

use kiln_store::gc::{GcOptions, GcReport};
use serde::Serialize;

use crate::args::GcArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use crate::progress::bytes;

/// Removes what nothing uses.
pub fn run(context: &Context, args: &GcArgs) -> Result<(), CliError> {
    let mut store = context.store()?;
    if args.list_roots {
        return list(context, &store);
    }
    for name in &args.forget {
        if !store.remove_root(name)? {
            return Err(CliError::usage(format!("there is no root `{name}`"))
                .with_hint("`kiln gc --list-roots` lists them"));
        }
    }
    let mut damaged = None;
    if args.damaged {
        let damage = store.verify()?.damage;
        let gone = store.remove_damaged(&damage)?;
        damaged = Some(damage.len());
        if !context.global.json {
            output::line(&format!(
                "{} damaged objects removed, with {} trees that need them",
                damage.len(),
                gone.len()
            ))?;
        }
    }
    let report = store.gc(&GcOptions {
        keep: Duration::from_secs(u64::from(args.keep_days) * 24 * 60 * 60),
        dry_run: args.dry_run,
        ..GcOptions::default()
    })?;
    print(context, args, damaged, &report)
}

#[derive(Serialize)]
struct Json<'a> {
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<usize>,
    #[serde(flatten)]
    report: &'a GcReport,
}

fn print(
    context: &Context,
    args: &GcArgs,
    damaged: Option<usize>,
    report: &GcReport,
) -> Result<(), CliError> {
    if context.global.json {
        let dry_run = args.dry_run;
        return output::json(Json {
            dry_run,
            damaged,
            report,
        });
    }
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    output::line(&format!(
        "{verb} {} files, {} directories, {} logs, {} leftovers: {}; {} stay",
        report.files,
        report.directories,
        report.logs,
        report.leftovers,
        bytes(report.freed_bytes),
        bytes(report.kept_bytes)
    ))
}

#[derive(Serialize)]
struct Roots {
    roots: Vec<RootLine>,
}

#[derive(Serialize)]
struct RootLine {
    name: String,
    trees: usize,
}

fn list(context: &Context, store: &kiln_store::store::Store) -> Result<(), CliError> {
    let roots = store.roots()?.into_iter().map(|root| RootLine {
        name: root.name,
        trees: root.trees.len(),
    });
    let roots = Roots {
        roots: roots.collect(),
    };
    if context.global.json {
        return output::json(roots);
    }
    roots
        .roots
        .iter()
        .try_for_each(|root| output::line(&format!("{} ({} trees)", root.name, root.trees)))
}
