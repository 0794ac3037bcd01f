//! A push as whoever listens sees it: how far it is, now and then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kiln_derivations::cancel::Cancel;
use kiln_derivations::event::{Event, Listener};
use kiln_store::cache::watch::Watch;

/// How often it is told.
const EVERY: Duration = Duration::from_millis(100);

/// Counts what is sent, and has it end with Ctrl-C.
pub struct Sending<'s> {
    to: &'s str,
    listener: &'s dyn Listener,
    cancel: &'s Cancel,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: u64,
    total_bytes: u64,
    told: Option<Instant>,
}

impl<'s> Sending<'s> {
    /// A push to the cache that is called `to`.
    pub fn new(to: &'s str, listener: &'s dyn Listener, cancel: &'s Cancel) -> Self {
        Self {
            to,
            listener,
            cancel,
            state: Mutex::default(),
        }
    }
}

impl Watch for Sending<'_> {
    fn expect(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.total_bytes += bytes;
    }

    fn moved(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.bytes += bytes;
        let is_over = state.bytes >= state.total_bytes;
        if !is_over && state.told.is_some_and(|told| told.elapsed() < EVERY) {
            return;
        }
        state.told = Some(Instant::now());
        let (bytes, total_bytes) = (state.bytes, state.total_bytes.max(state.bytes));
        // Under the lock, so that nobody sees it go back.
        self.listener.event(&Event::Sending {
            to: self.to.to_owned(),
            bytes,
            total_bytes,
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, u64)>>);

    impl Listener for Heard {
        fn event(&self, event: &Event) {
            let Event::Sending {
                bytes, total_bytes, ..
            } = event
            else {
                panic!("{event:?}");
            };
            self.0
                .lock()
                .expect("no panic")
                .push((*bytes, *total_bytes));
        }
    }

    #[test]
    fn the_first_and_the_last_are_told_and_few_between() {
        let (heard, cancel) = (Heard::default(), Cancel::new().expect("a descriptor"));
        let sending = Sending::new("here", &heard, &cancel);
        sending.expect(1000);
        let start = Instant::now();
        for _ in 0..1000 {
            sending.moved(1);
        }
        let heard = heard.0.lock().expect("no panic");
        assert_eq!(
            (heard.first(), heard.last()),
            (Some(&(1, 1000)), Some(&(1000, 1000)))
        );
        let most = 2 + start.elapsed().as_millis() / EVERY.as_millis();
        assert!(heard.len() as u128 <= most, "{}", heard.len());
        assert!(!sending.is_cancelled());
        cancel.cancel();
        assert!(sending.is_cancelled());
    }
}
