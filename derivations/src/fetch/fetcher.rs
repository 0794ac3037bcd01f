//! From a request to a verified file: places, tries, verification.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_store::hash::Digest;
use kiln_store::web::Agents;

use super::candidate::Candidate;
use super::config::FetchConfig;
use super::error::{Attempt, FetchError, Problem, Stop};
use super::exchange::agents;
use super::part::{Part, disk};
use super::place::{Kind, Place, places};
use super::progress::{Cancel, FetchProgress};
use super::retry::{self, Tries};
use super::verify::{self, Found};
use super::{FetchRequest, Fetched, http};

const NEW_CONTEXT: &str = "kiln 2026-11 fetch without a hash v1";

/// Fetches files. Shared by all threads that do.
pub struct Fetcher {
    config: FetchConfig,
    agents: Agents,
    /// The archive that served last.
    preferred: AtomicUsize,
    /// Held while the dated archive is asked.
    snapshot: Mutex<()>,
}

/// One file on its way.
struct Job<'a> {
    name: &'a str,
    size: Option<u64>,
    limit_bytes: u64,
    expected: Expected<'a>,
    progress: &'a dyn FetchProgress,
    cancel: &'a Cancel,
}

/// What must hold of the whole file.
enum Expected<'a> {
    Pinned(&'a FetchRequest),
    Accepted(&'a dyn Fn(&Path) -> Result<(), String>),
}

impl Fetcher {
    /// Makes the cache directory and an agent.
    pub fn new(config: FetchConfig) -> Result<Self, FetchError> {
        let made = fs::create_dir_all(&config.cache_dir);
        made.map_err(|e| disk("create", &config.cache_dir, e))?;
        Ok(Self {
            agents: agents(&config),
            config,
            preferred: AtomicUsize::new(0),
            snapshot: Mutex::new(()),
        })
    }

    /// What it was made with.
    pub fn config(&self) -> &FetchConfig {
        &self.config
    }

    /// Fetches one pinned file. What an earlier fetch left is used, after it
    /// was verified again.
    pub fn fetch(
        &self,
        request: &FetchRequest,
        progress: &dyn FetchProgress,
        cancel: &Cancel,
    ) -> Result<Fetched, FetchError> {
        let job = Job {
            name: &request.name,
            size: request.size,
            limit_bytes: request.size.unwrap_or(self.config.max_unpinned_bytes),
            expected: Expected::Pinned(request),
            progress,
            cancel,
        };
        let key = request.sha256.to_string();
        job.reported(|| {
            let part = self.lock(&key, &job)?;
            let path = self.config.cache_dir.join(&key);
            if let Some(fetched) = present(&path, request)? {
                part.remove();
                return Ok(fetched);
            }
            let places = self.places(&request.candidates, request.first_seen);
            self.try_all(&request.candidates, &places, part, &job)
        })
    }

    /// Fetches a file whose hash nobody knows yet, to pin it. `accept` looks at
    /// each that comes (its signature, say) and may refuse it with a reason:
    /// then the next place is tried. Nothing that an earlier run left is used.
    pub fn fetch_new(
        &self,
        name: &str,
        candidates: &[Candidate],
        accept: &dyn Fn(&Path) -> Result<(), String>,
        progress: &dyn FetchProgress,
        cancel: &Cancel,
    ) -> Result<Fetched, FetchError> {
        let job = Job {
            name,
            size: None,
            limit_bytes: self.config.max_unpinned_bytes,
            expected: Expected::Accepted(accept),
            progress,
            cancel,
        };
        let id = Digest::derive(NEW_CONTEXT, describe(candidates).as_bytes());
        job.reported(|| {
            let mut part = self.lock(&format!("new-{}", id.short()), &job)?;
            part.clear()?;
            let places = self.places(candidates, None);
            self.try_all(candidates, &places, part, &job)
        })
    }

    fn lock(&self, key: &str, job: &Job<'_>) -> Result<Part, FetchError> {
        let path = self.config.cache_dir.join(format!("{key}.part"));
        Part::lock(&path, job.name, job.cancel)
    }

    fn places(&self, candidates: &[Candidate], first_seen: Option<super::Timestamp>) -> Vec<Place> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        places(candidates, first_seen, &self.config, preferred)
    }

    fn try_all(
        &self,
        candidates: &[Candidate],
        places: &[Place],
        mut part: Part,
        job: &Job<'_>,
    ) -> Result<Fetched, FetchError> {
        if places.is_empty() {
            part.remove();
            return Err(FetchError::Nowhere {
                name: job.name.to_owned(),
                candidates: describe(candidates),
            });
        }
        let mut attempts = Vec::new();
        for place in places {
            match self.try_place(place, &mut part, job) {
                Ok(found) => return self.keep(part, found, place),
                Err(Stop::Whole(error)) => return Err(error),
                Err(Stop::Place(problem)) => attempts.push(job.failed(place, problem)),
            }
        }
        if part.length() == 0 {
            part.remove();
        }
        Err(FetchError::Exhausted {
            name: job.name.to_owned(),
            attempts,
        })
    }

    /// One place until it has delivered, or is given up.
    fn try_place(&self, place: &Place, part: &mut Part, job: &Job<'_>) -> Result<Found, Stop> {
        let mut tries = Tries::new();
        let mut validator = None;
        loop {
            let before = part.length();
            // A part of unknown origin may only be continued if the server
            // vouches that it is the same file, or if a hash will tell.
            if matches!(job.expected, Expected::Accepted(_)) && validator.is_none() {
                part.clear()?;
            }
            let outcome = self
                .transfer(place, part, &mut validator, job)
                .and_then(|()| job.verify(part));
            let problem = match outcome {
                Ok(found) => return Ok(found),
                Err(Stop::Place(problem)) => problem,
                whole => return whole,
            };
            let wrong = matches!(
                problem,
                Problem::WrongHash { .. } | Problem::WrongSize { .. } | Problem::Refused { .. }
            );
            if wrong && part.length() > 0 {
                part.clear()?;
                // The fault may be in what was there before: once more, whole.
                if before > 0 {
                    continue;
                }
            }
            let gained = part.length().saturating_sub(before);
            match tries.pause(&self.config.retry, &problem, gained) {
                None => return Err(problem.into()),
                Some(pause) => {
                    job.failed(place, problem);
                    retry::sleep(pause, job.cancel);
                }
            }
            job.check_cancelled()?;
        }
    }

    fn transfer(
        &self,
        place: &Place,
        part: &mut Part,
        validator: &mut Option<String>,
        job: &Job<'_>,
    ) -> Result<(), Stop> {
        // An earlier run may have got everything, but for the renaming.
        if job
            .size
            .is_some_and(|size| part.length() == size && size > 0)
        {
            return Ok(());
        }
        if job.size.is_some_and(|size| part.length() > size) {
            part.clear()?;
        }
        if let Some(path) = place.url.strip_prefix("file:") {
            return job.copy_local(Path::new(path), part);
        }
        let _one_connection = (place.kind == Kind::Snapshot)
            .then(|| self.snapshot.lock().unwrap_or_else(PoisonError::into_inner));
        let one = http::Try {
            name: job.name,
            url: &place.url,
            proxies: &self.config.proxies,
            debian: matches!(place.kind, Kind::Archive(_)),
            size: job.size,
            limit_bytes: job.limit_bytes,
            timeouts: &self.config.timeouts,
            progress: job.progress,
            cancel: job.cancel,
        };
        one.run(&self.agents, part, validator)
    }

    /// Gives a verified part its final name.
    fn keep(&self, part: Part, found: Found, place: &Place) -> Result<Fetched, FetchError> {
        if let Kind::Archive(number) = place.kind {
            self.preferred.store(number, Ordering::Relaxed);
        }
        let path = self.config.cache_dir.join(found.sha256.to_string());
        part.finish(&path)?;
        Ok(fetched(path, found, Some(place.url.clone())))
    }
}

impl Job<'_> {
    fn reported(
        &self,
        run: impl FnOnce() -> Result<Fetched, FetchError>,
    ) -> Result<Fetched, FetchError> {
        self.progress.begun(self.name, self.size);
        let outcome = run();
        self.progress.ended(self.name, outcome.is_ok());
        outcome
    }

    fn failed(&self, place: &Place, problem: Problem) -> Attempt {
        let attempt = Attempt {
            from: place.url.clone(),
            problem,
        };
        self.progress.failed(self.name, &attempt);
        attempt
    }

    fn verify(&self, part: &Part) -> Result<Found, Stop> {
        let found = verify::read(part.path())?;
        match self.expected {
            Expected::Pinned(request) => verify::check(&found, request)?,
            Expected::Accepted(accept) => {
                accept(part.path()).map_err(|reason| Problem::Refused { reason })?;
            }
        }
        Ok(found)
    }

    fn check_cancelled(&self) -> Result<(), FetchError> {
        if self.cancel.is_cancelled() {
            return Err(FetchError::Cancelled {
                name: self.name.to_owned(),
            });
        }
        Ok(())
    }

    fn copy_local(&self, path: &Path, part: &mut Part) -> Result<(), Stop> {
        part.clear()?;
        let local = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Problem::NotFound,
            _ => Problem::Local { source },
        };
        let mut file = File::open(path).map_err(local)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.check_cancelled()?;
            let length = file.read(&mut buffer).map_err(local)?;
            if length == 0 {
                return Ok(());
            }
            if part.length() + length as u64 > self.limit_bytes {
                part.clear()?;
                let limit_bytes = self.limit_bytes;
                return Err(Problem::Endless { limit_bytes }.into());
            }
            part.append(&buffer[..length])?;
            self.progress.advanced(self.name, part.length());
        }
    }
}

/// A file that is there already. One that is damaged is removed.
fn present(path: &Path, request: &FetchRequest) -> Result<Option<Fetched>, FetchError> {
    if !path.exists() {
        return Ok(None);
    }
    let found = verify::read(path)?;
    if verify::check(&found, request).is_ok() {
        return Ok(Some(fetched(path.to_owned(), found, None)));
    }
    fs::remove_file(path).map_err(|e| disk("remove", path, e))?;
    Ok(None)
}

fn fetched(path: PathBuf, found: Found, from: Option<String>) -> Fetched {
    Fetched {
        path,
        sha256: found.sha256,
        blake3: found.blake3,
        size: found.size,
        from,
    }
}

fn describe(candidates: &[Candidate]) -> String {
    let texts: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
