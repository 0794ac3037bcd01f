//! A guest for a user: at a terminal, or behind a pipe.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::Cancel;
use super::error::{BootError, Doing};
use super::escape::{Escape, Keys};
use super::feed::Feeder;
use super::guest::Guest;
use super::session::{self, Driver, End, Turn};
use super::terminal::RawMode;
use super::watch::Markers;

/// How a guest shows that it takes input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Up {
    /// What the console shows then.
    pub marker: String,
    /// How long it may take until then.
    pub limit: Duration,
}

impl Default for Up {
    /// `kiln: up`, within two minutes.
    fn default() -> Self {
        Up {
            marker: "kiln: up".into(),
            limit: Duration::from_secs(120),
        }
    }
}

/// Connects a terminal, in raw mode, with the guest's console. [`super::LEAVE`]
/// ends the guest, and so does a terminal that hangs up.
pub(super) fn interact(
    guest: Guest,
    terminal: BorrowedFd<'_>,
    screen: &mut dyn Write,
    cancel: Cancel<'_>,
) -> Result<End, BootError> {
    let _raw = RawMode::enter(terminal).doing("setting the terminal to raw mode")?;
    let mut driver = Typist {
        terminal,
        screen,
        escape: Escape::default(),
        keys: Vec::new(),
        leaves: false,
    };
    session::run(guest, &mut driver, cancel)
}

struct Typist<'a> {
    terminal: BorrowedFd<'a>,
    screen: &'a mut dyn Write,
    escape: Escape,
    keys: Vec<u8>,
    leaves: bool,
}

impl Driver for Typist<'_> {
    fn shown(&mut self, bytes: &[u8], _now: Instant) -> Result<(), BootError> {
        show(self.screen, bytes)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.terminal)
    }

    fn input(&mut self, bytes: &[u8]) {
        match self.escape.take(bytes) {
            Keys::Guest(keys) => self.keys.extend(keys),
            Keys::Leave => self.leaves = true,
        }
        self.leaves |= bytes.is_empty();
    }

    fn turn(&mut self, _now: Instant) -> Turn {
        if self.leaves {
            return Turn::Stop(End::Left);
        }
        Turn::Type(std::mem::take(&mut self.keys))
    }
}

/// Types `input` on the console once the guest is up, and Ctrl-D at its end.
pub(super) fn feed(
    guest: Guest,
    input: BorrowedFd<'_>,
    up: &Up,
    screen: &mut dyn Write,
    cancel: Cancel<'_>,
) -> Result<End, BootError> {
    let mut driver = Pipe {
        input,
        screen,
        marker: Markers::new(vec![up.marker.clone()]),
        up,
        started: Instant::now(),
        feeder: None,
    };
    session::run(guest, &mut driver, cancel)
}

struct Pipe<'a> {
    input: BorrowedFd<'a>,
    screen: &'a mut dyn Write,
    marker: Markers,
    up: &'a Up,
    started: Instant,
    /// Once the guest is up.
    feeder: Option<Feeder>,
}

impl Driver for Pipe<'_> {
    fn shown(&mut self, bytes: &[u8], now: Instant) -> Result<(), BootError> {
        self.marker.take(bytes);
        if self.marker.missing().is_none() {
            let feeder = self.feeder.get_or_insert_with(|| Feeder::new(now));
            feeder.shown(bytes, now);
        }
        show(self.screen, bytes)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        let wants_more = self.feeder.as_ref().is_some_and(Feeder::wants_more);
        wants_more.then_some(self.input)
    }

    fn input(&mut self, bytes: &[u8]) {
        let Some(feeder) = &mut self.feeder else {
            return;
        };
        match bytes {
            [] => feeder.end(),
            bytes => feeder.push(bytes),
        }
    }

    fn pause(&self) -> Duration {
        self.feeder.as_ref().map_or(NOT_UP_PAUSE, Feeder::pause)
    }

    fn turn(&mut self, now: Instant) -> Turn {
        match &mut self.feeder {
            Some(feeder) => Turn::Type(feeder.next(now)),
            None if now.duration_since(self.started) < self.up.limit => Turn::Type(Vec::new()),
            None => Turn::Stop(End::NotUp {
                marker: self.up.marker.clone(),
                limit: self.up.limit,
            }),
        }
    }
}

/// How often a guest that is not up yet is looked at.
const NOT_UP_PAUSE: Duration = Duration::from_millis(50);

fn show(screen: &mut dyn Write, bytes: &[u8]) -> Result<(), BootError> {
    let written = screen.write_all(bytes).and_then(|()| screen.flush());
    written.doing("writing what the console shows")
}
