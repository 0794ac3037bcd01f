//! `kiln store`.

use serde::Serialize;

use crate::args::{StoreArgs, StoreCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// Looks after the store.
pub fn run(context: &Context, args: &StoreArgs) -> Result<(), CliError> {
    match &args.command {
        StoreCommand::Rebuild => rebuild(context),
        StoreCommand::Info => info(context),
        StoreCommand::Export { tree, directory } => {
            let tree = tree
                .parse()
                .map_err(|error| CliError::usage(format!("{error}")))?;
            context.store()?.export(&tree, directory, false)?;
            Ok(())
        }
    }
}

fn rebuild(context: &Context) -> Result<(), CliError> {
    let store = context.open_store(true)?;
    if context.global.json {
        return output::json(Path {
            path: store.path().display().to_string(),
        });
    }
    output::line(&format!(
        "the index of {} was made anew from its realisations",
        store.path().display()
    ))
}

#[derive(Serialize)]
struct Path {
    path: String,
}

#[derive(Serialize)]
struct Info {
    path: String,
    realisations: u64,
    directories: u64,
    files: u64,
    disk_bytes: u64,
}

fn info(context: &Context) -> Result<(), CliError> {
    let store = context.store()?;
    let usage = store.usage()?;
    let info = Info {
        path: store.path().display().to_string(),
        realisations: usage.realisations,
        directories: usage.directories,
        files: usage.files,
        disk_bytes: usage.disk_bytes,
    };
    if context.global.json {
        return output::json(info);
    }
    output::line(&format!("store         {}", info.path))?;
    output::line(&format!("realisations  {}", info.realisations))?;
    output::line(&format!("directories   {}", info.directories))?;
    output::line(&format!(
        "files         {} ({})",
        info.files,
        crate::progress::bytes(info.disk_bytes)
    ))
}
