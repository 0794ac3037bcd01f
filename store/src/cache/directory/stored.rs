//! Files as they are served to others.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::{Directory, Found};
use crate::cache::backend::Kind;
use crate::cache::name::Name;

/// A file, open to be served.
#[derive(Debug)]
pub(in crate::cache) struct Stored {
    /// Open to be read.
    pub(in crate::cache) file: File,
    /// Its size in bytes.
    pub(in crate::cache) size_bytes: u64,
    /// Which file of this machine's it is, and of when.
    identity: (u64, i64, i64),
}

impl Stored {
    /// Tells it from every other file that has had its name here: each is written
    /// beside the one before it.
    pub(in crate::cache) fn tag(&self) -> String {
        let (inode, seconds, nanoseconds) = self.identity;
        format!(
            "{:x}-{inode:x}-{seconds:x}-{nanoseconds:x}",
            self.size_bytes
        )
    }
}

impl Directory {
    /// Opens a file that is served to others. What has no business in a cache is
    /// not there.
    pub(in crate::cache) fn stored(&self, name: &Name) -> Result<Option<Stored>, Kind> {
        let (file, size_bytes) = match self.open_file(name) {
            Ok(Found::It(found)) => found,
            Ok(Found::Nothing) | Err(Kind::Refused(_)) => return Ok(None),
            Err(kind) => return Err(kind),
        };
        let metadata = file.metadata()?;
        Ok(Some(Stored {
            identity: (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()),
            file,
            size_bytes,
        }))
    }
}
