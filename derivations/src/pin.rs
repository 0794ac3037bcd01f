//! Pinning: filling a lock with what a manifest asks for.
//!
//! - A seed is resolved from the signed index of its suite, for every platform,
//!   and each package is downloaded once, for the hash the index does not have.
//! - A `debian:` source has the size and sha256 that a signed source index
//!   vouches for; if none of the manifest's suites lists the file, and for any
//!   other URL, what is fetched first is believed, and says so.
//! - A file is always fetched from the URL it is pinned under. A hash that is
//!   known already is never carried over to a new URL (CVE-2024-36050).
//!
//! What is pinned, and fits the manifest, is left alone.

use std::collections::{BTreeMap, BTreeSet};

use kiln_store::hash::ContentId;

use crate::debian::archive::{Archive, ArchiveIndexError, Scope, pin as pin_packages};
use crate::debian::keyring::{BadKeyring, Keyring};
use crate::debian::packages::Index;
use crate::debian::release::Stale as StalePolicy;
use crate::debian::resolve::{Query, ResolveError, resolve};
use crate::derivation::Target;
use crate::fetch::git::Repository;
use crate::fetch::{
    BadCandidate, Cancel, Candidate, FetchError, FetchProgress, FetchRequest, Fetcher, Timestamp,
};
use crate::manifest::lock::{PinConflict, PinnedPackage, PinnedSeed, PinnedSource, request};
use crate::manifest::schema::{Seed, Source};
use crate::manifest::{Lock, Manifest};

/// The component that is read of an archive.
const COMPONENT: &str = "main";

/// Downloads at one time while packages are pinned.
const PARALLEL: usize = 8;

/// Which entries are pinned again although they fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// None.
    None,
    /// These.
    These(BTreeSet<String>),
    /// All.
    All,
}

impl Again {
    fn has(&self, name: &str) -> bool {
        match self {
            Again::None => false,
            Again::These(names) => names.contains(name),
            Again::All => true,
        }
    }
}

/// Something that was pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `source` or `seed`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// To what, and on whose word, in a line.
    pub what: String,
}

/// Why something could not be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Something could not be fetched.
    #[error("{name}: {source}")]
    Fetch {
        /// The entry.
        name: String,
        /// Why.
        source: FetchError,
    },
    /// An archive's index could not be read.
    #[error("{name}: {source}")]
    Index {
        /// The entry.
        name: String,
        /// Why.
        source: ArchiveIndexError,
    },
    /// A seed's packages have no closure.
    #[error("seed `{name}` on {platform}: {source}")]
    Resolve {
        /// The seed.
        name: String,
        /// The platform.
        platform: Target,
        /// Why.
        source: Box<ResolveError>,
    },
    /// A URL that kiln does not know how to fetch.
    #[error("source `{name}`: {source}")]
    Url {
        /// The source.
        name: String,
        /// Why.
        source: BadCandidate,
    },
    /// A place has other bytes than it had.
    #[error(transparent)]
    Conflict(#[from] PinConflict),
    /// The pinned keys are broken.
    #[error(transparent)]
    Keyring(#[from] BadKeyring),
}

/// What pinning needs of the world.
pub struct Pinner<'a> {
    /// What fetches.
    pub fetcher: &'a Fetcher,
    /// Whose signature counts.
    pub keyring: &'a Keyring,
    /// Who hears of downloads.
    pub progress: &'a dyn FetchProgress,
    /// What stops it.
    pub cancel: &'a Cancel,
    /// The time now.
    pub now: Timestamp,
}

impl Pinner<'_> {
    /// Pins what `manifest` asks for and `lock` does not have as it asks, and
    /// what `again` names; forgets what is not asked for any more. `told` hears
    /// of each entry as it is pinned.
    pub fn pin(
        &self,
        manifest: &Manifest,
        lock: &mut Lock,
        again: &Again,
        told: &mut dyn FnMut(&Change),
    ) -> Result<usize, PinError> {
        let mut indices = Indices::default();
        let mut count = 0;
        for (name, seed) in &manifest.seeds {
            if again.has(name) || !lock.has_seed(name, seed) {
                let (pinned, change) = self.seed(&mut indices, name, seed)?;
                lock.seeds.insert(name.to_string(), pinned);
                told(&change);
                count += 1;
            }
        }
        let suites = suites(manifest);
        for (name, source) in &manifest.sources {
            let renew = again.has(name);
            if source.path.is_none() && (renew || !lock.has_source(name, source)) {
                let (pinned, change) = self.source(&suites, name, source)?;
                if renew {
                    lock.sources.remove(name.as_str());
                }
                lock.pin(pinned)?;
                told(&change);
                count += 1;
            }
        }
        lock.retain(manifest);
        Ok(count)
    }

    fn archive(&self) -> Archive<'_> {
        Archive {
            fetcher: self.fetcher,
            keyring: self.keyring,
            progress: self.progress,
            cancel: self.cancel,
        }
    }

    fn scope(&self, suite: &str) -> Scope {
        Scope {
            suites: vec![suite.to_owned()],
            components: vec![COMPONENT.to_owned()],
            now: self.now,
            stale: StalePolicy::Refuse,
        }
    }

    fn seed(
        &self,
        indices: &mut Indices,
        name: &str,
        seed: &Seed,
    ) -> Result<(PinnedSeed, Change), PinError> {
        let mut pinned = PinnedSeed {
            name: name.to_owned(),
            debian: seed.debian.to_string(),
            request: request(seed),
            first_seen: self.now.to_string(),
            x86_64: Vec::new(),
            aarch64: Vec::new(),
        };
        for platform in Target::ALL {
            let packages = self.closure(indices, name, seed, platform)?;
            *pinned.packages_mut(platform) = packages;
        }
        let change = Change {
            kind: "seed",
            name: name.to_owned(),
            what: format!(
                "{} packages for x86_64, {} for aarch64, from {} on its signature",
                pinned.x86_64.len(),
                pinned.aarch64.len(),
                pinned.debian
            ),
        };
        Ok((pinned, change))
    }

    fn closure(
        &self,
        indices: &mut Indices,
        name: &str,
        seed: &Seed,
        platform: Target,
    ) -> Result<Vec<PinnedPackage>, PinError> {
        let index = indices.get(self, name, &seed.debian, platform)?;
        let texts = |list: &crate::manifest::schema::Texts| -> Vec<String> {
            list.iter().map(|text| text.to_string()).collect()
        };
        let query = Query {
            roots: &texts(&seed.packages),
            exclude: &texts(&seed.exclude),
        };
        let closure = resolve(index, &query).map_err(|source| PinError::Resolve {
            name: name.to_owned(),
            platform,
            source: Box::new(source),
        })?;
        let pins = pin_packages(&self.archive(), &closure.packages, PARALLEL);
        closure
            .packages
            .into_iter()
            .zip(pins)
            .map(|(package, pin)| {
                let pin = pin.map_err(|source| fetch_error(name, source))?;
                Ok(PinnedPackage {
                    name: package.name,
                    version: package.version,
                    path: package.path,
                    size: pin.size,
                    sha256: pin.sha256.to_string(),
                    blake3: pin.blake3.to_string(),
                    installed_kib: package.installed_kib,
                })
            })
            .collect()
    }

    fn source(
        &self,
        suites: &[String],
        name: &str,
        source: &Source,
    ) -> Result<(PinnedSource, Change), PinError> {
        if let (Some(git), Some(rev)) = (&source.git, &source.rev) {
            return self.git(name, git, rev);
        }
        let urls: Vec<String> = source.urls().map(|url| url.to_string()).collect();
        let parse = |url: &String| {
            url.parse().map_err(|source| PinError::Url {
                name: name.to_owned(),
                source,
            })
        };
        let candidates: Vec<Candidate> = urls.iter().map(parse).collect::<Result<_, _>>()?;
        let vouched = self.vouched(suites, &candidates)?;
        let (file, word) = match vouched {
            Some((request, suite)) => (
                self.fetcher.fetch(&request, self.progress, self.cancel),
                format!("on the signature of {suite}"),
            ),
            None => (
                self.first_use(name, &candidates),
                "as it was fetched first: nobody vouches for it".to_owned(),
            ),
        };
        let file = file.map_err(|source| fetch_error(name, source))?;
        let pinned = PinnedSource {
            name: name.to_owned(),
            urls,
            candidates: Vec::new(),
            size: file.size,
            sha256: file.sha256.to_string(),
            blake3: file.blake3.to_string(),
            rev: String::new(),
            first_seen: self.now.to_string(),
        };
        let change = Change {
            kind: "source",
            name: name.to_owned(),
            what: format!("sha256 {} {word}", pinned.sha256),
        };
        Ok((pinned, change))
    }

    fn first_use(
        &self,
        name: &str,
        candidates: &[Candidate],
    ) -> Result<crate::fetch::Fetched, FetchError> {
        let accept = |_: &std::path::Path| Ok(());
        self.fetcher
            .fetch_new(name, candidates, &accept, self.progress, self.cancel)
    }

    fn git(&self, name: &str, url: &str, rev: &str) -> Result<(PinnedSource, Change), PinError> {
        let failed = |source| fetch_error(name, source);
        let cache = &self.fetcher.config().cache_dir;
        let repository = Repository::open(url, cache).map_err(failed)?;
        // The commit's hash is the pin; that it can be had is what is tried.
        repository
            .tree(rev, &kiln_store::objects::Memory::default())
            .map_err(failed)?;
        let pinned = PinnedSource {
            name: name.to_owned(),
            urls: vec![url.to_owned()],
            candidates: Vec::new(),
            size: 0,
            sha256: String::new(),
            blake3: String::new(),
            rev: rev.to_owned(),
            first_seen: self.now.to_string(),
        };
        let change = Change {
            kind: "source",
            name: name.to_owned(),
            what: format!("commit {rev}"),
        };
        Ok((pinned, change))
    }

    /// What a signed source index says of the first `debian:` candidate.
    fn vouched(
        &self,
        suites: &[String],
        candidates: &[Candidate],
    ) -> Result<Option<(FetchRequest, String)>, PinError> {
        let Some(Candidate::Debian { path }) = candidates.first() else {
            return Ok(None);
        };
        for suite in suites {
            let found = self.archive().source(&self.scope(suite), path);
            let file = match found {
                Ok(found) => found.file,
                Err(ArchiveIndexError::NoSource { .. }) => continue,
                Err(source) => {
                    return Err(PinError::Index {
                        name: path.clone(),
                        source,
                    });
                }
            };
            let request = FetchRequest {
                name: path.rsplit('/').next().unwrap_or(path).to_owned(),
                candidates: candidates.to_vec(),
                sha256: file.sha256,
                blake3: None::<ContentId>,
                size: Some(file.size),
                first_seen: None,
            };
            return Ok(Some((request, suite.clone())));
        }
        Ok(None)
    }
}

/// The suites that the manifest's seeds are from.
fn suites(manifest: &Manifest) -> Vec<String> {
    let suites = manifest.seeds.values().map(|seed| seed.debian.to_string());
    suites.collect::<BTreeSet<_>>().into_iter().collect()
}

fn fetch_error(name: &str, source: FetchError) -> PinError {
    PinError::Fetch {
        name: name.to_owned(),
        source,
    }
}

/// Package lists by suite and platform, each read once.
#[derive(Default)]
struct Indices(BTreeMap<(String, Target), Index>);

impl Indices {
    fn get(
        &mut self,
        pinner: &Pinner<'_>,
        name: &str,
        suite: &str,
        platform: Target,
    ) -> Result<&Index, PinError> {
        let key = (suite.to_owned(), platform);
        if !self.0.contains_key(&key) {
            let scope = pinner.scope(suite);
            let index = pinner.archive().packages(&scope, platform.debian());
            let index = index.map_err(|source| PinError::Index {
                name: name.to_owned(),
                source,
            })?;
            self.0.insert(key.clone(), index);
        }
        Ok(&self.0[&key])
    }
}
