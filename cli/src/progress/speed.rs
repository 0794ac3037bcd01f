//! How far something is and how fast it goes, for people.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::bytes;

/// What is shown is the speed over so long a time.
const WINDOW: Duration = Duration::from_secs(5);
/// Before that has passed there is nothing to tell.
const LEAST: Duration = Duration::from_millis(500);
/// The least time between two points that are kept.
const STEP: Duration = Duration::from_millis(100);

/// How much had been moved at which times, lately.
#[derive(Default)]
pub struct Speed {
    begun: Option<Instant>,
    seen: VecDeque<(Duration, u64)>,
}

impl Speed {
    /// `120.0 MB of 1.2 GB, 3.4 MB/s`, of which `done` are moved now.
    pub fn shown(&mut self, done: u64, total: u64) -> String {
        let now = self.begun.get_or_insert_with(Instant::now).elapsed();
        let amount = format!("{} of {}", bytes(done), bytes(total));
        match self.at(now, done) {
            Some(speed) => format!("{amount}, {}/s", bytes(speed)),
            None => amount,
        }
    }

    /// Bytes a second, once that can be told.
    fn at(&mut self, now: Duration, done: u64) -> Option<u64> {
        // One point stays that is older than the window.
        while self
            .seen
            .get(1)
            .is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW)
        {
            self.seen.pop_front();
        }
        if self
            .seen
            .back()
            .is_none_or(|(then, _)| now.saturating_sub(*then) >= STEP)
        {
            self.seen.push_back((now, done));
        }
        let (then, before) = self.seen.front()?;
        rate(done.saturating_sub(*before), now.saturating_sub(*then))
    }
}

/// Bytes a second, unless it went too fast to tell.
pub fn rate(bytes: u64, time: Duration) -> Option<u64> {
    (time >= LEAST).then(|| (bytes as f64 / time.as_secs_f64()).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_speed_of_the_last_seconds() {
        let mut speed = Speed::default();
        let mut at = |milliseconds, bytes| speed.at(Duration::from_millis(milliseconds), bytes);
        assert_eq!(at(0, 0), None);
        assert_eq!(at(400, 4000), None);
        assert_eq!(at(1000, 10_000), Some(10_000));
        for second in 2..=20 {
            at(second * 1000, second * 10_000);
        }
        // It stalls: after the window nothing is left of what came before.
        assert_eq!(at(23_000, 200_000), Some(4000));
        assert_eq!(at(26_000, 200_000), Some(0));
        assert!(speed.seen.len() < 60);
    }

    #[test]
    fn it_is_shown_once_it_is_known() {
        let mut speed = Speed::default();
        assert_eq!(speed.shown(1000, 5_000_000), "1.0 kB of 5.0 MB");
        assert_eq!(rate(3_000_000, Duration::from_secs(2)), Some(1_500_000));
        assert_eq!(rate(3_000_000, Duration::from_millis(3)), None);
    }
}
