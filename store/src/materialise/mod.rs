//! Trees as directories.
//!
//! Inside the store, for sandboxes: hard links of blobs, made once and kept
//! under `mat/` ([`Store::checkout`]). Within one sandbox no two entries may
//! share an inode, or tools that look for hard links would write other images:
//! so the second entry of a content within a tree is a copy, and a tree that is
//! used together with others gets a *variant* of its own, in which what the
//! others have too is copied ([`Store::checkout_set`]).
//!
//! Outside of the store, for users and for builders that change their source:
//! copies, which share blocks where the file system can, and never an inode
//! ([`Store::export`], [`Store::copy_to`]).

mod contents;
mod destination;
mod place;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::hash::{ContentId, TreeId};
use crate::layout::MATERIALISED;
use crate::lease::Lease;
use crate::store::Store;
use crate::sys;

use contents::Contents;
use destination::Destination;
pub use place::Order;
use place::{Form, place, place_in_order};

/// A tree as a directory that nobody may write to. It stays as long as this
/// lives.
#[derive(Debug)]
pub struct Checkout {
    path: PathBuf,
    lease: Lease,
}

impl Checkout {
    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tree that it shows.
    pub fn tree(&self) -> TreeId {
        self.lease.tree()
    }
}

impl AsRef<Path> for Checkout {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Shows a tree as a directory, on its own.
    pub fn checkout(&self, tree: &TreeId) -> Result<Checkout, StoreError> {
        self.checkout_without(tree, &Contents::default())
    }

    /// Shows several trees as directories that can stand in one sandbox: no
    /// two entries of any of them share an inode.
    pub fn checkout_set(&self, trees: &[TreeId]) -> Result<Vec<Checkout>, StoreError> {
        let mut linked = HashSet::new();
        let mut checkouts = Vec::with_capacity(trees.len());
        for tree in trees {
            // Held so that the tree stays while its contents are listed.
            let _lease = self.lease(tree)?;
            let contents = self.contents(tree)?;
            let (taken, free) = contents.split(&linked);
            checkouts.push(self.checkout_without(tree, &taken)?);
            linked.extend(free);
        }
        Ok(checkouts)
    }

    /// Shows a tree with copies, not links, of the contents in `taken`.
    fn checkout_without(&self, tree: &TreeId, taken: &Contents) -> Result<Checkout, StoreError> {
        let _in_use = self.share()?;
        let lease = self.lease(tree)?;
        self.note_use(std::slice::from_ref(tree))?;
        let path = self.materialised_path(tree, &taken.variant())?;
        if !self.exists(&path)? {
            self.materialise(tree, &path, taken)?;
        }
        Ok(Checkout {
            path: self.layout.path().join(path),
            lease,
        })
    }

    fn materialise(&self, tree: &TreeId, path: &str, taken: &Contents) -> Result<(), StoreError> {
        let temporary = self.session()?.temporary_path();
        let form = Form::linked(self.owner, taken.keys());
        let fd = self.layout.fd();
        let made = place(self, tree, fd, temporary.as_bytes(), form).and_then(|()| {
            let flags = RenameFlags::NOREPLACE;
            match fs::renameat_with(fd, &temporary, fd, path, flags) {
                Err(Errno::EXIST) => self.discard(&temporary),
                other => other.during("rename to", path),
            }
        });
        if made.is_err() {
            let _ = self.discard(&temporary);
        }
        made
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        match fs::statat(self.layout.fd(), path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).during("stat", path),
        }
    }

    fn discard(&self, path: &str) -> Result<(), StoreError> {
        sys::remove_tree(self.layout.fd(), path.as_bytes()).during("remove", path)
    }

    /// Where a tree is shown under this boot.
    fn materialised_path(&self, tree: &TreeId, suffix: &str) -> Result<String, StoreError> {
        let directory = format!("{MATERIALISED}/{}", self.layout.boot());
        let mode = Mode::from_raw_mode(0o711);
        match fs::mkdirat(self.layout.fd(), &directory, mode) {
            Ok(()) => fs::chmodat(self.layout.fd(), &directory, mode, AtFlags::empty())
                .during("chmod", &directory)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).during("create", &directory),
        }
        Ok(format!("{directory}/{tree}{suffix}"))
    }

    /// The contents of a tree's files, listed once a boot.
    fn contents(&self, tree: &TreeId) -> Result<Contents, StoreError> {
        let path = self.materialised_path(tree, ".contents")?;
        let absolute = self.layout.path().join(&path);
        match std::fs::read(&absolute) {
            Ok(bytes) => return Ok(Contents::decode(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).during("read", &path),
        }
        let contents = contents::list(self, tree)?;
        let temporary = self.session()?.temporary_path();
        std::fs::write(self.layout.path().join(&temporary), contents.encode())
            .during("write", &temporary)?;
        let fd = self.layout.fd();
        fs::renameat(fd, &temporary, fd, &path).during("rename to", &path)?;
        Ok(contents)
    }

    /// Copies a tree to `dest`, for the user: ordinary modes, the constant
    /// time. Whatever is at `dest` is kept, unless `replace`.
    pub fn export(&self, tree: &TreeId, dest: &Path, replace: bool) -> Result<(), StoreError> {
        let _lease = self.lease(tree)?;
        let dest = Destination::open(dest)?;
        dest.fill(replace, |name| {
            place(self, tree, dest.parent(), name, Form::copied(None))
        })
    }

    /// Copies a file to `dest`, for the user. Whatever is at `dest` is kept,
    /// unless `replace`. The caller holds a lease on a tree that it is in.
    pub fn export_file(
        &self,
        content: &ContentId,
        executable: bool,
        dest: &Path,
        replace: bool,
    ) -> Result<(), StoreError> {
        let dest = Destination::open(dest)?;
        let mode = place::copied_mode(executable);
        dest.fill(replace, |name| {
            place::copy_file(self, content, dest.parent(), name, mode, None)
        })
    }

    /// Copies a tree to `dest`, which must not exist, for a builder to change:
    /// files 0644 or 0755, the constant time, owned by the builder.
    pub fn copy_to(&self, tree: &TreeId, dest: &Path) -> Result<(), StoreError> {
        let _lease = self.lease(tree)?;
        let dest = Destination::open(dest)?;
        dest.check_free()?;
        let form = Form::copied(self.owner);
        place(self, tree, dest.parent(), dest.name(), form)
    }

    /// Copies a tree to `dest`, which must not exist, for a builder to read or,
    /// if `writable`, to change: with the modes that [`Self::checkout_set`] or
    /// [`Self::copy_to`] give, but no file linked, and made in `order`.
    pub fn copy_in_order(
        &self,
        tree: &TreeId,
        dest: &Path,
        order: Order,
        writable: bool,
    ) -> Result<(), StoreError> {
        let _lease = self.lease(tree)?;
        let dest = Destination::open(dest)?;
        dest.check_free()?;
        let form = match writable {
            true => Form::copied(self.owner),
            false => Form::copied_as_linked(self.owner),
        };
        place_in_order(self, tree, dest.parent(), dest.name(), form, order)
    }
}
