//! Why the store could not do what it was asked.
//!
//! Every error of the file system carries the operation and the path, so that
//! the message alone says where to look.

use std::io;
use std::path::{Path, PathBuf};

use crate::hash::Digest;
use crate::objects::ObjectError;
use crate::realisation::RealisationError;

/// An error of the store on disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused an operation.
    #[error("{operation} {}: {source}", .path.display())]
    Io {
        /// What was being done, as a verb: `open`, `rename`, …
        operation: &'static str,
        /// To which file, relative to the store unless it is outside of it.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The store was written by a newer kiln. Nothing was touched.
    #[error("{} is a store of version {found}, but this kiln reads only up to version {supported}; use the kiln that made it", .path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is understood here.
        supported: u32,
    },
    /// The directory holds something else. Nothing was touched.
    #[error("{} is no kiln store: {reason}", .path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store belongs to another user. Writing to it would leave files that
    /// its owner cannot remove.
    #[error("the store {} belongs to uid {owner}, not to uid {user}; set KILN_STORE to a store of your own", .path.display())]
    ForeignOwner {
        /// The store.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who asked.
        user: u32,
    },
    /// An object is missing, damaged or cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A realisation that breaks the rules of [`crate::realisation`].
    #[error("realisation {id}: {source}")]
    Realisation {
        /// Its address.
        id: Digest,
        /// What is wrong with it.
        source: RealisationError,
    },
    /// The index failed.
    #[error("index {}: {source}", .path.display())]
    Index {
        /// The database file.
        path: PathBuf,
        /// The database's word.
        source: rusqlite::Error,
    },
    /// The index was written by a newer kiln.
    #[error("index {} has schema {found}, but this kiln knows only up to {supported}; use the kiln that made it, or run `kiln store rebuild` to make it anew", .path.display())]
    IndexNewer {
        /// The database file.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The newest schema that is understood here.
        supported: u32,
    },
    /// The index cannot be read; it can be made anew from the realisations.
    #[error("index {} is damaged ({reason}); run `kiln store rebuild` to make it anew", .path.display())]
    IndexDamaged {
        /// The database file.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// A stored tree is deeper than any that kiln makes.
    #[error("tree {tree} is nested more than {limit} deep", limit = crate::tree::MAX_DEPTH)]
    TooDeep {
        /// The directory at which the limit was passed.
        tree: crate::hash::TreeId,
    },
    /// The file of a root is damaged. Nothing is guessed, least of all what gc
    /// may remove.
    #[error("the root {} is damaged; remove the file and build what it stood for again", .path.display())]
    DamagedRoot {
        /// The file.
        path: PathBuf,
    },
    /// The file of a key's statement is damaged. Without it a key that was
    /// revoked might be believed.
    #[error(
        "what is known of a key is damaged in {}; remove the file once you know that the key stands", .path.display()
    )]
    DamagedStatement {
        /// The file.
        path: PathBuf,
    },
    /// A destination outside of the store exists and may not be replaced.
    #[error("{} exists already; it is left as it is", .path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// Another process uses the store, and the operation needs it alone.
    #[error("{operation} needs the store for itself, but process {pid} uses it")]
    InUse {
        /// What was asked.
        operation: &'static str,
        /// Whose lease is alive.
        pid: u32,
    },
}

impl StoreError {
    /// Whether the disk, or the user's quota on it, is full. What was being
    /// written is not in the store; making room and trying again will do.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Object(error) => error.is_disk_full(),
            Self::Index { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }
}

impl ObjectError {
    /// Whether the disk, or the user's quota on it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The seam [`crate::objects::Objects`] has an error type of its own.
impl From<StoreError> for ObjectError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Object(error) => error,
            StoreError::Io {
                operation,
                path,
                source,
            } => Self::Io {
                what: format!("{operation} {}", path.display()),
                source,
            },
            other => Self::Io {
                what: "store".to_owned(),
                source: io::Error::other(other),
            },
        }
    }
}

/// Adds operation and path to an error of the file system.
pub(crate) trait During<T> {
    /// `operation` is a verb; `path` is what it was applied to.
    fn during(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Io {
            operation,
            path: path.as_ref().to_owned(),
            source: error.into(),
        })
    }
}
