//! Showing what happens: a tree on a terminal, plain lines elsewhere, and the
//! event log for machines. Each listens to the same events.

mod log_file;
mod plain;
mod speed;
pub mod transfer;
mod tree;

use std::io::{self, IsTerminal};

use kiln_derivations::event::Listener;

use crate::args::{Global, Progress};
use crate::error::CliError;

/// The listeners that the global options ask for.
pub fn listeners(global: &Global) -> Result<Vec<Box<dyn Listener + Send>>, CliError> {
    let mut listeners: Vec<Box<dyn Listener + Send>> = Vec::new();
    if let Some(path) = &global.events {
        listeners.push(Box::new(log_file::LogFile::open(path)?));
    }
    if global.quiet {
        return Ok(listeners);
    }
    let terminal =
        io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
    let tree = match global.progress {
        Progress::Auto => terminal && !global.verbose,
        Progress::Tree => true,
        Progress::Plain => false,
    };
    if tree {
        listeners.push(Box::new(tree::Tree::new()));
    } else {
        listeners.push(Box::new(plain::Plain::new(global.verbose)));
    }
    Ok(listeners)
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{count} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// Seconds as people read them.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {} s", whole / 60, whole % 60)
}

/// A derivation's name with its target: `linux (aarch64)`.
pub fn title(subject: &kiln_derivations::event::Subject) -> String {
    match subject.target {
        Some(target) => format!("{} ({target})", subject.name),
        None => subject.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(137_945_728), "137.9 MB");
        assert_eq!(seconds(0.04), "0.0 s");
        assert_eq!(seconds(59.94), "59.9 s");
        assert_eq!(seconds(125.2), "2 min 5 s");
    }
}
