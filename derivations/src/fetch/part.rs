//! The beginning of a file, on disk and locked while somebody writes it.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::FetchError;
use super::progress::Cancel;

const LOCK_POLL: Duration = Duration::from_millis(50);

pub(super) struct Part {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Part {
    /// Opens or makes the part at `path` and waits until nobody else has it.
    pub(super) fn lock(path: &Path, name: &str, cancel: &Cancel) -> Result<Self, FetchError> {
        loop {
            let file = open(path)?;
            while !try_lock(&file, path)? {
                if cancel.is_cancelled() {
                    return Err(FetchError::Cancelled {
                        name: name.to_owned(),
                    });
                }
                thread::sleep(LOCK_POLL);
            }
            // Whoever had it may have finished it meanwhile: then it has its
            // final name, and what is locked here is no part any more.
            if let Some(length) = length_if_current(&file, path) {
                return Ok(Self {
                    file,
                    path: path.to_owned(),
                    length,
                });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Throws away what there is.
    pub(super) fn clear(&mut self) -> Result<(), FetchError> {
        self.length = 0;
        let cleared = self.file.set_len(0);
        cleared.map_err(|e| disk("truncate", &self.path, e))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(|e| disk("write", &self.path, e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Gives the complete file its final name.
    pub(super) fn finish(self, path: &Path) -> Result<(), FetchError> {
        fs::rename(&self.path, path).map_err(|e| disk("rename", &self.path, e))
    }

    /// Removes it; failing that, leaves it for the next run.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> Result<File, FetchError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| disk("open", path, e))
}

fn try_lock(file: &File, path: &Path) -> Result<bool, FetchError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(errno) => Err(disk("lock", path, errno.into())),
    }
}

fn length_if_current(file: &File, path: &Path) -> Option<u64> {
    let locked = file.metadata().ok()?;
    let named = fs::metadata(path).ok()?;
    let same = (locked.dev(), locked.ino()) == (named.dev(), named.ino());
    same.then_some(locked.len())
}

pub(super) fn disk(action: &'static str, path: &Path, source: std::io::Error) -> FetchError {
    FetchError::Disk {
        action,
        path: path.to_owned(),
        source,
    }
}
