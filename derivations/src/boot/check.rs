//! Boot checks: without a user, with a time limit and a kept transcript.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Cancel;
use super::error::BootError;
use super::feed::Feeder;
use super::guest::Guest;
use super::session::{self, Driver, End, Turn};
use super::watch::Markers;

/// What a guest must show.
#[derive(Debug, Clone)]
pub struct Check {
    /// Texts the console must show, each behind the one before. The check has
    /// passed, and the guest is ended, when the last was seen.
    pub expect: Vec<String>,
    /// Texts the console must not show until then.
    pub refuse: Vec<String>,
    /// What is typed once the guest is up, and Ctrl-D after it. A guest echoes
    /// it: an expected text SHOULD NOT stand in it.
    pub input: Option<Vec<u8>>,
    /// What shows that the guest takes input.
    pub up: String,
    /// The longest it may take in all.
    pub limit: Duration,
    /// Where all that the console shows is written; replaced if it is there.
    pub transcript: PathBuf,
}

/// How a check went.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// Whether the guest showed what it must and nothing that it must not.
    pub passed: bool,
    /// The expected texts it showed.
    pub seen: Vec<Seen>,
    /// From the emulator's start until all of it was gone.
    pub elapsed: Duration,
    /// The file with what the console showed.
    pub transcript: PathBuf,
    /// How the guest ended; [`End::Left`] if the check was decided before.
    pub end: End,
    /// In a line, why it passed or failed.
    pub why: String,
}

/// An expected text that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The text.
    pub marker: String,
    /// When, from the emulator's start.
    pub after: Duration,
}

/// Runs a check; see [`super::check`].
pub(super) fn check(
    guest: Guest,
    check: &Check,
    started: Instant,
    cancel: Cancel<'_>,
) -> Result<CheckReport, BootError> {
    let mut judge = Judge::new(check, started)?;
    let end = session::run(guest, &mut judge, cancel)?;
    let (passed, why) = judge.verdict(&end);
    Ok(CheckReport {
        passed,
        seen: judge.seen,
        elapsed: started.elapsed(),
        transcript: check.transcript.clone(),
        end,
        why,
    })
}

struct Judge<'a> {
    check: &'a Check,
    started: Instant,
    transcript: File,
    expected: Markers,
    seen: Vec<Seen>,
    refused: Vec<Markers>,
    shown_refused: Option<String>,
    up: Markers,
    /// Once the guest is up.
    feeder: Option<Feeder>,
}

impl<'a> Judge<'a> {
    fn new(check: &'a Check, started: Instant) -> Result<Self, BootError> {
        let transcript =
            File::create(&check.transcript).map_err(|source| BootError::Transcript {
                path: check.transcript.clone(),
                source,
            })?;
        Ok(Judge {
            check,
            started,
            transcript,
            expected: Markers::new(check.expect.clone()),
            seen: Vec::new(),
            refused: check
                .refuse
                .iter()
                .map(|text| Markers::new(vec![text.clone()]))
                .collect(),
            shown_refused: None,
            up: Markers::new(vec![check.up.clone()]),
            feeder: None,
        })
    }

    fn verdict(&self, end: &End) -> (bool, String) {
        match (&self.shown_refused, self.expected.missing()) {
            (Some(text), _) => (false, format!("the console showed `{text}`")),
            (None, None) => (true, "the console showed all that was expected".into()),
            (None, Some(marker)) => (false, format!("{end}; the console did not show `{marker}`")),
        }
    }
}

impl Driver for Judge<'_> {
    fn shown(&mut self, bytes: &[u8], now: Instant) -> Result<(), BootError> {
        self.transcript
            .write_all(bytes)
            .map_err(|source| BootError::Transcript {
                path: self.check.transcript.clone(),
                source,
            })?;
        let after = now.duration_since(self.started);
        let found = self.expected.take(bytes).iter();
        self.seen.extend(found.map(|marker| Seen {
            marker: marker.clone(),
            after,
        }));
        for refused in &mut self.refused {
            if let [text] = refused.take(bytes) {
                self.shown_refused.get_or_insert_with(|| text.clone());
            }
        }
        self.up.take(bytes);
        if let (Some(input), None) = (&self.check.input, self.up.missing()) {
            let feeder = self.feeder.get_or_insert_with(|| prepared(input, now));
            feeder.shown(bytes, now);
        }
        Ok(())
    }

    fn pause(&self) -> Duration {
        self.feeder
            .as_ref()
            .map_or(NOTHING_TYPED_PAUSE, Feeder::pause)
    }

    fn turn(&mut self, now: Instant) -> Turn {
        if self.shown_refused.is_some() || self.expected.missing().is_none() {
            return Turn::Stop(End::Left);
        }
        if now.duration_since(self.started) >= self.check.limit {
            return Turn::Stop(End::TimedOut(self.check.limit));
        }
        Turn::Type(
            self.feeder
                .as_mut()
                .map_or_else(Vec::new, |feeder| feeder.next(now)),
        )
    }
}

/// How often a guest that is only listened to is looked at.
const NOTHING_TYPED_PAUSE: Duration = Duration::from_millis(50);

fn prepared(input: &[u8], now: Instant) -> Feeder {
    let mut feeder = Feeder::new(now);
    feeder.push(input);
    feeder.end();
    feeder
}
