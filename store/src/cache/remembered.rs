//! Indexes that were read or written before, kept in a directory on this
//! machine. A cache of a cache: each file is named by its BLAKE3 and checked when
//! it is read, so nothing rests on what lies there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::CacheError;
use super::id::IndexId;
use crate::hash::Digest;

/// A directory of indexes, or none.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    directory: Option<PathBuf>,
}

impl Remembered {
    /// Remembers in `directory`, which is made if need be. Each cache needs one
    /// of its own.
    pub fn in_directory(directory: &Path) -> Result<Self, CacheError> {
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        Ok(Self {
            directory: Some(directory.to_owned()),
        })
    }

    /// Remembers nothing.
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// An index, as it is stored in the cache.
    pub(super) fn get(&self, id: &IndexId) -> Result<Option<Vec<u8>>, CacheError> {
        let Some(path) = self.path(id) else {
            return Ok(None);
        };
        match std::fs::read(&path) {
            Ok(bytes) => Ok((Digest::of(&bytes) == id.0).then_some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    pub(super) fn put(&self, id: &IndexId, stored: &[u8]) -> Result<(), CacheError> {
        let Some(path) = self.path(id) else {
            return Ok(());
        };
        let begun = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&begun, stored).map_err(failed(&begun))?;
        std::fs::rename(&begun, &path).map_err(failed(&path))
    }

    /// Those that were put here less than `age` ago.
    pub(super) fn since(&self, age: Duration) -> Result<Vec<IndexId>, CacheError> {
        let Some(directory) = &self.directory else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
            let entry = entry.map_err(failed(directory))?;
            let digest = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let metadata = entry.metadata().map_err(failed(directory))?;
            let modified = metadata.modified().map_err(failed(directory))?;
            let young = SystemTime::now().duration_since(modified);
            if let (Some(digest), true) = (digest, young.is_ok_and(|past| past < age)) {
                found.push(IndexId(digest));
            }
        }
        Ok(found)
    }

    fn path(&self, id: &IndexId) -> Option<PathBuf> {
        let directory = self.directory.as_ref()?;
        Some(directory.join(id.to_string()))
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CacheError {
    move |source| CacheError::Remembered {
        path: path.to_owned(),
        source,
    }
}
