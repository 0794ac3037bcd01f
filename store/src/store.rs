//! The store on this machine's disk: opened, locked, shared between threads.
//!
//! This file only ties the parts together; each part says in a file of its own
//! what it adds to [`Store`]. The layout and its rules: [`crate::layout`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use crate::durable::GroupSync;
use crate::error::{During, StoreError};
use crate::hash::{ActionKey, Digest, TreeId};
use crate::index::Index;
use crate::layout::{self, Layout};
use crate::lock::{BuildLock, ObjectLock, Shared};
use crate::session::{self, Session};

/// A user and group id.
pub type Owner = (u32, u32);

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Makes a store where there is none.
    pub create: bool,
    /// Who owns what a builder sees (files, materialised trees, scratch
    /// directories), if that is not the caller: for root, the unused uid under
    /// which builders are started.
    pub owner: Option<Owner>,
    /// Makes the index anew from the realisations, which a damaged one needs.
    pub rebuild_index: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            create: true,
            owner: None,
            rebuild_index: false,
        }
    }
}

/// A store on this machine's disk. Share it between threads by reference.
#[derive(Debug)]
pub struct Store {
    pub(crate) layout: Arc<Layout>,
    pub(crate) owner: Option<Owner>,
    index: Mutex<Index>,
    lock: ObjectLock,
    sync: Arc<GroupSync>,
    session: OnceLock<Arc<Session>>,
    starting: Mutex<()>,
}

impl Store {
    /// Opens the store at `path`, sweeping what killed processes left in it.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, StoreError> {
        let layout = Arc::new(Layout::open(path, options.create)?);
        if options.owner.is_some() {
            layout.let_traverse()?;
        }
        session::sweep(&layout)?;
        let index = if options.rebuild_index {
            Index::rebuild(&layout)?
        } else {
            Index::open(&layout)?
        };
        Ok(Self {
            lock: ObjectLock::open(&layout)?,
            owner: options.owner,
            index: Mutex::new(index),
            sync: Arc::default(),
            session: OnceLock::new(),
            starting: Mutex::new(()),
            layout,
        })
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        self.layout.path()
    }

    /// Where downloads are put until they are unpacked. Made by who needs it.
    pub fn downloads(&self) -> PathBuf {
        self.path().join(layout::DOWNLOADS)
    }

    /// Where what was read of a cache's indexes is kept; `place` is the cache's.
    /// Made by who needs it, and may be removed at any time.
    pub fn cache_directory(&self, place: &str) -> PathBuf {
        let name = Digest::of(place.as_bytes()).to_string();
        self.path().join(layout::CACHES).join(name)
    }

    /// Below which scratch stores for building again are made, by who does.
    pub fn verify_directory(&self) -> PathBuf {
        self.path().join(layout::VERIFY)
    }

    /// Where trees that should have been equal are kept for a while.
    pub fn compared(&self) -> PathBuf {
        self.path().join(layout::COMPARED)
    }

    /// Makes the index anew from the realisations, with the same answers.
    pub fn rebuild_index(&self) -> Result<(), StoreError> {
        self.index().fill_from_files(&self.layout)
    }

    /// Whether a tree is here, whole. Only [`Self::lease`] makes it stay.
    pub fn has_tree(&self, id: &TreeId) -> Result<bool, StoreError> {
        let path = layout::tree(id);
        match fs::statat(self.layout.fd(), &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).during("stat", path),
        }
    }

    /// Waits for the right to build `action`, which one thread of one process
    /// has at a time. Who waited looks first whether it is built now.
    pub fn lock_build(&self, action: &ActionKey) -> Result<BuildLock, StoreError> {
        loop {
            if let Some(lock) = BuildLock::acquire(&self.layout, action, true)? {
                return Ok(lock);
            }
        }
    }

    /// Like [`Self::lock_build`], but `None` at once if somebody builds it.
    pub fn try_lock_build(&self, action: &ActionKey) -> Result<Option<BuildLock>, StoreError> {
        BuildLock::acquire(&self.layout, action, false)
    }

    /// Directories above the store that a builder of another uid cannot pass:
    /// whoever sets [`OpenOptions::owner`] has to see to them.
    pub fn untraversable_ancestors(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut closed = Vec::new();
        for ancestor in self.path().ancestors() {
            let stat = fs::stat(ancestor).during("stat", ancestor)?;
            if stat.st_mode & 0o001 == 0 {
                closed.push(ancestor.to_owned());
            }
        }
        Ok(closed)
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps gc out; see [`crate::layout`] for when.
    pub(crate) fn share(&self) -> Result<Shared<'_>, StoreError> {
        self.lock.share()
    }

    /// This process's session, started if need be.
    pub(crate) fn session(&self) -> Result<&Arc<Session>, StoreError> {
        if let Some(session) = self.session.get() {
            return Ok(session);
        }
        let _starting = self.starting.lock().unwrap_or_else(|e| e.into_inner());
        if self.session.get().is_none() {
            let _in_use = self.share()?;
            let session = Session::start(Arc::clone(&self.layout), Arc::clone(&self.sync))?;
            let _ = self.session.set(Arc::new(session));
        }
        match self.session.get() {
            Some(session) => Ok(session),
            None => unreachable!("the session was just set, under a lock"),
        }
    }

    /// The name of this process's session, if it has begun.
    pub(crate) fn session_id(&self) -> Option<&str> {
        self.session.get().map(|session| session.id())
    }
}
