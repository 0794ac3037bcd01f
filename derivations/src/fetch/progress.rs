//! What a fetch tells while it runs, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::Attempt;

/// Hears how fetches get on. All calls about one file come from one thread at a
/// time; files run beside each other.
pub trait FetchProgress: Sync {
    /// A file is begun. `total_bytes` is its size, if it was pinned.
    fn begun(&self, name: &str, total_bytes: Option<u64>) {
        let _ = (name, total_bytes);
    }

    /// So many bytes of it are there. May go back to zero when a new place
    /// starts over.
    fn advanced(&self, name: &str, bytes: u64) {
        let _ = (name, bytes);
    }

    /// A place failed; it is tried again, or the next one is.
    fn failed(&self, name: &str, attempt: &Attempt) {
        let _ = (name, attempt);
    }

    /// The file is there and verified, or every place failed.
    fn ended(&self, name: &str, success: bool) {
        let _ = (name, success);
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl FetchProgress for Silent {}

/// Stops whatever was given a clone of it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A token around a flag that somebody else sets, a signal handler say.
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
