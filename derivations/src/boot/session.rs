//! Watches a guest until it ends or is ended: one loop, three kinds of driver.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::Cancel;
use super::error::{BootError, Doing};
use super::guest::{Guest, ready};
use super::watch::Panic;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself: it was powered off or restarted, which ends it too.
    PoweredOff,
    /// Its kernel gave up, with this line.
    Panicked(String),
    /// The emulator, or the sandbox around it, failed.
    EmulatorFailed {
        /// How it ended; `None` if kiln ended it because of what it said.
        status: Option<ExitStatus>,
        /// The last of what it said.
        said: String,
    },
    /// The console did not show that the guest was up; kiln ended it.
    NotUp {
        /// What would have shown it.
        marker: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The time was over; kiln ended it.
    TimedOut(Duration),
    /// Nothing more was wanted of it: the user left, or a check was decided.
    Left,
    /// The run was cancelled.
    Cancelled,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::PoweredOff => f.write_str("the guest powered off"),
            End::Panicked(line) => write!(f, "the guest's kernel gave up: {line}"),
            End::EmulatorFailed { status, said } => {
                f.write_str("the emulator failed")?;
                if let Some(status) = status {
                    write!(f, " ({status})")?;
                }
                write!(
                    f,
                    ": {}",
                    if said.is_empty() {
                        "it said nothing"
                    } else {
                        said
                    }
                )
            }
            End::NotUp { marker, limit } => {
                let limit_s = limit.as_secs_f64();
                write!(f, "the console did not show `{marker}` within {limit_s} s")
            }
            End::TimedOut(limit) => write!(f, "the time limit of {} s passed", limit.as_secs_f64()),
            End::Left => f.write_str("the guest was ended"),
            End::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// Decides what a guest is given and when to stop it.
pub(super) trait Driver {
    /// Takes what the console showed.
    fn shown(&mut self, bytes: &[u8], now: Instant) -> Result<(), BootError>;

    /// Where input comes from, while more of it is wanted.
    fn source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Takes input; nothing at its end.
    fn input(&mut self, _bytes: &[u8]) {}

    /// How soon it wants its next turn, if nothing happens; also how soon a
    /// cancelled run ends.
    fn pause(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// Whether to stop, and what to type.
    fn turn(&mut self, now: Instant) -> Turn;
}

/// What is done next.
pub(super) enum Turn {
    /// These keys are typed; often none.
    Type(Vec<u8>),
    /// The guest is ended, for this reason.
    Stop(End),
}

/// What KVM says when it cannot go on; the emulator then waits for ever.
const KVM_STUCK: &str = "KVM internal error";

/// Runs a guest to its end.
pub(super) fn run(
    mut guest: Guest,
    driver: &mut dyn Driver,
    cancel: Cancel<'_>,
) -> Result<End, BootError> {
    let mut panic = Panic::default();
    let stopped = watch(&mut guest, driver, cancel, &mut panic)?;
    let status = guest.end()?;
    Ok(match (stopped, panic.line()) {
        (None | Some(End::NotUp { .. } | End::TimedOut(_)), Some(line)) => End::Panicked(line),
        (Some(end), _) => end,
        (None, None) if status.success() => End::PoweredOff,
        (None, None) => End::EmulatorFailed {
            status: Some(status),
            said: guest.said(),
        },
    })
}

/// `None` if the guest ended by itself.
fn watch(
    guest: &mut Guest,
    driver: &mut dyn Driver,
    cancel: Cancel<'_>,
    panic: &mut Panic,
) -> Result<Option<End>, BootError> {
    let mut keys = Vec::new();
    while !guest.is_silent() {
        if cancel() {
            return Ok(Some(End::Cancelled));
        }
        match driver.turn(Instant::now()) {
            Turn::Type(more) => keys.extend(more),
            Turn::Stop(end) => return Ok(Some(end)),
        }
        let [console, messages, room, input] = wait(guest, driver, !keys.is_empty())?;
        if console {
            let bytes = guest.read_console().doing("reading the console")?;
            panic.take(&bytes);
            driver.shown(&bytes, Instant::now())?;
        }
        if messages {
            guest
                .read_messages()
                .doing("reading the emulator's messages")?;
            if guest.said().contains(KVM_STUCK) {
                return Ok(Some(End::EmulatorFailed {
                    status: None,
                    said: guest.said(),
                }));
            }
        }
        if room {
            type_some(guest, &mut keys)?;
        }
        if input {
            read_input(driver)?;
        }
    }
    Ok(None)
}

fn wait(guest: &Guest, driver: &dyn Driver, typing: bool) -> Result<[bool; 4], BootError> {
    let console = guest
        .console
        .as_ref()
        .map(|pipe| (pipe.as_fd(), PollFlags::IN));
    let messages = guest
        .messages
        .as_ref()
        .map(|pipe| (pipe.as_fd(), PollFlags::IN));
    let keys = guest
        .keys
        .as_ref()
        .filter(|_| typing)
        .map(|pipe| (pipe.as_fd(), PollFlags::OUT));
    let input = driver.source().map(|fd| (fd, PollFlags::IN));
    ready(&[console, messages, keys, input], driver.pause())
}

fn type_some(guest: &mut Guest, keys: &mut Vec<u8>) -> Result<(), BootError> {
    let Some(pipe) = &mut guest.keys else {
        return Ok(());
    };
    match pipe.write(keys) {
        Ok(count) => {
            keys.drain(..count);
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        // The guest has just ended; that shows at its output.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => guest.keys = None,
        Err(error) => return Err(error).doing("typing on the console"),
    }
    Ok(())
}

fn read_input(driver: &mut dyn Driver) -> Result<(), BootError> {
    let Some(source) = driver.source() else {
        return Ok(());
    };
    let mut buffer = [0; 4096];
    match rustix::io::read(source, &mut buffer) {
        Ok(count) => driver.input(&buffer[..count]),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
        // A terminal that hung up.
        Err(rustix::io::Errno::IO) => driver.input(&[]),
        Err(error) => return Err(error).doing("reading the input"),
    }
    Ok(())
}
