//! Asking work to stop, from any thread or from a signal handler.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Shared between who asks and all who have to stop, those that start later
/// too.
#[derive(Clone, Debug)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    event: Arc<OwnedFd>,
}

impl Cancel {
    /// A token that nobody has asked with yet.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            flag: Arc::default(),
            event: Arc::new(event),
        })
    }

    /// Asks to stop; there is no taking it back. A store and one `write`: safe
    /// in a signal handler.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::SeqCst);
        // It only fails when the counter is full, that is, asked already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// The flag alone, for who polls.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Readable from the moment of asking on.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
