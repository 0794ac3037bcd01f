//! Watches that a body gets on.

use std::time::{Duration, Instant};

use crate::cache::patience::Patience;

/// Counts bytes, and the time that was waited for them. The time that others
/// take to do something with them is not the server's.
#[derive(Debug)]
pub(super) struct Speed {
    window: Duration,
    min_bytes_per_s: u64,
    waited: Duration,
    bytes: u64,
}

impl Speed {
    pub(super) fn new(patience: &Patience) -> Self {
        Self {
            window: patience.speed_window,
            min_bytes_per_s: patience.min_bytes_per_s,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// `bytes` came since `start`. False if that goes too slowly.
    pub(super) fn count(&mut self, start: Instant, bytes: usize) -> bool {
        self.waited += start.elapsed();
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return true;
        }
        let least = self.min_bytes_per_s as f64 * self.waited.as_secs_f64();
        let is_enough = self.bytes as f64 >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_enough
    }
}
