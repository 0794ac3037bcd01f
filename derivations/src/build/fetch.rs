//! Pinned files and archives: fetched, verified, decoded into nodes.

use std::fs::File;
use std::io::{BufReader, Read};

use kiln_store::hash::TreeId;
use kiln_store::objects::Objects;
use kiln_store::realisation::OutputMap;
use kiln_store::tree::Name;

use super::error::{BuildError, FailureClass};
use super::{Built, Job, object_error};
use crate::archive::source::Selection;
use crate::archive::{self, ArchiveError, deb, source};
use crate::derivation::{Fetch, OUT, Unpack};
use crate::event::Event;
use crate::fetch::git::Repository;
use crate::fetch::{
    Attempt, Cancel, Candidate, FetchError, FetchProgress, FetchRequest, Fetched, Fetcher, Problem,
};
use crate::image::packaged::{self, META, PackagedError};

/// How often progress is told, in bytes.
const STEP_BYTES: u64 = 1 << 20;

/// Fetches what a derivation pins and unpacks it.
pub(crate) fn build(
    objects: &dyn Objects,
    fetcher: &Fetcher,
    job: &Job<'_>,
    spec: &Fetch,
) -> Result<Built, BuildError> {
    if spec.unpack == Unpack::Git {
        let tree = git(objects, fetcher, spec)?;
        return Ok(built(only(tree), 0));
    }
    let progress = Progress { job, spec };
    let cancel = Cancel::from_flag(job.cancel.flag());
    let fetched = fetcher.fetch(&request(job, spec)?, &progress, &cancel);
    let fetched = fetched.map_err(fetch_error)?;
    let outputs = unpack(objects, &fetched, spec)?;
    // They are in the store; the archive was only its wrapping.
    let _ = std::fs::remove_file(&fetched.path);
    let bytes = fetched.from.is_some().then_some(fetched.size);
    Ok(built(outputs, bytes.unwrap_or(0)))
}

fn built(outputs: OutputMap, fetched_bytes: u64) -> Built {
    Built {
        outputs,
        fetched_bytes,
        ..Built::default()
    }
}

fn only(tree: TreeId) -> OutputMap {
    vec![(OUT.to_owned(), tree)]
}

fn request(job: &Job<'_>, spec: &Fetch) -> Result<FetchRequest, BuildError> {
    let refuse = |text: String| BuildError::new(FailureClass::Unavailable, text);
    let candidates = spec.urls.iter().map(|url| {
        let candidate: Result<Candidate, _> = url.parse();
        candidate.map_err(|error| refuse(error.to_string()))
    });
    Ok(FetchRequest {
        name: job.subject.name.clone(),
        candidates: candidates.collect::<Result<_, _>>()?,
        sha256: spec
            .hash
            .parse()
            .map_err(|error| refuse(format!("{error}")))?,
        blake3: None,
        size: Some(spec.size_bytes),
        first_seen: spec.first_seen.parse().ok(),
    })
}

fn unpack(objects: &dyn Objects, fetched: &Fetched, spec: &Fetch) -> Result<OutputMap, BuildError> {
    let file = File::open(&fetched.path).map_err(|error| {
        let text = format!("{}: {error}", fetched.path.display());
        BuildError::new(FailureClass::Machine, text)
    })?;
    let limits = archive::Limits::default();
    let mut reader = BufReader::with_capacity(1 << 17, file);
    match &spec.unpack {
        Unpack::Raw { name } => raw(objects, &mut reader, name).map(only),
        Unpack::Tar { strip, keep } => {
            let selection = Selection::new(*strip as usize, keep).map_err(archive_error)?;
            let unpacked = source::unpack(reader, &selection, &limits, objects);
            unpacked.map(|it| only(it.tree)).map_err(archive_error)
        }
        Unpack::Deb => {
            let package = deb::unpack(reader, &limits, objects);
            let package = package.map_err(archive_error)?.data;
            let meta = packaged::output(objects, &package).map_err(packaged_error)?;
            Ok(vec![
                (META.to_owned(), meta),
                (OUT.to_owned(), package.tree),
            ])
        }
        Unpack::Git => unreachable!("git is not a file"),
    }
}

fn raw(objects: &dyn Objects, reader: &mut dyn Read, name: &str) -> Result<TreeId, BuildError> {
    let name = Name::new(name)
        .map_err(|error| BuildError::new(FailureClass::Archive, error.to_string()))?;
    source::raw(reader, name, false, objects).map_err(|error| object_error(&error))
}

fn git(objects: &dyn Objects, fetcher: &Fetcher, spec: &Fetch) -> Result<TreeId, BuildError> {
    let mut last = None;
    for url in &spec.urls {
        let tree = Repository::open(url, &fetcher.config().cache_dir)
            .and_then(|repository| repository.tree(&spec.hash, objects));
        match tree {
            Ok(tree) => return Ok(tree),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(
        || BuildError::new(FailureClass::Unavailable, "no URL is given"),
        fetch_error,
    ))
}

fn fetch_error(error: FetchError) -> BuildError {
    let class = match &error {
        FetchError::Cancelled { .. } => FailureClass::Cancelled,
        FetchError::Disk { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            FailureClass::DiskFull
        }
        FetchError::Disk { .. } => FailureClass::Machine,
        FetchError::Exhausted { attempts, .. } if attempts.iter().any(lied) => {
            FailureClass::HashMismatch
        }
        FetchError::Objects(error) => return object_error(error),
        _ => FailureClass::Unavailable,
    };
    BuildError::new(class, error.to_string())
}

fn lied(attempt: &Attempt) -> bool {
    matches!(
        attempt.problem,
        Problem::WrongHash { .. } | Problem::WrongSize { .. }
    )
}

fn archive_error(error: ArchiveError) -> BuildError {
    match error {
        ArchiveError::Objects(error) => object_error(&error),
        other => BuildError::new(FailureClass::Archive, other.to_string()),
    }
}

fn packaged_error(error: PackagedError) -> BuildError {
    match error {
        PackagedError::Object(error) => object_error(&error),
        other => BuildError::new(FailureClass::Archive, other.to_string()),
    }
}

/// Turns the fetcher's calls into events.
struct Progress<'a> {
    job: &'a Job<'a>,
    spec: &'a Fetch,
}

impl FetchProgress for Progress<'_> {
    fn advanced(&self, _name: &str, bytes: u64) {
        if bytes % STEP_BYTES < (1 << 16) {
            self.job.listener.event(&Event::Downloaded {
                derivation: self.job.subject.clone(),
                bytes,
                total_bytes: self.spec.size_bytes,
            });
        }
    }

    fn failed(&self, _name: &str, attempt: &Attempt) {
        self.job.listener.event(&Event::CandidateFailed {
            derivation: self.job.subject.clone(),
            url: attempt.from.clone(),
            why: attempt.problem.to_string(),
        });
    }
}
