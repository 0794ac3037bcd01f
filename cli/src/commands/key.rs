//! `kiln key`.

use kiln_store::cache::claims;
use kiln_store::trust::key::{PublicKey, SecretKey};
use kiln_store::trust::statement::Statement;
use serde::Serialize;

use crate::args::{KeyArgs, KeyCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::sharing::Bandwidth;
use crate::{output, sharing};

#[derive(Serialize)]
struct Shown {
    key: PublicKey,
    file: String,
}

#[derive(Serialize)]
struct Stated {
    key: PublicKey,
    serial: u64,
    cache: String,
}

/// Makes, shows, rotates and revokes keys.
pub fn run(context: &Context, args: &KeyArgs) -> Result<(), CliError> {
    match &args.command {
        KeyCommand::Generate { file } => generate(context, file.as_deref()),
        KeyCommand::Show { file } => {
            let key = sharing::key(file.as_deref())?;
            show(context, &key, &sharing::key_file(file.as_deref())?)
        }
        KeyCommand::Rotate { key, successor, to } => {
            let successor: PublicKey = successor
                .parse()
                .map_err(|error| CliError::usage(format!("{error}")))?;
            let key = sharing::key(key.as_deref())?;
            if successor == key.public() {
                return Err(CliError::usage("a key cannot follow itself")
                    .with_hint("`kiln key generate FILE` makes the one that follows"));
            }
            let say = |serial| Statement::succeeded(&key, serial, successor);
            state(context, &key, to.as_deref(), &say)
        }
        KeyCommand::Revoke { key, to } => {
            let key = sharing::key(key.as_deref())?;
            let say = |serial| Statement::revoked(&key, serial);
            state(context, &key, to.as_deref(), &say)
        }
    }
}

fn generate(context: &Context, file: Option<&std::path::Path>) -> Result<(), CliError> {
    let path = sharing::key_file(file)?;
    if let (None, Some(parent)) = (file, path.parent()) {
        std::fs::create_dir_all(parent)
            .map_err(|error| CliError::machine(format!("{}: {error}", parent.display())))?;
    }
    let key = SecretKey::generate()
        .map_err(|error| CliError::machine(format!("random numbers: {error}")))?;
    key.write(&path).map_err(|error| {
        CliError::usage(error.to_string())
            .with_hint("name another file; a key is never overwritten")
    })?;
    show(context, &key, &path)
}

fn show(context: &Context, key: &SecretKey, path: &std::path::Path) -> Result<(), CliError> {
    if context.global.json {
        return output::json(Shown {
            key: key.public(),
            file: path.display().to_string(),
        });
    }
    output::line(&key.public().to_string())
}

/// Has a key say something of itself in a cache, with a serial above all that
/// were said.
fn state(
    context: &Context,
    key: &SecretKey,
    to: Option<&str>,
    say: &dyn Fn(u64) -> Statement,
) -> Result<(), CliError> {
    let sharing = sharing::here(context)?;
    let store = context.store()?;
    let cache = sharing::cache(&sharing, to, &store, &Bandwidth::new(context, None))?;
    let public = key.public();
    let unavailable = |error: claims::ClaimError| CliError::machine(error.to_string());
    let there = claims::read_statement(&*cache.backend, &public).map_err(unavailable)?;
    let mut statements = store.statements()?;
    let known = statements.of(&public).map(Statement::serial);
    let highest = there.as_ref().map(Statement::serial).max(known);
    let statement = say(highest.map_or(1, |serial| serial + 1));
    statements
        .learn(&statement)
        .map_err(|error| CliError::machine(error.to_string()))?;
    claims::write_statement(&*cache.backend, &public, &statement).map_err(unavailable)?;
    store.remember_statements(std::slice::from_ref(&statement))?;
    let stated = Stated {
        key: public,
        serial: statement.serial(),
        cache: cache.name.clone(),
    };
    if context.global.json {
        return output::json(stated);
    }
    output::line(&format!(
        "{} says so in {} (serial {})",
        stated.key, stated.cache, stated.serial
    ))
}
