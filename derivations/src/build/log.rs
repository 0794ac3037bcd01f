//! The log of a build: kept whole in the store, its last lines in memory.

use std::collections::VecDeque;
use std::io::{self, Write};

use kiln_store::hash::ActionKey;
use kiln_store::logs::LogWriter;
use kiln_store::store::Store;

use super::error::BuildError;
use super::store_error;

/// How many last lines a failure shows.
const TAIL_LINES: usize = 20;
/// The longest line that is told to listeners; the log has all of it.
const MAX_LINE_BYTES: usize = 4096;

/// A log that is being written.
pub struct BuildLog {
    writer: LogWriter,
    line: Vec<u8>,
    tail: VecDeque<String>,
}

impl BuildLog {
    /// Starts the log of `action`, in place of an earlier one.
    pub fn create(store: &Store, action: &ActionKey) -> Result<Self, BuildError> {
        Ok(Self {
            writer: store.write_log(action).map_err(store_error)?,
            line: Vec::new(),
            tail: VecDeque::new(),
        })
    }

    /// Appends bytes, and tells `on_line` every line that they end.
    pub fn write(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(String)) -> io::Result<()> {
        self.writer.write_all(bytes)?;
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

    /// Ends the log, and returns its last lines.
    pub fn finish(mut self) -> Result<Vec<String>, BuildError> {
        if !self.line.is_empty() {
            self.end_line(&mut |_| {});
        }
        self.writer.finish().map_err(store_error)?;
        Ok(self.tail.into())
    }

    /// Removes the log of a build that the machine failed, not its builder.
    pub fn discard(self) {
        self.writer.discard();
    }
}
