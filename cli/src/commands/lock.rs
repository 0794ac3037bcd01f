//! `kiln lock` and `kiln update`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_derivations::debian::keyring::Keyring;
use kiln_derivations::fetch::{Attempt, Cancel, FetchProgress, Fetcher, Timestamp};
use kiln_derivations::manifest::{Lock, Manifest};
use kiln_derivations::pin::{Again, Change, PinError, Pinner};
use serde::Serialize;

use crate::args::{LockArgs, UpdateArgs};
use crate::context::Context;
use crate::error::{CliError, chain};
use crate::exit::ExitStatus;
use crate::output;
use crate::progress::bytes;
use crate::workshop::fetch_config;

/// Pins what is not pinned yet.
pub fn lock(context: &Context, args: &LockArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let lock = context.lock()?;
    if args.check {
        return lock.check(&manifest).map_err(CliError::manifest);
    }
    pin(context, &manifest, lock, &Again::None)
}

/// Pins again.
pub fn update(context: &Context, args: &UpdateArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let lock = context.lock()?;
    let again = match args.names.as_slice() {
        [] => Again::All,
        names => {
            for name in names {
                known(&manifest, name)?;
            }
            Again::These(names.iter().cloned().collect())
        }
    };
    pin(context, &manifest, lock, &again)
}

fn known(manifest: &Manifest, name: &str) -> Result<(), CliError> {
    let seeds = manifest.seeds.keys().map(|key| key.as_str());
    let names: BTreeSet<&str> = seeds
        .chain(manifest.sources.keys().map(|key| key.as_str()))
        .collect();
    if names.contains(name) {
        return Ok(());
    }
    let nearest = names
        .iter()
        .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let error = CliError::usage(format!("there is no seed or source `{name}`"));
    Err(match nearest {
        Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
        None => error,
    })
}

fn pin(
    context: &Context,
    manifest: &Manifest,
    mut lock: Lock,
    again: &Again,
) -> Result<(), CliError> {
    let store = context.store()?;
    let fetcher = Fetcher::new(fetch_config(&store, manifest));
    let fetcher = fetcher.map_err(|error| CliError::machine(chain(&error)))?;
    let keyring = Keyring::pinned().map_err(|error| CliError::machine(chain(&error)))?;
    let cancel = Cancel::from_flag(context.cancel.flag());
    let progress = Lines {
        quiet: context.global.quiet,
    };
    let pinner = Pinner {
        fetcher: &fetcher,
        keyring: &keyring,
        progress: &progress,
        cancel: &cancel,
        now: now(),
    };
    let mut changes = Vec::new();
    let mut told = |change: &Change| {
        if !context.global.quiet {
            eprintln!("pinned  {} `{}`: {}", change.kind, change.name, change.what);
        }
        changes.push(change.clone());
    };
    pinner
        .pin(manifest, &mut lock, again, &mut told)
        .map_err(pin_error)?;
    let path = context.lock_path()?;
    let changed = write(&path, &lock.write())?;
    print(context, &path, &changes, changed)
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = elapsed.map_or(0, |elapsed| elapsed.as_secs());
    Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn pin_error(error: PinError) -> CliError {
    let status = match &error {
        PinError::Conflict(_) => ExitStatus::HashMismatch,
        PinError::Resolve { .. } | PinError::Url { .. } => ExitStatus::Usage,
        PinError::Fetch { .. } | PinError::Index { .. } | PinError::Keyring(_) => {
            ExitStatus::Infrastructure
        }
    };
    CliError::plain(status, chain(&error))
}

/// Replaces the lock in one step; an unchanged one is not touched.
fn write(path: &Path, text: &str) -> Result<bool, CliError> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    let partial = path.with_extension(format!("lock.{}", std::process::id()));
    let written = fs::File::create(&partial)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::rename(&partial, path));
    written.map(|()| true).map_err(|error| {
        let _ = fs::remove_file(&partial);
        CliError::machine(format!("writing {}: {error}", path.display()))
    })
}

#[derive(Serialize)]
struct Json {
    lock: String,
    changed: bool,
    pinned: Vec<Pinned>,
}

#[derive(Serialize)]
struct Pinned {
    kind: &'static str,
    name: String,
    what: String,
}

fn print(
    context: &Context,
    path: &Path,
    changes: &[Change],
    changed: bool,
) -> Result<(), CliError> {
    if context.global.json {
        let pinned = changes.iter().map(|change| Pinned {
            kind: change.kind,
            name: change.name.clone(),
            what: change.what.clone(),
        });
        return output::json(Json {
            lock: path.display().to_string(),
            changed,
            pinned: pinned.collect(),
        });
    }
    let shown = crate::context::shown(path);
    output::line(&match changed {
        true => format!("wrote {shown}, {} entries pinned", changes.len()),
        false => format!("{shown} fits the manifest; nothing changed"),
    })
}

/// One line for each download that matters.
struct Lines {
    quiet: bool,
}

/// Smaller files are not worth a line.
const WORTH_A_LINE_BYTES: u64 = 20_000_000;

impl FetchProgress for Lines {
    fn begun(&self, name: &str, total_bytes: Option<u64>) {
        let large = total_bytes.is_none_or(|total| total >= WORTH_A_LINE_BYTES);
        if !self.quiet && large {
            let size = total_bytes.map_or_else(String::new, |total| format!(" ({})", bytes(total)));
            eprintln!("fetch   {name}{size}");
        }
    }

    fn failed(&self, name: &str, attempt: &Attempt) {
        if !self.quiet {
            eprintln!("retry   {name}: {}: {}", attempt.from, attempt.problem);
        }
    }
}
