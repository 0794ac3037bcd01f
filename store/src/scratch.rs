//! Scratch directories of builders.
//!
//! A builder may leave anything in its directory: trees too deep for any path,
//! directories that deny everything. So it is removed through descriptors, and
//! what a killed process left is swept by the next open.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{self, Mode, RenameFlags};

use crate::error::{During, StoreError};
use crate::layout::{BUILD, FAILED};
use crate::session::Session;
use crate::store::Store;
use crate::sys;

/// The longest name that is taken over into the directory's.
const MAX_NAME_BYTES: usize = 100;

/// An empty directory for a builder, which owns it; removed when dropped.
#[derive(Debug)]
pub struct BuildDir {
    session: Arc<Session>,
    path: String,
    fd: OwnedFd,
    kept: bool,
}

impl Store {
    /// Makes a scratch directory of mode 0700. `name` is for people: it is
    /// part of the path, but for whatever a path cannot hold.
    pub fn new_build_dir(&self, name: &str) -> Result<BuildDir, StoreError> {
        let session = Arc::clone(self.session()?);
        let path = format!("{BUILD}/{}-{}", session.unique_name(), plain(name));
        let store = self.layout.fd();
        fs::mkdirat(store, &path, Mode::RWXU).during("create", &path)?;
        let fd = sys::open_dir(store, path.as_bytes()).during("open", &path)?;
        let dir = BuildDir {
            session,
            path,
            fd,
            kept: false,
        };
        sys::give(dir.fd(), self.owner).during("chown", &dir.path)?;
        Ok(dir)
    }

    /// Where [`BuildDir::keep_failed`] keeps what has this name.
    pub fn failed_dir(&self, name: &str) -> PathBuf {
        self.path().join(failed(name))
    }
}

fn failed(name: &str) -> String {
    format!("{FAILED}/{}", plain(name))
}

impl BuildDir {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.session.layout().path().join(&self.path)
    }

    /// It, open: what is done through this cannot be led elsewhere.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes a directory in it, owned and opened like itself.
    pub fn make_dir(&self, store: &Store, name: &str) -> Result<File, StoreError> {
        let path = format!("{}/{name}", self.path);
        fs::mkdirat(&self.fd, name, Mode::RWXU).during("create", &path)?;
        let dir = sys::open_dir(self.fd(), name.as_bytes()).during("open", &path)?;
        sys::give(dir.as_fd(), store.owner).during("chown", &path)?;
        Ok(dir.into())
    }

    /// Keeps it as `failed/NAME`, in place of the one kept before, and says
    /// where that is.
    pub fn keep_failed(mut self, name: &str) -> Result<PathBuf, StoreError> {
        let layout = Arc::clone(self.session.layout());
        let kept = failed(name);
        // Its `..` changes, for which the builder may have left no right.
        fs::fchmod(&self.fd, Mode::RWXU).during("chmod", &self.path)?;
        sys::remove_tree(layout.fd(), kept.as_bytes()).during("remove", &kept)?;
        let flags = RenameFlags::NOREPLACE;
        fs::renameat_with(layout.fd(), &self.path, layout.fd(), &kept, flags)
            .during("rename to", &kept)?;
        self.kept = true;
        Ok(layout.path().join(kept))
    }

    /// Removes it now, and says whether that worked; dropping says nothing.
    pub fn remove(mut self) -> Result<(), StoreError> {
        self.kept = true;
        self.clear()
    }

    fn clear(&self) -> Result<(), StoreError> {
        let store = self.session.layout().fd();
        sys::remove_tree(store, self.path.as_bytes()).during("remove", &self.path)
    }
}

impl Drop for BuildDir {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is swept when this session is over.
            let _ = self.clear();
        }
    }
}

/// `name` as one harmless component of a path.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "._+-@".contains(c);
    let plain = name.chars().map(|c| if keep(c) { c } else { '_' });
    let plain: String = plain.take(MAX_NAME_BYTES).collect();
    match plain.as_str() {
        "" | "." | ".." => "_".to_owned(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_harmless_component() {
        let check = |name: &str, expected: &str| assert_eq!(plain(name), expected);
        check("musl-1.2.5", "musl-1.2.5");
        check("../../etc/passwd", ".._.._etc_passwd");
        check("..", "_");
        check("", "_");
        check("a b\n\u{fc}", "a_b__");
    }

    #[test]
    fn what_is_kept_is_found_by_its_name_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = crate::store::OpenOptions::default();
        let store = Store::open(directory.path(), &options).expect("a store");
        for name in ["musl", "linux@gcc-x86_64", "a/b"] {
            let build = store.new_build_dir(name).expect("it is made");
            let kept = build.keep_failed(name).expect("it is kept");
            assert_eq!(kept, store.failed_dir(name));
        }
    }
}
