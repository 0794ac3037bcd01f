//! The log of a build: kept whole in the store, its last lines in memory.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kiln_store::hash::ActionKey;
use kiln_store::store::Store;

use super::error::{BuildError, FailureClass};

/// How many last lines a failure shows.
const TAIL_LINES: usize = 20;
/// The longest line that is told to listeners; the log has all of it.
const MAX_LINE_BYTES: usize = 4096;
/// zstd's own default.
const LEVEL: i32 = 3;

/// A log that is being written.
pub struct BuildLog {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
    tail: VecDeque<String>,
}

impl BuildLog {
    /// Starts the log of `action`, in place of an earlier one.
    pub fn create(store: &Store, action: &ActionKey) -> Result<Self, BuildError> {
        let path = plain_path(store, action);
        let file = File::create(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self {
            path,
            file,
            line: Vec::new(),
            tail: VecDeque::new(),
        })
    }

    /// Appends bytes, and tells `on_line` every line that they end.
    pub fn write(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(String)) -> io::Result<()> {
        self.file.write_all(bytes)?;
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line(on_line);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, on_line: &mut dyn FnMut(String)) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end_matches(['\n', '\r']).to_owned();
        self.line.clear();
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        on_line(line);
    }

    /// Compresses the log, and returns its last lines.
    pub fn finish(mut self, store: &Store) -> Result<Vec<String>, BuildError> {
        if !self.line.is_empty() {
            self.end_line(&mut |_| {});
        }
        let compressed = self.path.with_extension("log.zst");
        compress(&self.path, &compressed).map_err(|error| failed(&compressed, &error))?;
        let _ = fs::remove_file(&self.path);
        debug_assert!(self.path.starts_with(store.path()));
        Ok(self.tail.into())
    }
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let partial = to.with_extension("zst.part");
    let mut writer = zstd::Encoder::new(File::create(&partial)?, LEVEL)?;
    io::copy(&mut File::open(from)?, &mut writer)?;
    writer.finish()?;
    fs::rename(partial, to)
}

fn plain_path(store: &Store, action: &ActionKey) -> PathBuf {
    store.path().join("logs").join(format!("{action}.log"))
}

/// Opens the log of `action`: the finished one, or that of a build which still
/// runs. `None` if there is neither.
pub fn open(store: &Store, action: &ActionKey) -> io::Result<Option<Box<dyn io::Read>>> {
    let plain = plain_path(store, action);
    match File::open(plain.with_extension("log.zst")) {
        Ok(file) => return Ok(Some(Box::new(zstd::Decoder::new(file)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match File::open(plain) {
        Ok(file) => Ok(Some(Box::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(path: &Path, error: &io::Error) -> BuildError {
    let class = match error.kind() {
        io::ErrorKind::StorageFull => FailureClass::DiskFull,
        _ => FailureClass::Machine,
    };
    BuildError::new(class, format!("the build log {}: {error}", path.display()))
}
