//! Caches and trust for commands: the user's configuration, the caches that
//! count, the user's own key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::manifest::{Manifest, Settings, Sharing};
use kiln_derivations::realise::caches::Cache;
use kiln_derivations::realise::caches::hints::{self, Subjects};
use kiln_store::cache::access::Access;
use kiln_store::cache::backend::Backend;
use kiln_store::cache::open::open;
use kiln_store::hash::Digest;
use kiln_store::store::Store;
use kiln_store::trust::key::SecretKey;

use crate::context::{self, Context};
use crate::error::CliError;

/// How long a cache is waited for that is only asked.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a cache is asked again that does not answer.
const TRIES: u32 = 3;
/// The file name of the user's configuration.
const CONFIG_FILE: &str = "config.toml";
/// The file name of the user's key, beside it.
const KEY_FILE: &str = "key";

/// What counts for a manifest, with the user's configuration.
pub fn of(manifest: &Manifest) -> Result<Sharing, CliError> {
    Ok(Sharing::new(manifest, &settings()?))
}

/// What counts here: for the manifest that is found, or by the user's
/// configuration alone where there is none.
pub fn here(context: &Context) -> Result<Sharing, CliError> {
    match context.manifest_path() {
        Ok(_) => of(&context.manifest()?),
        Err(_) => of(&Manifest::default()),
    }
}

/// The user's configuration; empty if there is none.
fn settings() -> Result<Settings, CliError> {
    let Some(path) = context::config_file(CONFIG_FILE) else {
        return Ok(Settings::default());
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Settings::parse(&path.display().to_string(), &text).map_err(CliError::manifest),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(CliError::usage(format!("{}: {error}", path.display()))),
    }
}

/// Opens every cache that counts. None is asked anything yet. What a cache does
/// not give can be built, so a dead one is not waited for as a push waits.
pub fn caches(sharing: &Sharing, store: &Store) -> Result<Vec<Cache>, CliError> {
    let mut access = Access::of_environment();
    access.patience.connect = CONNECT;
    access.patience.tries = TRIES;
    let open_one = |cache: &kiln_derivations::manifest::sharing::NamedCache| {
        let backend = backend(&cache.url, &access)?;
        named(&cache.name, backend, store)
    };
    sharing.caches.iter().map(open_one).collect()
}

/// Opens the cache that `text` names or is the URL of; without it the only one
/// that counts.
pub fn cache(sharing: &Sharing, text: Option<&str>, store: &Store) -> Result<Cache, CliError> {
    let (name, url) = match (text, sharing.caches.as_slice()) {
        (Some(text), caches) => match caches.iter().find(|cache| cache.name == text) {
            Some(cache) => (text, cache.url.as_str()),
            None => (text, text),
        },
        (None, [only]) => (only.name.as_str(), only.url.as_str()),
        (None, []) => {
            return Err(
                CliError::usage("no cache is named, in the manifest or configuration")
                    .with_hint("`--to URL` names one; or add `[cache.NAME]` with `url = \"…\"`"),
            );
        }
        (None, several) => {
            let names: Vec<_> = several.iter().map(|cache| cache.name.as_str()).collect();
            return Err(CliError::usage("there are several caches")
                .with_hint(format!("say which with --to: {}", names.join(", "))));
        }
    };
    named(name, backend(url, &Access::of_environment())?, store)
}

fn named(name: &str, backend: Box<dyn Backend>, store: &Store) -> Result<Cache, CliError> {
    // A URL is shown as its server is, without what only its user should know.
    let name = match name.contains(':') || name.starts_with('/') {
        true => backend.place(),
        false => name.to_owned(),
    };
    Cache::new(name, backend, store).map_err(|error| CliError::machine(error.to_string()))
}

fn backend(url: &str, access: &Access) -> Result<Box<dyn Backend>, CliError> {
    let url = match Path::new(url).is_dir() && !url.starts_with('/') {
        // A directory as shells write it.
        true => std::path::absolute(url)
            .map_err(|error| CliError::usage(format!("{url}: {error}")))?
            .display()
            .to_string(),
        false => url.to_owned(),
    };
    open(&url, access).map_err(|error| CliError::usage(error.to_string()))
}

/// What hints for `roots` are found by.
pub fn subjects(manifest: &Manifest, graph: &Graph, roots: &[DerivationId]) -> Subjects {
    let project = &manifest.flake.name.value;
    let label = |root: &DerivationId| {
        let derivation = graph.get(*root);
        hints::label(project, &derivation.name, derivation.target)
    };
    Subjects {
        sketches: distinct(hints::sketches(graph, roots)),
        labels: distinct(roots.iter().map(label).collect()),
    }
}

fn distinct(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort();
    digests.dedup();
    digests
}

/// The file of the user's key: the one that is named, else the usual one.
pub fn key_file(named: Option<&Path>) -> Result<PathBuf, CliError> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => context::config_file(KEY_FILE).ok_or_else(|| {
            CliError::usage("neither XDG_CONFIG_HOME nor HOME says where the key is")
                .with_hint("name it with --key FILE, or set KILN_KEY")
        }),
    }
}

/// The user's key.
pub fn key(named: Option<&Path>) -> Result<SecretKey, CliError> {
    let path = key_file(named)?;
    SecretKey::read(&path).map_err(|error| {
        CliError::usage(error.to_string()).with_hint("`kiln key generate` makes a key")
    })
}
