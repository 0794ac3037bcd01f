//! `flake-like.lock`: what is pinned.
//!
//! Pure data. Resolving and downloading are others' work; they fill in a
//! [`Lock`], and this module reads, writes and compares it.
//!
//! ```toml
//! version = 1
//!
//! [[source]]
//! name = "musl"
//! urls = ["debian:pool/main/m/musl/musl_1.2.5.orig.tar.gz"]
//! size = 1080786
//! sha256 = "a9a1…"
//! blake3 = "…"
//! first-seen = "20261121T101500Z"
//!
//! [[seed]]
//! name = "base"
//! debian = "bookworm"
//! request = "…"                # digest of what the manifest asks for
//! first-seen = "20261121T101500Z"
//! x86_64 = [
//!   { name = "bash", version = "5.2.15-2+b13", path = "pool/…", size = 1490652, sha256 = "…", blake3 = "…", installed-kib = 7164 },
//! ]
//! aarch64 = [ … ]
//! ```
//!
//! Entries are sorted and each package is one line, so that two branches that
//! pin different things merge. The same content gives the same bytes.

mod check;
mod write;

use std::collections::BTreeMap;

use kiln_store::hash::Digest;
use serde::Deserialize;

use super::problem::{ManifestError, Problem, SourceFile, nearest};
use super::schema::Seed;
use super::span::{FileId, Span};
use crate::derivation::Target;
use crate::derivation::encode::{HashSink, Sink};
pub use check::{LockOutOfDate, PinConflict, Stale};

/// The version of the format that this kiln writes.
pub const VERSION: u32 = 1;
/// The `derive_key` context of what a manifest asks of a seed.
const REQUEST_CONTEXT: &str = "kiln 2026-11 seed request v1";
/// The `derive_key` context of what a seed is pinned to.
const SEED_CONTEXT: &str = "kiln 2026-11 seed v1";

/// Everything that is pinned, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lock {
    /// Sources.
    pub sources: BTreeMap<String, PinnedSource>,
    /// Seeds.
    pub seeds: BTreeMap<String, PinnedSeed>,
}

/// A pinned source.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PinnedSource {
    /// Its name in the manifest.
    pub name: String,
    /// Its URLs, as in the manifest.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Other places that had the same bytes, tried after them.
    #[serde(default)]
    pub candidates: Vec<String>,
    /// Size in bytes; 0 for git.
    #[serde(default)]
    pub size: u64,
    /// SHA-256 of the file; empty for git.
    #[serde(default)]
    pub sha256: String,
    /// BLAKE3 of the file; empty for git.
    #[serde(default)]
    pub blake3: String,
    /// For git, the commit.
    #[serde(default)]
    pub rev: String,
    /// When it was pinned, as `YYYYMMDDTHHMMSSZ`.
    pub first_seen: String,
}

/// A pinned seed.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PinnedSeed {
    /// Its name in the manifest.
    pub name: String,
    /// The Debian suite.
    pub debian: String,
    /// Digest of what the manifest asked for: see [`request`].
    pub request: Digest,
    /// When it was pinned, as `YYYYMMDDTHHMMSSZ`.
    pub first_seen: String,
    /// Its packages for x86_64.
    #[serde(default, rename = "x86_64")]
    pub x86_64: Vec<PinnedPackage>,
    /// Its packages for aarch64.
    #[serde(default)]
    pub aarch64: Vec<PinnedPackage>,
}

/// A pinned Debian package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PinnedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its path in the archive.
    pub path: String,
    /// Size of the .deb in bytes.
    pub size: u64,
    /// SHA-256 of the .deb.
    pub sha256: String,
    /// BLAKE3 of the .deb; empty until it was downloaded once.
    #[serde(default)]
    pub blake3: String,
    /// Size when unpacked, in KiB.
    #[serde(default)]
    pub installed_kib: u64,
}

impl PinnedSeed {
    /// Its packages for one platform.
    pub fn packages(&self, platform: Target) -> &[PinnedPackage] {
        match platform {
            Target::X86_64 => &self.x86_64,
            Target::Aarch64 => &self.aarch64,
        }
    }

    /// The same, to be filled in.
    pub fn packages_mut(&mut self, platform: Target) -> &mut Vec<PinnedPackage> {
        match platform {
            Target::X86_64 => &mut self.x86_64,
            Target::Aarch64 => &mut self.aarch64,
        }
    }

    /// What the seed stands for in recipe keys: which bytes it is made of, on
    /// all platforms.
    pub fn digest(&self) -> Digest {
        let mut sink = HashSink::new(SEED_CONTEXT);
        for platform in Target::ALL {
            let packages = self.packages(platform);
            sink.text("platform", platform.name());
            sink.number("packages", packages.len() as u64);
            for package in packages {
                sink.text("name", &package.name);
                sink.text("sha256", &package.sha256);
            }
        }
        sink.finish()
    }
}

/// The digest of what a manifest asks of a seed: suite, packages and excludes.
/// Their order does not matter.
pub fn request(seed: &Seed) -> Digest {
    let mut sink = HashSink::new(REQUEST_CONTEXT);
    sink.text("debian", &seed.debian);
    for (name, list) in [("packages", &seed.packages), ("exclude", &seed.exclude)] {
        let mut sorted: Vec<String> = list.iter().map(|text| text.value.clone()).collect();
        sorted.sort();
        sorted.dedup();
        sink.list(name, &sorted);
    }
    sink.finish()
}

/// The file as TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    source: Vec<PinnedSource>,
    #[serde(default)]
    seed: Vec<PinnedSeed>,
}

impl Lock {
    /// Reads a lock. `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ManifestError> {
        let refuse = |problem: Problem| {
            let file = SourceFile {
                name: name.to_owned(),
                text: text.into(),
            };
            ManifestError::one(problem, &[file])
        };
        // A newer format need not parse as this one: its version is looked at
        // first.
        if let Some(version) = version(text).filter(|version| *version > VERSION) {
            let message = format!("the lock has format {version}; this kiln reads up to {VERSION}");
            let span = span_of(text, "version");
            return Err(refuse(
                Problem::at(span, message, "written by a newer kiln")
                    .help("use that kiln, or a newer one"),
            ));
        }
        let file: File = toml::from_str(text).map_err(|error| refuse(malformed(&error)))?;
        if file.version != VERSION {
            let message = format!("there is no lock format {}", file.version);
            return Err(refuse(Problem::at(
                span_of(text, "version"),
                message,
                "expected 1",
            )));
        }
        let mut lock = Self::default();
        for source in file.source {
            if let Some(twice) = lock.sources.insert(source.name.clone(), source) {
                return Err(refuse(pinned_twice(text, "source", &twice.name)));
            }
        }
        for mut seed in file.seed {
            Target::ALL
                .into_iter()
                .for_each(|platform| seed.packages_mut(platform).sort());
            if let Some(twice) = lock.seeds.insert(seed.name.clone(), seed) {
                return Err(refuse(pinned_twice(text, "seed", &twice.name)));
            }
        }
        lock.check_hashes(text).map_err(refuse)?;
        Ok(lock)
    }

    /// Hashes go into keys and file names, so nothing but digits may pass.
    fn check_hashes(&self, text: &str) -> Result<(), Problem> {
        let sources = self
            .sources
            .values()
            .flat_map(|s| [(&s.sha256, &s.name), (&s.rev, &s.name)]);
        let packages = self.seeds.values().flat_map(|seed| {
            Target::ALL
                .into_iter()
                .flat_map(|platform| seed.packages(platform))
        });
        for (hash, name) in sources.chain(packages.map(|p| (&p.sha256, &p.name))) {
            let hex = hash
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if !hex || ![0, 40, 64].contains(&hash.len()) {
                let message = format!("the hash of `{name}` is malformed");
                return Err(Problem::at(
                    span_of(text, hash),
                    message,
                    "expected hexadecimal digits",
                )
                .help("restore the file, or write it again with `kiln lock`"));
            }
        }
        Ok(())
    }
}

/// The version of a lock whose other lines may be anything.
fn version(text: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.starts_with("version"))?;
    line.split_once('=')?.1.trim().parse().ok()
}

/// Where `part` first stands in `text`.
fn span_of(text: &str, part: &str) -> Span {
    let start = text.find(part).unwrap_or(0);
    Span::new(FileId(0), start..start + part.len())
}

fn malformed(error: &toml::de::Error) -> Problem {
    let span = Span::new(FileId(0), error.span().unwrap_or(0..0));
    Problem::at(span, "the lock is malformed", error.message())
        .help("restore the file, or write it again with `kiln lock`")
}

fn pinned_twice(text: &str, kind: &str, name: &str) -> Problem {
    let line = format!("name = \"{name}\"");
    let first = text.find(&line).map_or(0, |at| at + line.len());
    let second = text[first..].find(&line).map_or(0, |at| at + first);
    let span = Span::new(FileId(0), second..second + line.len());
    Problem::at(
        span,
        format!("{kind} `{name}` is pinned twice"),
        "the second time",
    )
    .help("a merge may have kept both: write the lock again with `kiln lock`")
}

/// Names that are near to `name`, for the messages of [`check`].
fn near<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    nearest(name, &names.map(String::as_str).collect::<Vec<_>>())
}
