//! One try at one URL: appends to a part what it still lacks.
//!
//! A part is continued with `Range`. If this URL told a validator (ETag or
//! Last-Modified) in an earlier try, `If-Range` makes the server start over
//! when its file has changed meanwhile. A part from an earlier run or another
//! mirror has none; there only the hash of the whole file tells.

use std::time::{Duration, Instant};

use kiln_store::web::Agents;
use ureq::http::{Response, header};

use super::arrival::{Arrival, Arrivals, Question, Stopped};
use super::config::{Proxies, Timeouts};
use super::error::{FetchError, Problem, Stop};
use super::part::Part;
use super::progress::{Cancel, FetchProgress};

/// What a try needs to know.
pub(super) struct Try<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) proxies: &'a Proxies,
    /// Whether apt's proxies hold.
    pub(super) debian: bool,
    /// The pinned size.
    pub(super) size: Option<u64>,
    /// Where a body ends at the latest.
    pub(super) limit_bytes: u64,
    pub(super) timeouts: &'a Timeouts,
    pub(super) progress: &'a dyn FetchProgress,
    pub(super) cancel: &'a Cancel,
}

impl Try<'_> {
    /// Fetches what `part` lacks. `validator` is this URL's, from the try
    /// before and for the next one. `Ok` means that the body ended where it
    /// should, not that its bytes are the right ones.
    pub(super) fn run(
        &self,
        agents: &Agents,
        part: &mut Part,
        validator: &mut Option<String>,
    ) -> Result<(), Stop> {
        let arrivals = self.ask(agents, part.length(), validator.clone())?;
        let response = self.head(&arrivals)?;
        match response.status().as_u16() {
            200 => part.clear()?,
            206 => self.check_range(&response, part)?,
            416 => {
                part.clear()?;
                return Err(self
                    .truncated(0, Some("the server cannot continue it"))
                    .into());
            }
            404 | 410 => return Err(Problem::NotFound.into()),
            code => {
                let retry_after = text(&response, header::RETRY_AFTER);
                let retry_after_s = retry_after.and_then(|seconds| seconds.parse().ok());
                return Err(Problem::Status {
                    code,
                    retry_after_s,
                }
                .into());
            }
        }
        *validator = strong_validator(&response);
        self.check_length(&response, part.length())?;
        self.copy(&arrivals, part)
    }

    fn ask(
        &self,
        agents: &Agents,
        offset: u64,
        validator: Option<String>,
    ) -> Result<Arrivals, Problem> {
        let question = Question {
            agents: agents.clone(),
            proxies: self.proxies.clone(),
            debian: self.debian,
            url: self.url.to_owned(),
            offset,
            validator,
        };
        Arrivals::of(question).map_err(|source| Problem::Local { source })
    }

    fn head(&self, arrivals: &Arrivals) -> Result<Response<()>, Stop> {
        match arrivals.next(self.cancel) {
            Ok(Arrival::Head(head)) => Ok(head?),
            // Its thread ended without a word.
            Ok(Arrival::Body(_)) => Err(self.truncated(0, None).into()),
            Err(Stopped) => Err(self.cancelled()),
        }
    }

    fn cancelled(&self) -> Stop {
        let name = self.name.to_owned();
        FetchError::Cancelled { name }.into()
    }

    /// A partial answer has to begin where the part ends, and to belong to a
    /// file of the right size.
    fn check_range(&self, response: &Response<()>, part: &mut Part) -> Result<(), Stop> {
        let range = text(response, header::CONTENT_RANGE).unwrap_or_default();
        let parsed = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split_once('-'))
            .and_then(|(start, rest)| Some((start.parse::<u64>().ok()?, rest.split_once('/')?.1)));
        let Some((start, total)) = parsed else {
            return Err(Problem::Protocol {
                reason: format!("the server sends a part, but of what: `{range}`"),
            }
            .into());
        };
        if start != part.length() {
            part.clear()?;
            return Err(self
                .truncated(0, Some("the server sends another part"))
                .into());
        }
        match (self.size, total.parse::<u64>()) {
            (Some(expected_bytes), Ok(got_bytes)) if expected_bytes != got_bytes => {
                Err(Problem::WrongSize {
                    expected_bytes,
                    got_bytes,
                }
                .into())
            }
            _ => Ok(()),
        }
    }

    /// What is announced to have the wrong size is not worth the transfer.
    fn check_length(&self, response: &Response<()>, offset: u64) -> Result<(), Problem> {
        let length = text(response, header::CONTENT_LENGTH);
        let Some(length) = length.and_then(|length| length.parse::<u64>().ok()) else {
            return Ok(());
        };
        let got_bytes = offset.saturating_add(length);
        match self.size {
            Some(expected_bytes) if expected_bytes != got_bytes => Err(Problem::WrongSize {
                expected_bytes,
                got_bytes,
            }),
            None if got_bytes > self.limit_bytes => Err(self.endless()),
            _ => Ok(()),
        }
    }

    fn copy(&self, arrivals: &Arrivals, part: &mut Part) -> Result<(), Stop> {
        let mut speed = Speed::new(self.timeouts);
        loop {
            let bytes = match arrivals.next(self.cancel) {
                Ok(Arrival::Body(Ok(bytes))) if bytes.is_empty() => break,
                Ok(Arrival::Body(Ok(bytes))) => bytes,
                Ok(Arrival::Body(Err(error))) => {
                    let reason = error.to_string();
                    return Err(self.truncated(part.length(), Some(&reason)).into());
                }
                Ok(Arrival::Head(_)) => unreachable!("an answer has one head"),
                Err(Stopped) => return Err(self.cancelled()),
            };
            let length = bytes.len() as u64;
            if part.length() + length > self.limit_bytes {
                part.clear()?;
                return Err(self.endless().into());
            }
            part.append(&bytes)?;
            self.progress.advanced(self.name, part.length());
            speed.count(length)?;
        }
        match self.size {
            Some(size) if part.length() < size => Err(self.truncated(part.length(), None).into()),
            _ => Ok(()),
        }
    }

    fn truncated(&self, got_bytes: u64, reason: Option<&str>) -> Problem {
        Problem::Truncated {
            got_bytes,
            expected_bytes: self.size,
            reason: reason.map(str::to_owned),
        }
    }

    fn endless(&self) -> Problem {
        Problem::Endless {
            limit_bytes: self.limit_bytes,
        }
    }
}

/// Only a strong ETag may be used to continue a file (RFC 9110, 13.1.5).
fn strong_validator(response: &Response<()>) -> Option<String> {
    text(response, header::ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(response, header::LAST_MODIFIED))
        .map(str::to_owned)
}

fn text(response: &Response<()>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// Watches that a body gets on.
struct Speed<'a> {
    timeouts: &'a Timeouts,
    since: Instant,
    bytes: u64,
}

impl<'a> Speed<'a> {
    fn new(timeouts: &'a Timeouts) -> Self {
        Self {
            timeouts,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), Problem> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.timeouts.speed_window {
            return Ok(());
        }
        if self.bytes < least(self.timeouts.min_bytes_per_s, elapsed) {
            return Err(Problem::TooSlow {
                limit: self.timeouts.min_bytes_per_s,
            });
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

fn least(bytes_per_s: u64, elapsed: Duration) -> u64 {
    (bytes_per_s as f64 * elapsed.as_secs_f64()) as u64
}
