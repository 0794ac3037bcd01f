//! Locks between processes and threads, all of them `flock`.
//!
//! Such a lock belongs to the open file, not to the process: two threads that
//! open a lock file each exclude one another, a child that inherits the
//! descriptor would keep the lock (so all are close-on-exec), and a killed
//! process gives its locks back.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::hash::ActionKey;
use crate::layout::{self, GC_LOCK, Layout};

/// Opens a lock file, which is made if it is not there.
fn open(layout: &Layout, path: &str) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    fs::openat(layout.fd(), path, flags, mode).during("open lock", path)
}

/// `flock` that is not disturbed by signals.
pub(crate) fn flock(fd: BorrowedFd<'_>, operation: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| fs::flock(fd, operation))
}

/// Whether an open lock file still has a name. One that was unlinked between
/// being opened and being locked excludes nobody.
pub(crate) fn is_linked(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fs::fstat(fd)?.st_nlink > 0)
}

/// The lock between those who use objects and gc, as one process holds it.
#[derive(Debug)]
pub(crate) struct ObjectLock {
    file: OwnedFd,
    holders: Mutex<usize>,
}

impl ObjectLock {
    pub(crate) fn open(layout: &Layout) -> Result<Self, StoreError> {
        Ok(Self {
            file: open(layout, GC_LOCK)?,
            holders: Mutex::new(0),
        })
    }

    /// Keeps gc out until the guard is dropped. Cheap to nest.
    pub(crate) fn share(&self) -> Result<Shared<'_>, StoreError> {
        let mut holders = self.holders.lock().unwrap_or_else(|e| e.into_inner());
        if *holders == 0 {
            flock(self.file.as_fd(), FlockOperation::LockShared).during("lock", GC_LOCK)?;
        }
        *holders += 1;
        Ok(Shared { lock: self })
    }
}

/// Keeps gc out.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    lock: &'a ObjectLock,
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut holders = self.lock.holders.lock().unwrap_or_else(|e| e.into_inner());
        *holders -= 1;
        if *holders == 0 {
            // Unlocking an open file cannot fail.
            let _ = flock(self.lock.file.as_fd(), FlockOperation::Unlock);
        }
    }
}

/// Keeps everyone else from using objects.
#[derive(Debug)]
pub(crate) struct Exclusive {
    _file: OwnedFd,
}

/// Waits until nobody uses objects, and keeps it so until the guard is
/// dropped. The caller must not hold the lock shared.
pub(crate) fn exclude(layout: &Layout) -> Result<Exclusive, StoreError> {
    let file = open(layout, GC_LOCK)?;
    flock(file.as_fd(), FlockOperation::LockExclusive).during("lock", GC_LOCK)?;
    Ok(Exclusive { _file: file })
}

/// The right to build one action; nobody else has it until this is dropped.
#[derive(Debug)]
pub struct BuildLock {
    layout: Arc<Layout>,
    path: String,
    file: File,
}

impl BuildLock {
    /// Waits for the lock of `action`, or, unless `wait`, returns `None` if
    /// somebody has it.
    pub(crate) fn acquire(
        layout: &Arc<Layout>,
        action: &ActionKey,
        wait: bool,
    ) -> Result<Option<Self>, StoreError> {
        let path = layout::build_lock(action);
        let operation = if wait {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        loop {
            let file = open(layout, &path)?;
            match flock(file.as_fd(), operation) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                other => other.during("lock", &path)?,
            }
            if is_linked(file.as_fd()).during("stat", &path)? {
                return Ok(Some(Self {
                    layout: Arc::clone(layout),
                    path,
                    file: file.into(),
                }));
            }
        }
    }
}

impl Drop for BuildLock {
    /// The name goes while the lock is held: who waits for it sees that, and
    /// begins anew.
    fn drop(&mut self) {
        let _ = fs::unlinkat(self.layout.fd(), self.path.as_str(), AtFlags::empty());
        let _ = flock(self.file.as_fd(), FlockOperation::Unlock);
    }
}
