//! When to try a place again. Pure, but for the jitter and the sleep.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use super::config::Retry;
use super::error::Problem;
use super::progress::Cancel;

const SLEEP_STEP: Duration = Duration::from_millis(50);
/// A try that brought this much has got on, and does not count.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Counts the tries of one place.
pub(super) struct Tries {
    fruitless: u32,
    all: u32,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self {
            fruitless: 0,
            all: 0,
        }
    }

    /// How long to wait before the next try; none if there shall be none.
    pub(super) fn pause(
        &mut self,
        retry: &Retry,
        problem: &Problem,
        gained_bytes: u64,
    ) -> Option<Duration> {
        self.all += 1;
        self.fruitless = if gained_bytes >= PROGRESS_BYTES {
            1
        } else {
            self.fruitless + 1
        };
        if !problem.is_temporary() || self.fruitless >= retry.tries || self.all >= retry.max_tries {
            return None;
        }
        let doubled = 1_u32 << (self.fruitless - 1).min(16);
        let pause = retry.first_pause.saturating_mul(doubled);
        let asked = match problem {
            Problem::Status {
                retry_after_s: Some(seconds),
                ..
            } => Duration::from_secs(*seconds),
            _ => Duration::ZERO,
        };
        Some(pause.max(asked).min(retry.max_pause).mul_f64(jitter()))
    }
}

/// Between one half and one: many clients that were cut off together do not
/// come back together.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0);
    0.5 + 0.5 * (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// Sleeps; wakes up when cancelled.
pub(super) fn sleep(pause: Duration, cancel: &Cancel) {
    let end = Instant::now() + pause;
    while !cancel.is_cancelled() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(SLEEP_STEP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let retry = Retry::default();
        let problem = Problem::Unreachable {
            reason: String::new(),
        };
        let mut tries = Tries::new();
        let pauses: Vec<_> = (0..4).map(|_| tries.pause(&retry, &problem, 0)).collect();
        let within = |pause: Option<Duration>, ms: u64| {
            let pause = pause.expect("a pause");
            pause <= Duration::from_millis(ms) && pause >= Duration::from_millis(ms / 2)
        };
        assert!(within(pauses[0], 500) && within(pauses[1], 1000) && within(pauses[2], 2000));
        assert_eq!(pauses[3], None);
    }

    #[test]
    fn getting_on_starts_over_but_not_for_ever() {
        let retry = Retry::default();
        let problem = Problem::Truncated {
            got_bytes: 0,
            expected_bytes: None,
            reason: None,
        };
        let mut tries = Tries::new();
        let count = (0..100)
            .take_while(|_| tries.pause(&retry, &problem, PROGRESS_BYTES).is_some())
            .count();
        assert_eq!(count, 19);
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        let pause = Tries::new().pause(&Retry::default(), &Problem::NotFound, 0);
        assert_eq!(pause, None);
    }
}
