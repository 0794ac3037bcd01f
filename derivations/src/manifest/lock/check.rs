//! Whether a lock is what a manifest asks for.

use std::fmt;

use super::{Lock, PinnedSeed, PinnedSource, near, request};
use crate::derivation::Target;
use crate::manifest::assemble::Manifest;
use crate::manifest::schema::{Seed, Source};

/// A lock does not pin what the manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOutOfDate {
    /// What changed; at least one.
    pub changes: Vec<Stale>,
}

/// One thing that the lock does not pin as the manifest asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// `source` or `seed`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What is the matter, as the end of a sentence that begins with it.
    pub why: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}", self.kind, self.name, self.why)
    }
}

impl fmt::Display for LockOutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<String> = self.changes.iter().map(Stale::to_string).collect();
        write!(f, "the lock is out of date: {}", changes.join("; "))
    }
}

impl std::error::Error for LockOutOfDate {}

impl miette::Diagnostic for LockOutOfDate {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("run `kiln lock`"))
    }
}

/// A place that gave other bytes before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source `{name}`: {url} was pinned to sha256 {pinned}, but has {found} now")]
pub struct PinConflict {
    /// The source that was about to be pinned.
    pub name: String,
    /// The place.
    pub url: String,
    /// The hash it was pinned to.
    pub pinned: String,
    /// The hash it has now.
    pub found: String,
}

impl miette::Diagnostic for PinConflict {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let name = &self.name;
        Some(Box::new(format!(
            "the file changed where it should not; if that is meant, pin it anew with `kiln update {name}`"
        )))
    }
}

impl Lock {
    /// Whether a source is pinned as the manifest asks for it.
    pub fn has_source(&self, name: &str, source: &Source) -> bool {
        self.source(name, source).is_ok()
    }

    /// Whether a seed is pinned as the manifest asks for it.
    pub fn has_seed(&self, name: &str, seed: &Seed) -> bool {
        self.seed(name, seed).is_ok()
    }

    /// Whether everything that `manifest` asks for is pinned as it asks.
    pub fn check(&self, manifest: &Manifest) -> Result<(), LockOutOfDate> {
        let sources = manifest.sources.iter().filter_map(|(name, source)| {
            let why = self.source(name, source).err()?;
            Some(stale("source", name, why))
        });
        let seeds = manifest.seeds.iter().filter_map(|(name, seed)| {
            let why = self.seed(name, seed).err()?;
            Some(stale("seed", name, why))
        });
        let changes: Vec<Stale> = sources.chain(seeds).collect();
        if changes.is_empty() {
            Ok(())
        } else {
            Err(LockOutOfDate { changes })
        }
    }

    /// What a source is pinned to; `None` for a folder, which is not. Else why
    /// it is not pinned as the manifest asks.
    pub(in crate::manifest) fn source(
        &self,
        name: &str,
        source: &Source,
    ) -> Result<Option<&PinnedSource>, String> {
        if source.path.is_some() {
            return Ok(None);
        }
        let pinned = self.sources.get(name);
        let pinned = pinned.ok_or_else(|| missing(name, self.sources.keys()))?;
        let urls: Vec<&str> = match &source.git {
            Some(git) => vec![git],
            None => source.urls().map(|url| url.value.as_str()).collect(),
        };
        if pinned.urls != urls {
            // The same hash behind another URL is not taken over: it has to be
            // fetched from there and compared (CVE-2024-36050).
            let what = if source.git.is_some() {
                "repository"
            } else {
                "URLs"
            };
            return Err(format!("has other {what} than the lock"));
        }
        let rev = source.rev.as_ref().map_or("", |rev| rev.value.as_str());
        if pinned.rev != rev {
            return Err(format!(
                "is at commit {} in the lock, at {rev} in the manifest",
                pinned.rev
            ));
        }
        if rev.is_empty() && pinned.sha256.len() != 64 {
            return Err("has no sha256 in the lock".to_owned());
        }
        Ok(Some(pinned))
    }

    /// What a seed is pinned to, or why it is not as the manifest asks.
    pub(in crate::manifest) fn seed(&self, name: &str, seed: &Seed) -> Result<&PinnedSeed, String> {
        let pinned = self.seeds.get(name);
        let pinned = pinned.ok_or_else(|| missing(name, self.seeds.keys()))?;
        if pinned.debian != seed.debian.value {
            let (locked, wanted) = (&pinned.debian, &seed.debian.value);
            return Err(format!(
                "is of suite {locked} in the lock, of {wanted} in the manifest"
            ));
        }
        if pinned.request != request(seed) {
            return Err("asks for other packages or excludes than the lock".to_owned());
        }
        let empty = Target::ALL
            .into_iter()
            .find(|p| pinned.packages(*p).is_empty());
        match empty {
            Some(platform) if !seed.packages.is_empty() => {
                Err(format!("has no packages for {platform} in the lock"))
            }
            _ => Ok(pinned),
        }
    }

    /// Pins a source. A place that was pinned to another hash before, under
    /// whatever name, is an error and changes nothing.
    pub fn pin(&mut self, source: PinnedSource) -> Result<(), PinConflict> {
        let known = self.sources.values().filter(|known| known.rev.is_empty());
        for known in known.filter(|known| known.sha256 != source.sha256) {
            if let Some(url) = known.urls.iter().find(|url| source.urls.contains(url)) {
                return Err(PinConflict {
                    name: source.name,
                    url: url.clone(),
                    pinned: known.sha256.clone(),
                    found: source.sha256,
                });
            }
        }
        self.sources.insert(source.name.clone(), source);
        Ok(())
    }

    /// Forgets what the manifest no longer names.
    pub fn retain(&mut self, manifest: &Manifest) {
        self.sources.retain(|name, _| {
            let source = manifest.sources.get(name.as_str());
            source.is_some_and(|source| source.path.is_none())
        });
        self.seeds
            .retain(|name, _| manifest.seeds.contains_key(name.as_str()));
    }
}

fn stale(kind: &'static str, name: &str, why: String) -> Stale {
    Stale {
        kind,
        name: name.to_owned(),
        why,
    }
}

fn missing<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> String {
    match near(name, names) {
        Some(near) => format!("is not in the lock, which has `{near}`"),
        None => "is not in the lock".to_owned(),
    }
}
