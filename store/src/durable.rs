//! One `syncfs` for many callers.
//!
//! A caller needs a sync that *begins* after its own writes. While one runs,
//! all who come wait together for the next one, so that any number of threads
//! pays for at most two.

use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard};

use rustix::io::Errno;

/// The shared state of all who sync one file system.
#[derive(Debug, Default)]
pub(crate) struct GroupSync {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    begun: u64,
    running: bool,
    /// The last sync that ended, and how.
    ended: u64,
    /// The last sync that failed, and why. Kept, since a waiter may be late.
    failed: Option<(u64, Errno)>,
}

impl GroupSync {
    /// Returns when everything that was written to the file system of `fd`
    /// before the call is on the disk.
    pub(crate) fn sync(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.sync_with(|| rustix::fs::syncfs(fd))
    }

    fn sync_with(&self, sync: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut state = self.lock();
        let mine = state.begun + 1;
        while state.running && state.ended < mine {
            state = self.done.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        if state.ended >= mine {
            return state.outcome(mine);
        }
        state.begun += 1;
        state.running = true;
        drop(state);
        let result = sync();
        let mut state = self.lock();
        state.running = false;
        state.ended = state.begun;
        if let Err(error) = result {
            state.failed = Some((state.ended, error));
        }
        self.done.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl State {
    /// A failure of a later sync counts too: which write it was about, the
    /// kernel does not say.
    fn outcome(&self, mine: u64) -> Result<(), Errno> {
        match self.failed {
            Some((failed, error)) if failed >= mine => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn each_caller_gets_a_sync_that_began_after_its_write() {
        let group = GroupSync::default();
        let written = AtomicU64::new(0);
        let durable = AtomicU64::new(0);
        let syncs = AtomicU64::new(0);
        let sync = || {
            let seen = written.load(Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(1));
            durable.fetch_max(seen, Ordering::SeqCst);
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        group.sync_with(sync).expect("to sync");
                        assert!(durable.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(syncs.load(Ordering::SeqCst) < 160, "syncs were shared");
    }

    #[test]
    fn a_failure_is_told() {
        let group = GroupSync::default();
        assert_eq!(group.sync_with(|| Err(Errno::IO)), Err(Errno::IO));
        assert_eq!(group.sync_with(|| Ok(())), Ok(()));
    }
}
