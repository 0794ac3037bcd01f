//! How fast bytes may go to and from caches, taken together.
//!
//! What is counted is what goes over the wire, also a second time after a cut, and
//! not what is said around it: requests, headers, lists. Whoever moved bytes
//! waits, in its own thread, until so many may have been moved.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How much may be caught up on that was not moved in time: who waits for a
/// server now and then still keeps the average.
const SLACK: Duration = Duration::from_millis(500);
/// At most this part of a second's bytes is moved at once, so that no wait is long.
const PARTS_A_SECOND: u64 = 8;
/// How often it is looked whether to wait any longer.
const NAP: Duration = Duration::from_millis(50);
/// Slower than this servers take us for dead.
const MIN_BYTES_PER_S: u64 = 10_000;

/// Bytes a second, written as `500k`, `2M` or `1G`: powers of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(u64);

/// A text that is no rate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no rate: expected bytes a second, such as `500k` or `2M`, at least `10k`")]
pub struct BadRate(String);

impl Rate {
    /// In bytes a second.
    pub fn bytes_per_s(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(text.to_owned());
        let (digits, unit) = match text.char_indices().last().ok_or_else(bad)? {
            (at, 'k') => (&text[..at], 1_000),
            (at, 'M') => (&text[..at], 1_000_000),
            (at, 'G') => (&text[..at], 1_000_000_000),
            _ => (text, 1),
        };
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let count: Option<u64> = digits.parse().ok().filter(|_| is_plain);
        let bytes = count.and_then(|count| count.checked_mul(unit));
        let bytes = bytes.filter(|bytes| *bytes >= MIN_BYTES_PER_S);
        bytes.map(Self).ok_or_else(bad)
    }
}

/// Holds transfers back, by one limit or several at a time. Copies share them.
#[derive(Clone, Default)]
pub struct Pace(Vec<Arc<Limit>>);

struct Limit {
    rate: Rate,
    begun: Instant,
    bucket: Mutex<Bucket>,
    stop: Arc<AtomicBool>,
}

impl Pace {
    /// At most `rate`, over all transfers together. Once `stop` is set nobody
    /// waits any more: there are others who end the transfers then.
    pub fn at_most(rate: Rate, stop: Arc<AtomicBool>) -> Self {
        Self(vec![Arc::new(Limit {
            rate,
            begun: Instant::now(),
            bucket: Mutex::default(),
            stop,
        })])
    }

    /// By the limits of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    /// When all that was moved may have been, since the beginning; and how long
    /// ago that was.
    #[cfg(test)]
    pub(super) fn due(&self) -> (Duration, Duration) {
        let limit = self.0.first().expect("a limit");
        let due = limit.bucket.lock().expect("no panic").due;
        (due, limit.begun.elapsed())
    }

    /// How much of `length` bytes to move at once; not none if there are any.
    pub(super) fn room(&self, length: usize) -> usize {
        let most = |limit: &Arc<Limit>| limit.rate.bytes_per_s() / PARTS_A_SECOND;
        let least = self.0.iter().map(most).min();
        let least = least.and_then(|least| usize::try_from(least).ok());
        least.map_or(length, |least| length.min(least))
    }

    /// So many bytes are moved; returns once that is not too many.
    pub(super) fn moved(&self, bytes: usize) {
        let dues: Vec<_> = self.0.iter().map(|limit| limit.take(bytes)).collect();
        for (limit, due) in self.0.iter().zip(dues) {
            limit.wait_for(due);
        }
    }

    /// The same bytes, no faster.
    pub(super) fn read<R: Read>(&self, from: R) -> Paced<R> {
        Paced {
            from,
            pace: self.clone(),
        }
    }
}

impl Limit {
    /// `bytes` are moved: when that is not too many any more, since the beginning.
    fn take(&self, bytes: usize) -> Duration {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(self.begun.elapsed(), self.rate, bytes as u64)
    }

    fn wait_for(&self, due: Duration) {
        while !self.stop.load(Ordering::Relaxed) {
            match due.checked_sub(self.begun.elapsed()) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(NAP)),
                _ => return,
            }
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = self.0.iter().map(|limit| limit.rate.0);
        f.write_str("Pace, bytes a second: ")?;
        f.debug_list().entries(rates).finish()
    }
}

/// When all that was moved may have been moved, since the beginning.
#[derive(Default, Debug)]
struct Bucket {
    due: Duration,
}

impl Bucket {
    /// `bytes` are moved at `now`. When that is not too many any more.
    fn take(&mut self, now: Duration, rate: Rate, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate.0);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.due = self.due.max(now.saturating_sub(SLACK)).saturating_add(cost);
        self.due
    }
}

/// What is read no faster than it may be.
pub(super) struct Paced<R> {
    from: R,
    pace: Pace,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.pace.room(buffer.len());
        let length = self.from.read(&mut buffer[..room])?;
        self.pace.moved(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }

    #[test]
    fn rates_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            let got = text.parse::<Rate>().ok().map(Rate::bytes_per_s);
            assert_eq!(got, expected, "{text}");
        };
        check("2M", Some(2_000_000));
        check("500k", Some(500_000));
        check("1G", Some(1_000_000_000));
        check("10000", Some(10_000));
        for bad in [
            "",
            "k",
            "9k",
            "0",
            "-1M",
            "+1M",
            "1.5M",
            "2m",
            "2MB",
            "2 M",
            "2é",
            "99999999999G",
        ] {
            check(bad, None);
        }
    }

    /// Whatever comes when: within any stretch of time no more than the rate gives
    /// and the slack lets catch up on.
    #[test]
    fn the_average_is_kept() {
        let milliseconds = Duration::from_millis;
        let rate = rate("100k");
        let mut bucket = Bucket::default();
        // One who waits each time.
        let mut now = Duration::ZERO;
        for turn in 1..=100 {
            now = bucket.take(now, rate, 12_500);
            assert_eq!(now, milliseconds(125 * turn));
        }
        // Two at once wait for each other's bytes too.
        assert_eq!(bucket.take(now, rate, 10_000), now + milliseconds(100));
        assert_eq!(bucket.take(now, rate, 10_000), now + milliseconds(200));
        // After a pause of an hour only the slack is caught up on.
        let later = now + Duration::from_secs(3600);
        assert_eq!(bucket.take(later, rate, 50_000), later);
        assert_eq!(bucket.take(later, rate, 50_000), later + milliseconds(500));
    }

    #[test]
    fn nobody_waits_once_it_is_over_or_without_a_limit() {
        let stop: Arc<AtomicBool> = Arc::default();
        let pace = Pace::at_most(rate("10k"), stop.clone());
        assert_eq!((pace.room(1 << 20), pace.room(7)), (1250, 7));
        stop.store(true, Ordering::Relaxed);
        // More than anybody would wait for.
        pace.moved(usize::MAX);
        let any = Pace::default();
        assert_eq!(any.room(1 << 20), 1 << 20);
        any.moved(usize::MAX);
    }

    /// Each limit counts all that it holds back.
    #[test]
    fn of_two_limits_both_hold() {
        let over_all = Pace::at_most(rate("1M"), Arc::default());
        let one = over_all
            .clone()
            .and(&Pace::at_most(rate("100k"), Arc::default()));
        let other = over_all
            .clone()
            .and(&Pace::at_most(rate("200k"), Arc::default()));
        let most = |pace: &Pace| pace.room(usize::MAX);
        assert_eq!((most(&one), most(&other)), (12_500, 25_000));
        one.moved(20_000);
        other.moved(20_000);
        let dues = |pace: &Pace| -> Vec<_> {
            let due = |limit: &Arc<Limit>| limit.bucket.lock().expect("no panic").due;
            pace.0.iter().map(due).collect()
        };
        let milliseconds = Duration::from_millis;
        let (one, other) = (dues(&one), dues(&other));
        assert!(one[0] >= milliseconds(40) && one[0] == other[0], "{one:?}");
        assert!(one[1] >= milliseconds(200), "{one:?}");
        assert!(other[1] >= milliseconds(100), "{other:?}");
    }

    #[test]
    fn who_waits_is_woken_by_the_end() {
        let stop: Arc<AtomicBool> = Arc::default();
        let pace = Pace::at_most(rate("10k"), stop.clone());
        let waiting = thread::spawn(move || pace.moved(usize::MAX));
        thread::sleep(NAP);
        assert!(!waiting.is_finished());
        stop.store(true, Ordering::Relaxed);
        waiting.join().expect("it returns");
    }

    #[test]
    fn what_is_read_is_the_same() {
        let content: Vec<u8> = (0..5000_u32).map(|at| at as u8).collect();
        let pace = Pace::at_most(rate("1G"), Arc::default());
        let mut got = Vec::new();
        let read = pace.read(&content[..]).read_to_end(&mut got);
        assert_eq!((read.expect("memory"), got), (5000, content));
    }
}
