//! Removes trees that somebody hostile may have made: deeper than any path can
//! name, with directories that deny everything to their owner.
//!
//! Directories are entered through descriptors, a few levels at a time. What
//! lies deeper is first renamed up to the top, so that neither the stack nor
//! the number of descriptors grows with the depth. The directories of the top
//! are emptied in parallel, since one unlink mostly waits for the journal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};
use rustix::fs::{self, AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::{for_each_entry, open_dir_forced};

/// Levels that are entered before what lies deeper is renamed to the top.
const LEVELS: usize = 16;
/// Unlinking waits far more than it works: with eight threads it took 53 µs a
/// file where one thread took 1.7 ms.
const THREADS: usize = 8;

/// Removes `name` in `parent`, whatever it is. That it is not there is fine.
/// Nobody else may be working in the tree.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let removal = Removal {
        top: open_dir_forced(parent, name)?,
        hoisted: AtomicU64::new(0),
        failure: Mutex::new(None),
    };
    pool()?.scope(|scope| {
        let emptied = removal.empty(scope, removal.top.as_fd(), 0);
        removal.note(emptied);
    });
    let failure = removal.failure.into_inner();
    match failure.unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(error) => Err(error),
        None => fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
    }
}

struct Removal {
    top: OwnedFd,
    /// How many directories were renamed into the top.
    hoisted: AtomicU64,
    failure: Mutex<Option<Errno>>,
}

impl Removal {
    /// Removes everything in `dir`, which stands `level` directories below the
    /// top.
    fn empty<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: BorrowedFd<'_>,
        level: usize,
    ) -> Result<(), Errno> {
        let mut directories = Vec::new();
        for_each_entry(dir, |name, kind| {
            if kind == FileType::Directory {
                directories.push(name.to_vec());
                return Ok(());
            }
            match fs::unlinkat(dir, name, AtFlags::empty()) {
                // The file system did not tell the type.
                Err(Errno::ISDIR) => directories.push(name.to_vec()),
                Err(Errno::NOENT) => {}
                other => return other,
            }
            Ok(())
        })?;
        directories
            .into_iter()
            .try_for_each(|name| self.remove_directory(scope, dir, name, level))
    }

    fn remove_directory<'s>(
        &'s self,
        scope: &Scope<'s>,
        parent: BorrowedFd<'_>,
        name: Vec<u8>,
        level: usize,
    ) -> Result<(), Errno> {
        match level {
            0 => self.spawn(scope, name),
            LEVELS.. => self.hoist(scope, parent, &name)?,
            _ => {
                let dir = open_dir_forced(parent, &name)?;
                self.empty(scope, dir.as_fd(), level + 1)?;
                fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
            }
        }
        Ok(())
    }

    /// Removes the directory `name` of the top on whichever thread is free.
    fn spawn<'s>(&'s self, scope: &Scope<'s>, name: Vec<u8>) {
        scope.spawn(move |scope| {
            let removed = open_dir_forced(self.top.as_fd(), &name)
                .and_then(|dir| self.empty(scope, dir.as_fd(), 1))
                .and_then(|()| fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR));
            self.note(removed);
        });
    }

    /// Renames a directory from far below into the top.
    fn hoist<'s>(
        &'s self,
        scope: &Scope<'s>,
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), Errno> {
        // Renaming changes its `..`, for which it has to be writable.
        open_dir_forced(parent, name)?;
        loop {
            let number = self.hoisted.fetch_add(1, Ordering::Relaxed);
            let hoisted = format!(".kiln-removing-{number}");
            let flags = RenameFlags::NOREPLACE;
            match fs::renameat_with(parent, name, &self.top, hoisted.as_str(), flags) {
                Err(Errno::EXIST) => {}
                other => {
                    other?;
                    self.spawn(scope, hoisted.into_bytes());
                    return Ok(());
                }
            }
        }
    }

    fn note(&self, result: Result<(), Errno>) {
        if let Err(error) = result {
            let mut failure = self.failure.lock().unwrap_or_else(|e| e.into_inner());
            failure.get_or_insert(error);
        }
    }
}

/// Threads that mostly wait.
pub(crate) fn pool() -> Result<&'static ThreadPool, Errno> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let build = || {
        ThreadPoolBuilder::new()
            .num_threads(THREADS)
            .thread_name(|_| "remove".to_owned())
            .build()
            .ok()
    };
    POOL.get_or_init(build).as_ref().ok_or(Errno::AGAIN)
}
