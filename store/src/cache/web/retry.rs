//! When to ask again. Pure, but for the jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::cache::patience::Patience;

/// A try that brought this much has got on, and does not count.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Counts the tries of one operation.
#[derive(Debug, Default)]
pub(in crate::cache) struct Tries {
    fruitless: u32,
    all: u32,
    waited: Duration,
}

impl Tries {
    /// How long to wait before the next try; none if there shall be none.
    /// `asked` is how long the server wants to be left alone.
    pub(super) fn pause(
        &mut self,
        patience: &Patience,
        asked: Option<Duration>,
        gained_bytes: u64,
    ) -> Option<Duration> {
        self.all += 1;
        if gained_bytes >= PROGRESS_BYTES {
            (self.fruitless, self.waited) = (0, Duration::ZERO);
        }
        self.fruitless += 1;
        if self.fruitless >= patience.tries || self.all >= patience.max_tries {
            return None;
        }
        let doubled = 1_u32 << (self.fruitless - 1).min(16);
        let own = patience.first_pause.saturating_mul(doubled);
        let own = own.min(patience.max_pause).mul_f64(jitter());
        // Who comes before a server wants it is told the same again.
        let pause = own.max(asked.unwrap_or_default());
        self.waited = self.waited.saturating_add(pause);
        (self.waited <= patience.max_waiting).then_some(pause)
    }

    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.all
    }
}

/// Between one half and one: many clients that were cut off together do not
/// come back together.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0);
    0.5 + 0.5 * (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let patience = Patience::default();
        let mut tries = Tries::default();
        for ms in [500, 1000, 2000, 4000] {
            let pause = tries.pause(&patience, None, 0).expect("a pause");
            let longest = Duration::from_millis(ms);
            assert!(
                pause <= longest && pause >= longest / 2,
                "{pause:?} of {ms} ms"
            );
        }
        assert_eq!(tries.pause(&patience, None, 0), None);
    }

    #[test]
    fn all_waiting_together_is_bounded() {
        let patience = Patience::default();
        let asked = Some(Duration::from_secs(25));
        let mut tries = Tries::default();
        assert_eq!(tries.pause(&patience, asked, 0), asked);
        assert_eq!(tries.pause(&patience, asked, 0), asked);
        assert_eq!(tries.pause(&patience, asked, 0), None);
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(Tries::default().pause(&patience, hour, 0), None);
    }

    #[test]
    fn getting_on_starts_over_but_not_for_ever() {
        let patience = Patience::default();
        let mut tries = Tries::default();
        let pauses = (0..100).map(|_| tries.pause(&patience, None, PROGRESS_BYTES));
        assert_eq!(pauses.take_while(Option::is_some).count(), 19);
    }
}
