//! The one seam between pure tree work and wherever objects live.
//!
//! Composing, unpacking and checking read and write objects through
//! [`Objects`]; the store on disk implements it, and [`Memory`] does for tests.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Mutex;

use crate::hash::{ContentId, Digest, TreeId};
use crate::tree::{Directory, TreeError};

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No object of this address.
    #[error("{kind} {digest} is not in the store")]
    Missing {
        /// `directory` or `file`.
        kind: &'static str,
        /// Its address.
        digest: Digest,
    },
    /// The bytes found under an address are not what the address says.
    #[error(
        "{kind} {digest} is damaged in the store; `kiln verify` lists what is, `kiln gc --damaged` removes it"
    )]
    Damaged {
        /// `directory` or `file`.
        kind: &'static str,
        /// Its address.
        digest: Digest,
    },
    /// A directory that breaks the rules of [`crate::tree`].
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The source or the disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's word.
        source: io::Error,
    },
}

/// Reads and writes objects by address. A directory may be written only after
/// everything it names: so that its presence means that its whole tree is
/// present.
pub trait Objects: Sync {
    /// Reads a directory.
    fn directory(&self, id: &TreeId) -> Result<Directory, ObjectError>;

    /// Opens a file's content for reading.
    fn open_file(&self, id: &ContentId) -> Result<Box<dyn Read + Send>, ObjectError>;

    /// Writes a directory and returns its address. Everything it names has to
    /// be there already.
    fn put_directory(&self, directory: &Directory) -> Result<TreeId, ObjectError>;

    /// Writes all of `content` as a file; returns its address and its size in
    /// bytes. `executable` says under which mode it will be wanted.
    fn put_file(
        &self,
        content: &mut dyn Read,
        executable: bool,
    ) -> Result<(ContentId, u64), ObjectError>;
}

/// Objects in memory, for tests and for planning without a store.
#[derive(Debug, Default)]
pub struct Memory {
    directories: Mutex<HashMap<TreeId, Directory>>,
    files: Mutex<HashMap<ContentId, Vec<u8>>>,
}

impl Objects for Memory {
    fn directory(&self, id: &TreeId) -> Result<Directory, ObjectError> {
        let directories = self.directories.lock().unwrap_or_else(|e| e.into_inner());
        directories.get(id).cloned().ok_or(ObjectError::Missing {
            kind: "directory",
            digest: id.0,
        })
    }

    fn open_file(&self, id: &ContentId) -> Result<Box<dyn Read + Send>, ObjectError> {
        let files = self.files.lock().unwrap_or_else(|e| e.into_inner());
        let content = files.get(id).cloned().ok_or(ObjectError::Missing {
            kind: "file",
            digest: id.0,
        })?;
        Ok(Box::new(io::Cursor::new(content)))
    }

    fn put_directory(&self, directory: &Directory) -> Result<TreeId, ObjectError> {
        let id = directory.id();
        let mut directories = self.directories.lock().unwrap_or_else(|e| e.into_inner());
        directories.insert(id, directory.clone());
        Ok(id)
    }

    fn put_file(
        &self,
        content: &mut dyn Read,
        _executable: bool,
    ) -> Result<(ContentId, u64), ObjectError> {
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(|source| ObjectError::Io {
                what: "reading content".to_owned(),
                source,
            })?;
        let id = ContentId(Digest::of(&bytes));
        let size = bytes.len() as u64;
        let mut files = self.files.lock().unwrap_or_else(|e| e.into_inner());
        files.insert(id, bytes);
        Ok((id, size))
    }
}
