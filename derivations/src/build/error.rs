//! How a builder fails.

use std::path::PathBuf;

/// The kinds of failure that a user acts on differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureClass {
    /// The script ended with a status that is not 0, or by a signal.
    Exit,
    /// It ran into a limit, and was ended.
    Limit,
    /// It made no output, or one with something that an output cannot hold.
    Output,
    /// Trees do not merge, or a root file system is not complete.
    Compose,
    /// An archive is damaged, or holds something that it must not.
    Archive,
    /// What was fetched is not what its hash says.
    HashMismatch,
    /// Claims contradict each other, or what was built here.
    Untrusted,
    /// Nothing that could be fetched.
    Unavailable,
    /// A local file changed while it was read.
    Changed,
    /// There is no sandbox on this machine.
    Sandbox,
    /// The disk is full.
    DiskFull,
    /// Some other failure of this machine.
    Machine,
    /// It was asked to stop.
    Cancelled,
}

impl FailureClass {
    /// Its name in events and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            FailureClass::Exit => "exit",
            FailureClass::Limit => "limit",
            FailureClass::Output => "output",
            FailureClass::Compose => "compose",
            FailureClass::Archive => "archive",
            FailureClass::HashMismatch => "hash-mismatch",
            FailureClass::Untrusted => "untrusted",
            FailureClass::Unavailable => "unavailable",
            FailureClass::Changed => "changed",
            FailureClass::Sandbox => "sandbox",
            FailureClass::DiskFull => "disk-full",
            FailureClass::Machine => "machine",
            FailureClass::Cancelled => "cancelled",
        }
    }
}

/// Why there are no outputs.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// What kind of failure it is.
    pub class: FailureClass,
    /// What happened, for people.
    pub message: String,
    /// The last lines of the log, for a script that failed.
    pub log_tail: Vec<String>,
    /// Where the tree was left for `kiln shell --failed`.
    pub kept: Option<PathBuf>,
}

impl BuildError {
    /// A failure without a log.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            log_tail: Vec::new(),
            kept: None,
        }
    }
}
