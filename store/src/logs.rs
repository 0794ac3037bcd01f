//! Build logs: plain while the build runs, so that they can be followed, and
//! compressed afterwards. The last log of an action is kept.
//!
//! Logs are for people: nothing is decided by them, so they are not synced.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{During, StoreError};
use crate::hash::ActionKey;
use crate::layout::LOGS;
use crate::store::Store;

/// zstd's default: logs compress well at any level.
const LEVEL: i32 = 3;

/// Writes the log of a build.
#[derive(Debug)]
pub struct LogWriter {
    file: File,
    path: PathBuf,
}

impl Store {
    /// Where the log of a build grows while it runs.
    pub fn log_path(&self, action: &ActionKey) -> PathBuf {
        self.path().join(format!("{LOGS}/{action}.log"))
    }

    /// Begins the log of a build, in place of what was there. The caller has
    /// the build lock.
    pub fn write_log(&self, action: &ActionKey) -> Result<LogWriter, StoreError> {
        let path = self.log_path(action);
        Ok(LogWriter {
            file: File::create(&path).during("create", &path)?,
            path,
        })
    }

    /// Reads the log of a build, one that runs included. `None` if there is
    /// none.
    pub fn read_log(&self, action: &ActionKey) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let plain = self.log_path(action);
        if let Some(file) = open(&plain)? {
            return Ok(Some(Box::new(file)));
        }
        let compressed = compressed(&plain);
        let Some(file) = open(&compressed)? else {
            return Ok(None);
        };
        let decoder = zstd::Decoder::new(file).during("read", compressed)?;
        Ok(Some(Box::new(decoder)))
    }
}

impl LogWriter {
    /// Ends the log and compresses it. If that fails, neither form of it stays:
    /// most likely it is its room that is needed.
    pub fn finish(self) -> Result<(), StoreError> {
        let to = compressed(&self.path);
        let temporary = self.path.with_extension("tmp");
        let compressed = compress(&self.path, &temporary)
            .during("compress", &self.path)
            .and_then(|()| fs::rename(&temporary, &to).during("rename to", &to));
        if compressed.is_err() {
            let _ = fs::remove_file(&temporary);
            self.discard();
            return compressed;
        }
        fs::remove_file(&self.path).during("remove", &self.path)
    }

    /// Removes the log.
    pub fn discard(self) {
        // Should it stay, the next build of the action replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn compressed(plain: &Path) -> PathBuf {
    plain.with_extension("log.zst")
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    zstd::stream::copy_encode(File::open(from)?, File::create(to)?, LEVEL)
}

fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("open", path),
    }
}
