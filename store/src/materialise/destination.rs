//! A place outside of the store that something is written to as a whole.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::sys;

/// A name in an open directory.
pub(super) struct Destination {
    path: PathBuf,
    parent: OwnedFd,
    name: OsString,
}

impl Destination {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let Some(name) = path.file_name() else {
            return Err(Errno::INVAL).during("write to", path);
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            parent: fs::open(parent, flags, Mode::empty()).during("open", parent)?,
            path: path.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The directory that it is in.
    pub(super) fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Its name there.
    pub(super) fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// An error if something is there.
    pub(super) fn check_free(&self) -> Result<(), StoreError> {
        match fs::statat(&self.parent, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).during("stat", &self.path),
            Ok(_) => Err(self.taken()),
        }
    }

    /// Lets `write` make something under another name beside, and gives it the
    /// right one once it is whole.
    pub(super) fn fill(
        &self,
        replace: bool,
        write: impl FnOnce(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if !replace {
            self.check_free()?;
        }
        let beside = self.beside();
        // What has this thread's name is of one that was killed.
        sys::remove_tree(self.parent(), &beside).during("remove a leftover beside", &self.path)?;
        let written = write(&beside).and_then(|()| self.put(&beside, replace));
        if written.is_err() {
            let _ = sys::remove_tree(self.parent(), &beside);
        }
        written
    }

    fn put(&self, from: &[u8], replace: bool) -> Result<(), StoreError> {
        match self.rename(from, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if replace => self.exchange(from),
            Err(Errno::EXIST) => Err(self.taken()),
            other => other.during("rename to", &self.path),
        }
    }

    /// Puts the new in the place of the old, and only then removes that.
    fn exchange(&self, from: &[u8]) -> Result<(), StoreError> {
        self.rename(from, RenameFlags::EXCHANGE)
            .during("rename to", &self.path)?;
        sys::remove_tree(self.parent(), from).during("remove the former", &self.path)
    }

    fn rename(&self, from: &[u8], flags: RenameFlags) -> Result<(), Errno> {
        fs::renameat_with(&self.parent, from, &self.parent, self.name(), flags)
    }

    /// A name beside it that no other living thread has. Not made of its own:
    /// that may have all of 255 bytes.
    fn beside(&self) -> Vec<u8> {
        let thread = rustix::thread::gettid().as_raw_pid();
        format!(".kiln-new-{thread}").into_bytes()
    }

    fn taken(&self) -> StoreError {
        StoreError::Exists {
            path: self.path.clone(),
        }
    }
}
