//! `kiln cache`.

mod info;
mod init;
mod serve;

use std::time::{Duration, SystemTime};

use kiln_derivations::realise::caches::Cache;
use kiln_store::cache::error::CacheError;
use kiln_store::cache::version::{self, VersionError};
use kiln_store::cache::{check, sweep};
use serde::Serialize;

use crate::args::{CacheArgs, CacheCommand};
use crate::commands::push::Watching;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::progress::bytes;
use crate::sharing::Bandwidth;
use crate::{output, sharing};

#[derive(Serialize)]
struct List {
    caches: Vec<Listed>,
    require: usize,
    distinct: Vec<String>,
    keys: Vec<Trusted>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    place: String,
}

#[derive(Serialize)]
struct Trusted {
    key: kiln_store::trust::key::PublicKey,
    attributes: std::collections::BTreeMap<String, String>,
}

/// Looks after a cache.
pub fn run(context: &Context, args: &CacheArgs) -> Result<(), CliError> {
    match &args.command {
        CacheCommand::List => list(context),
        CacheCommand::Init { cache } => init::run(context, cache),
        CacheCommand::Info { cache } => info::run(context, cache),
        CacheCommand::Serve { directory, listen } => serve::run(context, directory, *listen),
        CacheCommand::Check { cache } => check(context, cache),
        CacheCommand::Gc { cache, grace } => gc(context, cache, *grace),
    }
}

/// The cache that is named, if this kiln knows its form.
fn open(context: &Context, name: &str) -> Result<Cache, CliError> {
    let (sharing, store) = (sharing::here(context)?, context.store()?);
    let cache = sharing::cache(&sharing, Some(name), &store, &Bandwidth::new(context, None))?;
    version::read(&*cache.backend).map_err(|error| refused(&error))?;
    Ok(cache)
}

/// Why a cache is left alone.
pub fn refused(error: &VersionError) -> CliError {
    CliError::machine(error.to_string())
}

#[derive(Serialize)]
struct Checked {
    cache: String,
    trees: u64,
    indexes: u64,
    packs: u64,
    files: u64,
    problems: Vec<String>,
}

fn check(context: &Context, name: &str) -> Result<(), CliError> {
    let cache = open(context, name)?;
    let checked = check::check(&*cache.backend, &Watching(context)).map_err(failed)?;
    let checked = Checked {
        cache: cache.name.clone(),
        trees: checked.trees,
        indexes: checked.indexes,
        packs: checked.packs,
        files: checked.files,
        problems: checked.problems.iter().map(ToString::to_string).collect(),
    };
    let is_whole = checked.problems.is_empty();
    match context.global.json {
        true => output::json(checked)?,
        false => {
            for problem in &checked.problems {
                output::line(problem)?;
            }
            output::line(&format!(
                "{} trees, {} indexes, {} packs, {} files: {} problems",
                checked.trees,
                checked.indexes,
                checked.packs,
                checked.files,
                checked.problems.len()
            ))?;
        }
    }
    match is_whole {
        true => Ok(()),
        false => Err(CliError::Said(ExitStatus::HashMismatch)),
    }
}

#[derive(Serialize)]
struct Collected {
    cache: String,
    removed: usize,
    removed_bytes: u64,
    /// What killed writers left half-written.
    leftovers: u64,
    unused: u64,
}

fn gc(context: &Context, name: &str, grace_hours: u64) -> Result<(), CliError> {
    let cache = open(context, name)?;
    let grace = Duration::from_secs(grace_hours * 3600);
    let now = SystemTime::now();
    let swept = sweep::sweep(&*cache.backend, grace, now, &Watching(context)).map_err(failed)?;
    let leftovers = cache.backend.sweep(grace);
    let leftovers = leftovers.map_err(|error| failed(error.into()))?;
    let collected = Collected {
        cache: cache.name.clone(),
        removed: swept.removed.len(),
        removed_bytes: swept.removed_bytes,
        leftovers,
        unused: swept.unused,
    };
    if context.global.json {
        return output::json(collected);
    }
    output::line(&format!(
        "{} files removed ({}), and {} half-written ones; {} more are unused, and not for long enough",
        collected.removed,
        bytes(collected.removed_bytes),
        collected.leftovers,
        collected.unused
    ))
}

fn failed(error: CacheError) -> CliError {
    match error {
        CacheError::Cancelled => CliError::Said(ExitStatus::Interrupted),
        error => CliError::machine(error.to_string()),
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let sharing = sharing::here(context)?;
    let store = context.store()?;
    let caches = sharing::caches(&sharing, &store, &Bandwidth::new(context, None))?;
    let policy = &sharing.policy;
    let list = List {
        caches: caches
            .iter()
            .map(|cache| Listed {
                name: cache.name.clone(),
                place: cache.backend.place(),
            })
            .collect(),
        require: policy.require.max(1),
        distinct: policy.distinct.clone(),
        keys: policy
            .keys
            .iter()
            .map(|known| Trusted {
                key: known.key,
                attributes: known.attributes.clone(),
            })
            .collect(),
    };
    if context.global.json {
        return output::json(list);
    }
    for cache in &list.caches {
        output::line(&format!("cache  {}  {}", cache.name, cache.place))?;
    }
    for key in &list.keys {
        let attributes = key.attributes.iter();
        let attributes: Vec<_> = attributes
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        output::line(&format!("key    {}  {}", key.key, attributes.join(", ")))?;
    }
    match list.keys.is_empty() {
        true => {
            output::line("nobody is trusted: `[trust]` names keys, or every cache is passed over")
        }
        false => output::line(&format!(
            "{} must agree{}",
            list.require,
            match list.distinct.is_empty() {
                true => String::new(),
                false => format!(", distinct by {}", list.distinct.join(" and ")),
            }
        )),
    }
}
