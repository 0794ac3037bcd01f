//! Many files beside each other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::error::FetchError;
use super::fetcher::Fetcher;
use super::progress::{Cancel, FetchProgress};
use super::{FetchRequest, Fetched};

impl Fetcher {
    /// Fetches all of `requests`, at most `parallel` at a time, and hands each
    /// outcome to `done` with its place in the list, as it comes and on the
    /// thread that fetched it: so that decoding runs beside fetching. What is
    /// begun when one fails goes on; whether to cancel is the caller's choice.
    pub fn fetch_many(
        &self,
        requests: &[FetchRequest],
        parallel: usize,
        progress: &dyn FetchProgress,
        cancel: &Cancel,
        done: impl Fn(usize, Result<Fetched, FetchError>) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        let work = || {
            while !cancel.is_cancelled() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(index) else {
                    return;
                };
                done(index, self.fetch(request, progress, cancel));
            }
        };
        thread::scope(|scope| {
            for _ in 0..parallel.clamp(1, requests.len().max(1)) {
                scope.spawn(work);
            }
        });
    }

    /// The same, with all outcomes in order. What was not begun before it was
    /// cancelled is an error that says so.
    pub fn fetch_all(
        &self,
        requests: &[FetchRequest],
        parallel: usize,
        progress: &dyn FetchProgress,
        cancel: &Cancel,
    ) -> Vec<Result<Fetched, FetchError>> {
        let cancelled = |request: &FetchRequest| {
            Err(FetchError::Cancelled {
                name: request.name.clone(),
            })
        };
        let outcomes: Vec<_> = requests.iter().map(|r| Mutex::new(cancelled(r))).collect();
        self.fetch_many(requests, parallel, progress, cancel, |index, outcome| {
            if let Ok(mut slot) = outcomes[index].lock() {
                *slot = outcome;
            }
        });
        let outcomes = outcomes.into_iter();
        outcomes
            .map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner()))
            .collect()
    }
}
