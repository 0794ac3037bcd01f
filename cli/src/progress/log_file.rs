//! The event log: one JSON object a line, appended.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use kiln_derivations::event::{Event, Listener};

use crate::error::CliError;

/// Appends every event to a file.
pub struct LogFile(Mutex<File>);

impl LogFile {
    /// Opens the file for appending, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| {
            CliError::usage(format!(
                "cannot write the event log {}: {error}",
                path.display()
            ))
        })?;
        Ok(Self(Mutex::new(file)))
    }
}

impl Listener for LogFile {
    fn event(&self, event: &Event) {
        let is_passing = matches!(
            event,
            Event::Log { .. } | Event::Downloaded { .. } | Event::Sending { .. }
        );
        if is_passing {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(event) else {
            return;
        };
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(|e| e.into_inner());
        // A full disk must not end a build for the sake of its event log; the
        // build itself says so when it meets the same disk.
        let _ = file.write_all(&line);
    }
}
