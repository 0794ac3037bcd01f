//! From an archive on the network to an index and to pins.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use kiln_store::hash::{ContentId, Digest};

use super::keyring::{BadKeyring, Keyring};
use super::packages::{Index, Package, PackagesError};
use super::release::{IndexFile, Release, Stale};
use super::sources::{self, SourceFile};
use crate::archive::Compression;
use crate::fetch::{
    Cancel, Candidate, FetchError, FetchProgress, FetchRequest, Fetched, Fetcher, Timestamp,
};

/// Which part of an archive is wanted.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Suites, such as `bookworm` and `bookworm-updates`. Of several versions
    /// of a package in them, the latest counts.
    pub suites: Vec<String>,
    /// Components, usually `main` alone.
    pub components: Vec<String>,
    /// The time that releases are judged by.
    pub now: Timestamp,
    /// What to do with a release whose time has passed.
    pub stale: Stale,
}

/// Why the archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveIndexError {
    /// Something could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The pinned keys are broken.
    #[error(transparent)]
    Keyring(#[from] BadKeyring),
    /// A list is broken, although its hash is right.
    #[error("{name}: {source}")]
    Packages {
        /// The list.
        name: String,
        /// What is wrong.
        source: PackagesError,
    },
    /// A release does not have a list.
    #[error("the suite `{suite}` has no `{wanted}`; it has {present}")]
    NoList {
        /// The suite.
        suite: String,
        /// The list.
        wanted: String,
        /// Those of the same kind that it has.
        present: String,
    },
    /// A source archive that is in none of the suites.
    #[error("`{path}` is in none of the suites{}", instead(.present))]
    NoSource {
        /// Its path.
        path: String,
        /// What is in the same directory.
        present: Vec<String>,
    },
}

fn instead(present: &[String]) -> String {
    match present {
        [] => String::new(),
        present => format!("; there are {}", present.join(", ")),
    }
}

/// An archive, read through a fetcher.
pub struct Archive<'a> {
    /// What fetches.
    pub fetcher: &'a Fetcher,
    /// Who is trusted.
    pub keyring: &'a Keyring,
    /// What hears about it.
    pub progress: &'a dyn FetchProgress,
    /// What stops it.
    pub cancel: &'a Cancel,
}

impl Archive<'_> {
    /// Fetches and checks the release of a suite: signed by a trusted key, of
    /// the right name, of its time. An archive whose release fails is passed
    /// over like one that does not answer.
    pub fn release(&self, suite: &str, scope: &Scope) -> Result<Release, ArchiveIndexError> {
        let path = format!("dists/{suite}/InRelease");
        let candidates = [Candidate::Debian { path: path.clone() }];
        let read = |file: &Path| -> Result<Release, String> {
            let signed = fs::read(file).map_err(|error| error.to_string())?;
            let signed = self.keyring.verify(&signed).map_err(|e| e.to_string())?;
            let release = Release::parse(&signed.text).map_err(|e| e.to_string())?;
            let checked = release.check(suite, scope.now, scope.stale);
            checked.map(|()| release).map_err(|e| e.to_string())
        };
        let accept = |file: &Path| read(file).map(drop);
        let fetched =
            self.fetcher
                .fetch_new(&path, &candidates, &accept, self.progress, self.cancel)?;
        let release = read(&fetched.path).map_err(|reason| FetchError::Exhausted {
            name: format!("{path}: {reason}"),
            attempts: Vec::new(),
        });
        // It is another one tomorrow.
        let _ = fs::remove_file(&fetched.path);
        Ok(release?)
    }

    /// The packages of one architecture.
    pub fn packages(&self, scope: &Scope, architecture: &str) -> Result<Index, ArchiveIndexError> {
        let mut index = Index::default();
        self.each_list(scope, &format!("binary-{architecture}/Packages"), |list| {
            index.add(list)
        })?;
        Ok(index)
    }

    /// What the archive vouches for of a source archive, such as
    /// `pool/main/m/musl/musl_1.2.5.orig.tar.gz`.
    pub fn source(&self, scope: &Scope, path: &str) -> Result<SourceFile, ArchiveIndexError> {
        let mut found = Vec::new();
        self.each_list(scope, "source/Sources", |list| {
            found.extend(sources::beside(list, path)?);
            Ok(())
        })?;
        let at = found.iter().position(|file| file.path == path);
        at.map(|at| found[at].clone())
            .ok_or_else(|| ArchiveIndexError::NoSource {
                path: path.to_owned(),
                present: found.into_iter().map(|file| file.path).collect(),
            })
    }

    fn each_list(
        &self,
        scope: &Scope,
        list: &str,
        mut read: impl FnMut(BufReader<Box<dyn std::io::Read>>) -> Result<(), PackagesError>,
    ) -> Result<(), ArchiveIndexError> {
        for suite in &scope.suites {
            let release = self.release(suite, scope)?;
            for component in &scope.components {
                let name = format!("{component}/{list}");
                let fetched = self.list(suite, &release, &name)?;
                let bad = |source| ArchiveIndexError::Packages {
                    name: format!("dists/{suite}/{name}"),
                    source,
                };
                let file = File::open(&fetched.path).map_err(|e| bad(e.into()))?;
                let (_, plain) = Compression::open(file).map_err(|e| bad(e.into()))?;
                read(BufReader::with_capacity(256 << 10, plain)).map_err(bad)?;
            }
        }
        Ok(())
    }

    /// Fetches a list by the hash that the release has of it. It stays in the
    /// cache directory: until the suite changes, it is not fetched again.
    fn list(
        &self,
        suite: &str,
        release: &Release,
        name: &str,
    ) -> Result<Fetched, ArchiveIndexError> {
        let compressed = [".xz", ".gz", ""].map(|suffix| format!("{name}{suffix}"));
        let known = compressed
            .iter()
            .find_map(|path| Some((path, release.files.get(path)?)));
        let Some((path, IndexFile { sha256, size })) = known else {
            return Err(no_list(suite, release, name));
        };
        let at = |path: &str| Candidate::Debian {
            path: format!("dists/{suite}/{path}"),
        };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let by_hash = at(&format!("{directory}/by-hash/SHA256/{sha256}"));
        // By hash first: a mirror in the middle of an update still has it.
        let by_hash = release.by_hash.then_some(by_hash);
        let request = FetchRequest {
            name: format!("{suite} {path}"),
            candidates: by_hash.into_iter().chain([at(path)]).collect(),
            sha256: *sha256,
            blake3: None,
            size: Some(*size),
            first_seen: Some(release.date),
        };
        Ok(self.fetcher.fetch(&request, self.progress, self.cancel)?)
    }
}

fn no_list(suite: &str, release: &Release, name: &str) -> ArchiveIndexError {
    let last = name.rsplit('/').next().unwrap_or(name);
    let present = release.files.keys().filter_map(|path| {
        let stem = path.split('.').next()?;
        (stem.rsplit('/').next() == Some(last)).then_some(stem)
    });
    let present: std::collections::BTreeSet<&str> = present.collect();
    let present: Vec<&str> = present.into_iter().collect();
    ArchiveIndexError::NoList {
        suite: suite.to_owned(),
        wanted: name.to_owned(),
        present: present.join(", "),
    }
}

/// Everything that a lock pins of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// BLAKE3 of its bytes.
    pub blake3: ContentId,
    /// Its length in bytes.
    pub size: u64,
}

impl Package {
    /// The request for this package.
    pub fn request(&self, first_seen: Option<Timestamp>) -> FetchRequest {
        FetchRequest {
            name: format!("{} {}", self.name, self.version),
            candidates: vec![Candidate::Debian {
                path: self.path.clone(),
            }],
            sha256: self.sha256,
            blake3: None,
            size: Some(self.size),
            first_seen,
        }
    }
}

/// Fetches each package once, for the hash that the archive does not have. The
/// files stay in the cache directory, where building will look for them.
pub fn pin(
    archive: &Archive<'_>,
    packages: &[Package],
    parallel: usize,
) -> Vec<Result<Pin, FetchError>> {
    let requests: Vec<FetchRequest> = packages.iter().map(|one| one.request(None)).collect();
    let outcomes = archive
        .fetcher
        .fetch_all(&requests, parallel, archive.progress, archive.cancel);
    let pinned = outcomes.into_iter().map(|outcome| {
        outcome.map(|fetched| Pin {
            sha256: fetched.sha256,
            blake3: fetched.blake3,
            size: fetched.size,
        })
    });
    pinned.collect()
}
