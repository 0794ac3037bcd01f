//! Why a directory was not captured.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::objects::ObjectError;

/// What no tree can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A file with the setuid or setgid bit, or a directory with either.
    SpecialBits,
    /// A block or character device.
    Device,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SpecialBits => "has the setuid or setgid bit",
            Self::Device => "is a device",
            Self::Fifo => "is a fifo",
            Self::Socket => "is a socket",
        })
    }
}

/// Why a directory was not captured.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is something that no tree can hold.
    #[error("`{}` {what}, which no output may hold", .path.display())]
    Refused {
        /// Where, relative to the root.
        path: PathBuf,
        /// What it is.
        what: Refused,
    },
    /// More bytes than [`bytes`](super::Limits::bytes).
    #[error("there are more than {limit} bytes of content")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// More entries than [`entries`](super::Limits::entries).
    #[error("there are more than {limit} files and directories")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// Deeper than [`depth`](super::Limits::depth).
    #[error("directories are nested more than {limit} deep below `{}`", shorten(.path))]
    TooDeep {
        /// The directory that is too deep, relative to the root.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The source cannot be read.
    #[error("{operation} `{}`: {source}", shorten(.path))]
    Source {
        /// What was being done, as a verb.
        operation: &'static str,
        /// Where, relative to the root.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ObjectError> for ImportError {
    fn from(error: ObjectError) -> Self {
        Self::Store(error.into())
    }
}

/// An error of reading the source.
pub(super) fn source_error(
    operation: &'static str,
    path: &Path,
    error: impl Into<io::Error>,
) -> ImportError {
    ImportError::Source {
        operation,
        path: path.to_owned(),
        source: error.into(),
    }
}

/// Adds operation and path to an error of reading the source.
pub(super) trait Reading<T>: Sized {
    fn reading(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, ImportError>;
    fn reading_at(
        self,
        operation: &'static str,
        path: impl Fn() -> PathBuf,
    ) -> Result<T, ImportError>;
}

impl<T, E: Into<io::Error>> Reading<T> for Result<T, E> {
    fn reading(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, ImportError> {
        self.map_err(|error| source_error(operation, path.as_ref(), error))
    }

    fn reading_at(
        self,
        operation: &'static str,
        path: impl Fn() -> PathBuf,
    ) -> Result<T, ImportError> {
        self.map_err(|error| source_error(operation, &path(), error))
    }
}

/// Names a path that may be far too long to show.
fn shorten(path: &Path) -> String {
    let shown = path.to_string_lossy();
    match shown.char_indices().nth(200) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown.into_owned(),
    }
}
