//! Results on stdout: lines for people or one JSON document.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;

/// The version of every `--json` document.
pub const JSON_VERSION: u32 = 1;

/// A `--json` document: the version, then the command's own fields.
#[derive(Serialize)]
pub struct Document<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

/// Prints a result as JSON.
pub fn json(body: impl Serialize) -> Result<(), CliError> {
    let document = Document {
        version: JSON_VERSION,
        body,
    };
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| CliError::machine(format!("writing JSON: {error}")))?;
    line(&text)
}

/// Prints one line. A reader that went away ends the command quietly.
pub fn line(text: &str) -> Result<(), CliError> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(CliError::Said(crate::exit::ExitStatus::Success))
        }
        result => result.map_err(|error| CliError::machine(format!("writing to stdout: {error}"))),
    }
}

/// Whether stderr gets no colours.
pub fn is_plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || !io::stderr().is_terminal()
}
