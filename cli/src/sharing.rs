//! Caches and trust for commands: the user's configuration, the caches that
//! count, the user's own key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::manifest::sharing::NamedCache;
use kiln_derivations::manifest::{Manifest, Settings, Sharing};
use kiln_derivations::realise::caches::Cache;
use kiln_derivations::realise::caches::hints::{self, Subjects};
use kiln_store::cache::access::Access;
use kiln_store::cache::backend::Backend;
use kiln_store::cache::open::{self, OpenError};
use kiln_store::cache::pace::{Pace, Rate};
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

/// How fast bytes go to and from caches: what the command line says of all
/// together, and what is written beside one's URL.
pub struct Bandwidth {
    all: Pace,
    /// Ctrl-C, after which transfers need not wait any more to be ended.
    stop: Arc<AtomicBool>,
}

impl Bandwidth {
    /// At most `rate` for all caches together.
    pub fn new(context: &Context, rate: Option<Rate>) -> Self {
        let stop = context.cancel.flag();
        Self {
            all: pace(rate, &stop),
            stop,
        }
    }

    /// For a cache that `rate` is written beside.
    fn of_one(&self, rate: Option<Rate>) -> Pace {
        pace(rate, &self.stop).and(&self.all)
    }
}

fn pace(rate: Option<Rate>, stop: &Arc<AtomicBool>) -> Pace {
    rate.map_or_else(Pace::default, |rate| Pace::at_most(rate, Arc::clone(stop)))
}

/// Opens every cache that counts. None is asked anything yet. What a cache does
/// not give can be built, so a dead one is not waited for as a push waits.
pub fn caches(
    sharing: &Sharing,
    store: &Store,
    bandwidth: &Bandwidth,
) -> Result<Vec<Cache>, CliError> {
    let mut access = Access::of_environment();
    access.patience.connect = CONNECT;
    access.patience.tries = TRIES;
    let mut caches = Vec::new();
    for cache in &sharing.caches {
        access.pace = bandwidth.of_one(cache.bandwidth);
        caches.push(named(&cache.name, backend(&cache.url, &access)?, store)?);
    }
    Ok(caches)
}

/// Opens the cache that `text` names or is the URL of; without it the only one
/// that counts.
pub fn cache(
    sharing: &Sharing,
    text: Option<&str>,
    store: &Store,
    bandwidth: &Bandwidth,
) -> Result<Cache, CliError> {
    let (name, url, rate) = match (text, sharing.caches.as_slice()) {
        (Some(text), _) => match find(sharing, text) {
            Some(cache) => (text, cache.url.as_str(), cache.bandwidth),
            None => (text, text, None),
        },
        (None, [only]) => (only.name.as_str(), only.url.as_str(), only.bandwidth),
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
    let access = Access {
        pace: bandwidth.of_one(rate),
        ..Access::of_environment()
    };
    named(name, backend(url, &access)?, store)
}

fn find<'s>(sharing: &'s Sharing, name: &str) -> Option<&'s NamedCache> {
    sharing.caches.iter().find(|cache| cache.name == name)
}

/// What is at `text`, a name or a URL, alone: without a store, and without the
/// caches that are named. A path may be relative, and need not be there.
pub fn place(sharing: &Sharing, text: &str) -> Result<Place, CliError> {
    let named = find(sharing, text);
    let url = match named {
        Some(cache) => cache.url.clone(),
        None if text.contains("://") || text.starts_with("file:") => text.to_owned(),
        None => absolute(text)?,
    };
    let failed = |error: OpenError| CliError::usage(error.to_string());
    Ok(Place {
        is_named: named.is_some(),
        directory: open::directory(&url).map_err(failed)?,
        backend: open::open(&url, &Access::of_environment()).map_err(failed)?,
        url,
    })
}

/// Where a cache is, or may be.
pub struct Place {
    /// Whether the manifest or the configuration has a name for it.
    pub is_named: bool,
    /// As it would be written there.
    pub url: String,
    /// The directory that it is, if it is one.
    pub directory: Option<PathBuf>,
    /// How it is reached.
    pub backend: Box<dyn Backend>,
}

fn absolute(path: &str) -> Result<String, CliError> {
    let absolute = std::path::absolute(path);
    let absolute = absolute.map_err(|error| CliError::usage(format!("{path}: {error}")))?;
    Ok(absolute.display().to_string())
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
        true => absolute(url)?,
        false => url.to_owned(),
    };
    open::open(&url, access).map_err(|error| CliError::usage(error.to_string()))
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
