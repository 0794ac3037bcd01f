//! A file while it is being written: it gets its name only when it is whole.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Session;
use crate::error::{During, StoreError};
use crate::layout::Layout;
use crate::store::Owner;
use crate::sys;

/// A file in the session's temporary directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Temporary<'a> {
    layout: &'a Layout,
    path: String,
    file: File,
    named: bool,
}

impl<'a> Temporary<'a> {
    pub(crate) fn create(session: &'a Session) -> Result<Self, StoreError> {
        let path = session.temporary_path();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = fs::openat(session.layout.fd(), &path, flags, Mode::RUSR | Mode::WUSR);
        Ok(Self {
            layout: &session.layout,
            file: file.during("create", &path)?.into(),
            path,
            named: false,
        })
    }

    /// The file, for content that is not at hand as a whole.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is, relative to the store.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).during("write", &self.path)
    }

    /// Closes the file and keeps it, to be gone on with.
    pub(crate) fn set_aside(mut self) -> Aside<'a> {
        self.named = true;
        Aside {
            layout: self.layout,
            path: std::mem::take(&mut self.path),
        }
    }

    /// Gives an object its mode, owner, time and name. If the name is taken,
    /// which is `false`, then by the same content: objects are named by it.
    pub(crate) fn publish(
        mut self,
        path: &str,
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<bool, StoreError> {
        let fd = self.file.as_fd();
        fs::fchmod(fd, Mode::from_raw_mode(mode)).during("chmod", &self.path)?;
        sys::give(fd, owner).during("chown", &self.path)?;
        fs::futimens(fd, &sys::FIXED_TIMES).during("set the time of", &self.path)?;
        match self.rename(path) {
            Err(Errno::NOENT) => {
                self.make_parent(path)?;
                self.rename(path).during("rename to", path)
            }
            other => other.during("rename to", path),
        }
    }

    /// Gives the file its name, in place of what had it. Where that has to be
    /// durable, the caller syncs before this and the directory after.
    pub(crate) fn replace(mut self, path: &str) -> Result<(), StoreError> {
        let fd = self.layout.fd();
        fs::renameat(fd, self.path.as_str(), fd, path).during("rename to", path)?;
        self.named = true;
        Ok(())
    }

    /// `false` if the name is taken.
    fn rename(&mut self, path: &str) -> Result<bool, Errno> {
        let fd = self.layout.fd();
        let flags = RenameFlags::NOREPLACE;
        match fs::renameat_with(fd, self.path.as_str(), fd, path, flags) {
            Ok(()) => self.named = true,
            Err(Errno::EXIST) => return Ok(false),
            // Some file systems know no flags; a link never replaces either.
            Err(Errno::INVAL) => return self.link(path),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn link(&self, path: &str) -> Result<bool, Errno> {
        let fd = self.layout.fd();
        match fs::linkat(fd, self.path.as_str(), fd, path, AtFlags::empty()) {
            Err(Errno::EXIST) => Ok(false),
            other => other.map(|()| true),
        }
    }

    fn make_parent(&self, path: &str) -> Result<(), StoreError> {
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        match fs::mkdirat(self.layout.fd(), parent, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            other => other.during("create", parent),
        }
    }
}

/// A temporary file that is not open: thousands may be half-written.
#[derive(Debug)]
pub(crate) struct Aside<'a> {
    layout: &'a Layout,
    path: String,
}

impl<'a> Aside<'a> {
    /// Opens the file again.
    pub(crate) fn resume(mut self) -> Result<Temporary<'a>, StoreError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::openat(self.layout.fd(), &self.path, flags, Mode::empty());
        Ok(Temporary {
            layout: self.layout,
            file: file.during("open", &self.path)?.into(),
            path: std::mem::take(&mut self.path),
            named: false,
        })
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if !self.path.is_empty() {
            let _ = fs::unlinkat(self.layout.fd(), self.path.as_str(), AtFlags::empty());
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::unlinkat(self.layout.fd(), self.path.as_str(), AtFlags::empty());
        }
    }
}
