//! Why a file could not be had: every place that was tried, and what it said.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Every candidate failed.
    #[error("cannot fetch {name}{}", list(.attempts))]
    Exhausted {
        /// What was wanted.
        name: String,
        /// The failures in order.
        attempts: Vec<Attempt>,
    },
    /// There is no place to try.
    #[error(
        "cannot fetch {name}: {candidates} names no place: this machine has no Debian archive configured, and no mirror is given"
    )]
    Nowhere {
        /// What was wanted.
        name: String,
        /// The candidates as written.
        candidates: String,
    },
    /// It was asked to stop.
    #[error("fetching {name} was interrupted")]
    Cancelled {
        /// What was wanted.
        name: String,
    },
    /// This machine failed, not the place: no other place would help.
    #[error("{action} {}: {source}", .path.display())]
    Disk {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Git failed.
    #[error("cannot fetch {url}: {reason}")]
    Git {
        /// The repository.
        url: String,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// A tree from git could not be written.
    #[error(transparent)]
    Objects(#[from] kiln_store::objects::ObjectError),
}

fn list(attempts: &[Attempt]) -> String {
    let mut text = String::new();
    for Attempt { from, problem } in attempts {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {from}\n    {problem}");
    }
    text
}

/// A place that failed.
#[derive(Debug)]
pub struct Attempt {
    /// The URL.
    pub from: String,
    /// What went wrong.
    pub problem: Problem,
}

/// What went wrong at one place.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is nothing of that name.
    #[error("not found")]
    NotFound,
    /// The server refuses, or has troubles.
    #[error("the server answers {code}")]
    Status {
        /// The HTTP status.
        code: u16,
        /// How long it asks to wait, in seconds.
        retry_after_s: Option<u64>,
    },
    /// Nobody answers.
    #[error("no connection: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// TLS could not be established.
    #[error("TLS failed: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// The server does not speak HTTP as it should.
    #[error("{reason}")]
    Protocol {
        /// What is wrong.
        reason: String,
    },
    /// The connection ended in the middle.
    #[error("cut off after {got_bytes} bytes{}{}", expected(.expected_bytes), because(.reason))]
    Truncated {
        /// How many bytes there are.
        got_bytes: u64,
        /// How many there should be.
        expected_bytes: Option<u64>,
        /// What the connection said.
        reason: Option<String>,
    },
    /// It does not get on.
    #[error("too slow: less than {limit} bytes a second")]
    TooSlow {
        /// The least that is accepted.
        limit: u64,
    },
    /// It announces, or has, another length.
    #[error("wrong size: expected {expected_bytes} bytes, got {got_bytes}")]
    WrongSize {
        /// The pinned size.
        expected_bytes: u64,
        /// The size found.
        got_bytes: u64,
    },
    /// It does not end.
    #[error("it goes on after {limit_bytes} bytes, where it should have ended")]
    Endless {
        /// Where it should have ended.
        limit_bytes: u64,
    },
    /// The bytes are not the pinned ones.
    #[error("wrong {algorithm}: expected {expected}, got {got}")]
    WrongHash {
        /// `sha256` or `blake3`.
        algorithm: &'static str,
        /// The pinned digest.
        expected: String,
        /// The digest of what came.
        got: String,
    },
    /// The file is whole, but not what it should be.
    #[error("{reason}")]
    Refused {
        /// What whoever wants it says.
        reason: String,
    },
    /// A local file could not be read.
    #[error("{source}")]
    Local {
        /// The system's word.
        source: io::Error,
    },
}

impl Problem {
    /// Whether the same place may do better in a moment.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500..=599),
            Self::Unreachable { .. } | Self::Truncated { .. } | Self::TooSlow { .. } => true,
            Self::NotFound
            | Self::Tls { .. }
            | Self::Protocol { .. }
            | Self::WrongSize { .. }
            | Self::Endless { .. }
            | Self::WrongHash { .. }
            | Self::Refused { .. }
            | Self::Local { .. } => false,
        }
    }
}

fn expected(bytes: &Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" of {bytes}"))
}

fn because(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// Why one try ended without a file.
pub(super) enum Stop {
    /// The place is to blame: kept, and the next one is tried.
    Place(Problem),
    /// Nothing more is tried.
    Whole(FetchError),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Place(problem)
    }
}

impl From<FetchError> for Stop {
    fn from(error: FetchError) -> Self {
        Self::Whole(error)
    }
}
