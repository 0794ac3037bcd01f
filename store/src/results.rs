//! Copies of outputs for users to read: what `result` links to.
//!
//! `results/HEX` is a copy (or reflinks) of the tree HEX, never the blobs'
//! inodes, so that whoever changes it harms nothing. Made once for each tree;
//! gc removes it with the last root that names the tree.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::{During, StoreError};
use crate::hash::TreeId;
use crate::layout::RESULTS;
use crate::store::Store;

/// What the store counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registered realisations.
    pub realisations: u64,
    /// Directory objects.
    pub directories: u64,
    /// Files, each content once.
    pub files: u64,
    /// Bytes on the disk of files and directory objects.
    pub disk_bytes: u64,
}

impl Store {
    /// A copy of a tree that is here, for users to read; the same one as long
    /// as a root names the tree.
    pub fn result(&self, tree: &TreeId) -> Result<PathBuf, StoreError> {
        let path = self.path().join(RESULTS).join(tree.to_string());
        match fs::symlink_metadata(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).during("stat", &path),
        }
        match self.export(tree, &path, false) {
            // Somebody else was faster.
            Err(StoreError::Exists { .. }) | Ok(()) => Ok(path),
            Err(error) => Err(error),
        }
    }

    /// How much is stored.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let directories = crate::inventory::trees(&self.layout)?;
        let files = crate::inventory::blobs(&self.layout)?;
        let realisations = crate::sys::names(self.layout.fd(), crate::layout::REALISATIONS)
            .during("list", crate::layout::REALISATIONS)?;
        let all = directories.iter().chain(&files);
        Ok(Usage {
            realisations: realisations.len() as u64,
            directories: directories.len() as u64,
            files: files.len() as u64,
            disk_bytes: all.map(|stored| stored.disk_bytes).sum(),
        })
    }
}
