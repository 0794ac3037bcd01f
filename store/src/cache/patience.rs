//! How long a server is waited for, and how often it is asked again. Plain data.

use std::time::Duration;

/// How long a server is waited for, and how often it is asked again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To look up a name and to connect.
    pub connect: Duration,
    /// Until the first byte of an answer.
    pub response: Duration,
    /// Between two bytes of a body, in either direction.
    pub stall: Duration,
    /// The time over which the least speed is measured.
    pub speed_window: Duration,
    /// The least speed of a body, in bytes a second.
    pub min_bytes_per_s: u64,
    /// Tries without getting on. One that brought a mebibyte does not count.
    pub tries: u32,
    /// Tries altogether.
    pub max_tries: u32,
    /// The pause after the first; doubled each time.
    pub first_pause: Duration,
    /// The longest pause that is chosen here. A server may ask for a longer one.
    pub max_pause: Duration,
    /// All pauses of one operation together. A server that asks for more is
    /// busy.
    pub max_waiting: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            response: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            speed_window: Duration::from_secs(30),
            min_bytes_per_s: 2048,
            tries: 5,
            max_tries: 20,
            first_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(15),
            max_waiting: Duration::from_secs(60),
        }
    }
}
