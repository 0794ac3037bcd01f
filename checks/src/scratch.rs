//! Directories for one check: other users can enter them, and they go
//! afterwards.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{UNUSED_ID, is_root};

/// Where scratch directories are made: `KILN_CHECKS_DIR`, or `/var/tmp`, which
/// is a real disk and open to all users (a store is gigabytes large, and root's
/// builders run as another user).
pub fn base() -> PathBuf {
    env::var_os("KILN_CHECKS_DIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// A directory that is removed when this is dropped.
pub struct Scratch(TempDir);

impl Scratch {
    /// An empty directory of the user who runs the checks.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("kiln-check-")
            .tempdir_in(base())
            .expect("a scratch directory can be made");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it is ours");
        Self(directory)
    }

    /// An empty directory of an ordinary user: [`UNUSED_ID`] where the checks
    /// run as root.
    pub fn of_user() -> Self {
        let scratch = Self::new();
        if is_root() {
            chown(scratch.path(), Some(UNUSED_ID), Some(UNUSED_ID)).expect("root may");
        }
        scratch
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Scratch {
    /// A store has directories that nobody may write. That keeps an ordinary
    /// user from removing what is in them.
    fn drop(&mut self) {
        if !is_root() {
            open_directories(self.path());
        }
    }
}

/// Lets the owner remove what is in a directory and below. What fails here
/// stays behind, which is no reason to fail a check that is over.
fn open_directories(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o755));
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_directories(&entry.path());
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Copies a file or directory with all below it. Modes stay.
pub fn copy(from: &Path, to: &Path) {
    let kind = fs::symlink_metadata(from).unwrap_or_else(|error| panic!("{from:?}: {error}"));
    if !kind.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
        return;
    }
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("a directory can be read");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
