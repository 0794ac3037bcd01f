//! `kiln cache serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use kiln_store::cache::directory::Directory;
use kiln_store::cache::serve::{Limits, Log, Served, Server};
use kiln_store::cache::version::{self, VersionError};
use serde::Serialize;

use super::refused;
use crate::context::Context;
use crate::error::CliError;
use crate::{output, progress};

#[derive(Serialize)]
struct Serving {
    directory: String,
    url: String,
}

/// Serves a directory until Ctrl-C.
pub fn run(context: &Context, path: &Path, listen: SocketAddr) -> Result<(), CliError> {
    let shown = path.display().to_string();
    if !path.is_dir() {
        return Err(CliError::usage(format!("{shown} is no directory"))
            .with_hint("`kiln cache init DIR` makes a cache in a directory"));
    }
    // One of a newer version is served too: only who reads it has to know it.
    if let Err(error @ VersionError::Backend(_)) = version::read(&Directory::new(path)) {
        return Err(refused(&error));
    }
    let failed = |error: std::io::Error| CliError::machine(format!("{listen}: {error}"));
    let server = Server::bind(Directory::new(path), listen, Limits::default()).map_err(failed)?;
    let url = format!("http://{}", server.address().map_err(failed)?);
    match context.global.json {
        true => output::json(Serving {
            directory: shown,
            url,
        })?,
        false => output::line(&format!("serving {shown} at {url}; Ctrl-C ends it"))?,
    }
    let is_verbose = context.global.verbose;
    let log: Log = Arc::new(move |served| {
        if is_verbose {
            eprintln!("{}", line(served));
        }
    });
    server.run(context.cancel.readable(), log).map_err(failed)
}

/// What is told of a request.
fn line(served: &Served) -> String {
    let Served {
        peer,
        method,
        path,
        status,
        bytes,
        wall,
    } = served;
    format!(
        "{peer} {method} {path} {status} {} {}",
        progress::bytes(*bytes),
        progress::seconds(wall.as_secs_f64())
    )
}
