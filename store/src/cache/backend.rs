//! The one trait through which a cache is read and written.
//!
//! A backend moves bytes under names. It knows nothing of what they are, whether
//! they are right, and who may be trusted.

use std::io::{self, Read, Seek};
use std::time::{Duration, SystemTime};

use super::name::Name;
use crate::web::BadHeader;

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteRange {
    /// Its first byte.
    pub start: u64,
    /// How many bytes; at least one.
    pub length: u64,
}

/// A file or a part of one, as it arrives. Who reads it sets a limit: a server
/// may send more than it said, or never end.
pub struct Body {
    /// How many bytes the server says will come, if it says so.
    pub length: Option<u64>,
    /// The bytes.
    pub content: Box<dyn Read + Send>,
}

/// What a listing tells of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was written, by the server's clock; where it keeps no time (a
    /// registry), by the writer's.
    pub modified: SystemTime,
}

/// What is to be written; read from its start, and again if a transfer is
/// tried again.
pub trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// Somewhere that files can be kept. Methods may be called by many threads at
/// once. Each of them ends: what does not answer is an error after a while.
pub trait Backend: Send + Sync {
    /// Where it is, for messages: never with credentials.
    fn place(&self) -> String;

    /// Opens a file, or a part of it. `None` if there is no such file. A part
    /// that reaches beyond the end comes shortened; one that begins there is an
    /// error of kind [`Kind::Refused`].
    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError>;

    /// The size of a file in bytes. `None` if there is no such file.
    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError>;

    /// Whether a part of a file that is asked for comes alone; if not,
    /// [`Backend::open`] cuts it out of the whole. `None` if there is no such
    /// file, which has to have two bytes at least.
    fn sends_parts(&self, name: &Name) -> Result<Option<bool>, BackendError> {
        Ok(self.size(name)?.map(|_| true))
    }

    /// Writes a file of `size_bytes`, which is all that `content` has, from its
    /// start. Readers see all of it or nothing; of two writers of one name, one
    /// wins. No file's name may be a directory in another's: where one is, a
    /// directory refuses what a bucket takes.
    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), BackendError>;

    /// All files whose name begins with `prefix`, in no order. `None` if this
    /// kind of server cannot tell.
    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError>;

    /// Removes a file. That there is none is no error.
    fn remove(&self, name: &Name) -> Result<(), BackendError>;

    /// Removes what killed writers left half-written, if that is older than
    /// `age`, and says how many files that were. No reader ever sees them.
    /// Servers sweep by themselves; only a directory has nobody else who does.
    fn sweep(&self, age: Duration) -> Result<u64, BackendError> {
        let _ = age;
        Ok(0)
    }
}

/// Why a backend failed.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {operation} `{name}`: {kind}")]
pub struct BackendError {
    /// Where: as [`Backend::place`] says.
    pub place: String,
    /// `read`, `write`, `list` or `remove`.
    pub operation: &'static str,
    /// The file, or the prefix of a listing.
    pub name: String,
    /// What happened.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Kind {
    /// It wants other credentials, or any.
    #[error("not allowed: {0}")]
    Denied(String),
    /// It said no, and would say so again.
    #[error("refused: {0}")]
    Refused(String),
    /// It said no for now, more often than was tried again.
    #[error("busy: {0}")]
    Busy(String),
    /// It cannot prove who it is, or speaks TLS that kiln does not.
    #[error(
        "no trusted connection: {0}; if a certificate of your own is to be trusted, name the file that has it in SSL_CERT_FILE"
    )]
    Untrusted(String),
    /// It cannot be reached, or went away.
    #[error("{0}")]
    Unreachable(#[from] io::Error),
    /// What it says is not what this kind of server says.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl From<BadHeader> for Kind {
    fn from(error: BadHeader) -> Self {
        Kind::Refused(error.to_string())
    }
}

impl Kind {
    /// Whether the same request may go well a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Kind::Busy(_) | Kind::Unreachable(_))
    }
}
