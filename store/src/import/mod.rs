//! Captures a directory as a tree.
//!
//! The directory may be what a hostile builder left, or be changing while it
//! is read. So everything goes through directory descriptors: no symlink is
//! followed, no path is walked twice, and what a thing is is asked of the open
//! file, not of its name. Content is always copied: a file that were taken
//! over could still be open for writing elsewhere.
//!
//! This module knows nothing of builders; what is allowed, its caller says in
//! [`Rules`].

mod capture;
mod content;
mod error;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use crate::hash::TreeId;
use crate::sources::SourceCache;
use crate::store::Store;
use crate::sys;
use crate::tree::MAX_DEPTH;

use capture::Import;
use error::Reading;

pub use error::{ImportError, Refused};

/// How much a tree may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of content, all files together.
    pub bytes: u64,
    /// Entries of all directories together.
    pub entries: u64,
    /// Directories on the way to the deepest, the root included. Never more
    /// than [`MAX_DEPTH`].
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: u64::MAX,
            entries: u64::MAX,
            depth: MAX_DEPTH,
        }
    }
}

/// Says of a path relative to the root, and whether it is a directory, whether
/// it is left out.
pub type Ignore<'a> = dyn Fn(&Path, bool) -> bool + Sync + 'a;

/// What is taken, and what is refused.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// How much there may be.
    pub limits: Limits,
    /// What is left out.
    pub ignore: Option<&'a Ignore<'a>>,
    /// Whether setuid and setgid bits are an error, or dropped as other mode
    /// bits are.
    pub refuse_special_bits: bool,
    /// Whether files and directories that deny reading to their owner are read
    /// all the same. Such directories are left open to their owner.
    pub force_readable: bool,
}

impl Rules<'_> {
    /// For what a builder left: its own files, and nothing doubtful.
    pub fn output(limits: Limits) -> Self {
        Self {
            limits,
            ignore: None,
            refuse_special_bits: true,
            force_readable: true,
        }
    }

    /// For a directory of the user's: nothing there is changed, and where it
    /// lies may give its directories bits that say nothing about them.
    pub fn source() -> Self {
        Self {
            limits: Limits::default(),
            ignore: None,
            refuse_special_bits: false,
            force_readable: false,
        }
    }
}

/// What was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The root's address.
    pub tree: TreeId,
    /// Bytes of content, all files together.
    pub bytes: u64,
    /// Entries of all directories together.
    pub entries: u64,
}

impl Store {
    /// Captures the directory that is open as `directory`.
    pub fn import(
        &self,
        directory: BorrowedFd<'_>,
        rules: &Rules<'_>,
    ) -> Result<Imported, ImportError> {
        self.import_with(directory, rules, None)
    }

    pub(crate) fn import_with(
        &self,
        directory: BorrowedFd<'_>,
        rules: &Rules<'_>,
        cache: Option<&SourceCache>,
    ) -> Result<Imported, ImportError> {
        let _in_use = self.share()?;
        let root = if rules.force_readable {
            sys::reopen_dir_forced(directory)
        } else {
            sys::open_dir(directory, b".")
        };
        // Opened anew: the caller's descriptor may have been read from, and a
        // directory is listed from where its descriptor stands.
        let root = root.reading("open", ".")?;
        Import::new(self, rules, cache).run(root)
    }
}

/// Opens a directory outside of the store by its path.
pub(crate) fn open_source(path: &Path) -> Result<OwnedFd, ImportError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).reading("open", path)
}
