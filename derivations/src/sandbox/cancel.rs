<<<<<<< HEAD
pub use crate::cancel::Cancel as CancelToken;
=======
//! Stopping builds from another thread or from a signal handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

/// Stops every run that was given a clone of it, those that start later too.
#[derive(Debug, Clone)]
pub struct CancelToken {
    event: Arc<OwnedFd>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(CancelToken {
            event: Arc::new(event),
        })
    }

    /// Cancels, for good. One `write`: safe in a signal handler.
    pub fn cancel(&self) {
        // It only fails when the counter is full, that is, cancelled already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.event, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Readable from the moment of cancellation on.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
>>>>>>> sandbox
