//! Puts a tree into a directory: one walk, two forms.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::contents::{self, FileKey};
use crate::blobs::read_directory;
use crate::error::{During, StoreError};
use crate::hash::{ContentId, TreeId};
use crate::layout;
use crate::parallel::{Step, Walk, walk};
use crate::store::{Owner, Store};
use crate::sys;
use crate::tree::{Entry, MAX_DEPTH, Node};

/// Files that one task makes.
const FILES_PER_TASK: usize = 64;

const DIRECTORY_MODE: u32 = 0o755;

/// What the entries become.
pub(super) struct Form {
    owner: Option<Owner>,
    /// Whether files are blobs.
    linked: bool,
    modes: Modes,
    /// The inodes that may not be linked (any more).
    taken: Mutex<HashSet<FileKey>>,
}

impl Form {
    /// Links of blobs, but for those in `taken`.
    pub(super) fn linked(owner: Option<Owner>, taken: HashSet<FileKey>) -> Self {
        Self {
            owner,
            linked: true,
            modes: Modes::ReadOnly,
            taken: Mutex::new(taken),
        }
    }

    /// Copies with ordinary modes.
    pub(super) fn copied(owner: Option<Owner>) -> Self {
        Self {
            owner,
            linked: false,
            modes: Modes::Ordinary,
            taken: Mutex::default(),
        }
    }

    /// Copies with the modes that links would have.
    pub(super) fn copied_as_linked(owner: Option<Owner>) -> Self {
        Self {
            modes: Modes::ReadOnly,
            ..Self::copied(owner)
        }
    }

    fn mode(&self, executable: bool) -> u32 {
        match (self.modes, executable) {
            (Modes::ReadOnly, false) => 0o444,
            (Modes::ReadOnly, true) => 0o555,
            (Modes::Ordinary, _) => copied_mode(executable),
        }
    }

    /// Whether an entry becomes a link: the first of its content does.
    fn links(&self, entry: &Entry) -> bool {
        let Some(key) = contents::key(entry).filter(|_| self.linked) else {
            return false;
        };
        let mut taken = self.taken.lock().unwrap_or_else(|e| e.into_inner());
        taken.insert(key)
    }
}

#[derive(Clone, Copy)]
enum Modes {
    /// As in the store.
    ReadOnly,
    /// For users and for builders that change their source.
    Ordinary,
}

/// In which order the entries of a directory are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// By name.
    Sorted,
    /// By name, the last one first.
    Reversed,
}

/// The mode of a file outside of the store.
pub(super) const fn copied_mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

/// Makes the directory `name` in `parent` and puts `tree` into it. On failure
/// a part of it is left.
pub(super) fn place(
    store: &Store,
    tree: &TreeId,
    parent: BorrowedFd<'_>,
    name: &[u8],
    form: Form,
) -> Result<(), StoreError> {
    let parent = parent.try_clone_to_owned().during("duplicate", ".")?;
    let root = Job::Directory(Target {
        parent: Arc::new(parent),
        name: name.to_vec(),
        tree: *tree,
        depth: 1,
    });
    walk(&Placing { store, form }, root)
}

/// [`place`], one entry after the other, in the order of their names or the
/// reverse: where the file system lists a directory in the order in which its
/// entries were made, a builder sees that order.
pub(super) fn place_in_order(
    store: &Store,
    tree: &TreeId,
    parent: BorrowedFd<'_>,
    name: &[u8],
    form: Form,
    order: Order,
) -> Result<(), StoreError> {
    let parent = parent.try_clone_to_owned().during("duplicate", ".")?;
    let placing = Placing { store, form };
    placing.in_order(
        &Target {
            parent: Arc::new(parent),
            name: name.to_vec(),
            tree: *tree,
            depth: 1,
        },
        order,
    )
}

struct Placing<'a> {
    store: &'a Store,
    form: Form,
}

/// A directory that is to be made.
struct Target {
    parent: Arc<OwnedFd>,
    name: Vec<u8>,
    tree: TreeId,
    depth: usize,
}

enum Job {
    Directory(Target),
    Leaves(Arc<OwnedFd>, Vec<Entry>),
}

impl Walk for Placing<'_> {
    type Job = Job;
    type State = Arc<OwnedFd>;
    type Out = ();
    type Error = StoreError;

    fn enter(&self, job: Job) -> Result<Step<Self>, StoreError> {
        match job {
            Job::Directory(target) => self.directory(&target),
            Job::Leaves(directory, entries) => {
                let mut entries = entries.iter();
                entries.try_for_each(|entry| self.leaf(directory.as_fd(), entry))?;
                Ok(Step::Done(()))
            }
        }
    }

    /// Times come last: making an entry changes that of its directory.
    fn leave(&self, directory: Arc<OwnedFd>, _: Vec<()>) -> Result<(), StoreError> {
        fs::futimens(&directory, &sys::FIXED_TIMES).during("set the time of", "directory")
    }
}

impl Placing<'_> {
    fn in_order(&self, target: &Target, order: Order) -> Result<(), StoreError> {
        if target.depth > MAX_DEPTH {
            return Err(StoreError::TooDeep { tree: target.tree });
        }
        let mut entries = read_directory(&self.store.layout, &target.tree)?.into_entries();
        if order == Order::Reversed {
            entries.reverse();
        }
        let fd = Arc::new(self.make(target).during("create", lossy(&target.name))?);
        for entry in entries {
            let Node::Directory { tree } = entry.node else {
                self.leaf(fd.as_fd(), &entry)?;
                continue;
            };
            let below = Target {
                parent: Arc::clone(&fd),
                name: entry.name.as_bytes().to_vec(),
                tree,
                depth: target.depth + 1,
            };
            self.in_order(&below, order)?;
        }
        self.leave(fd, Vec::new())
    }

    fn directory(&self, target: &Target) -> Result<Step<Self>, StoreError> {
        if target.depth > MAX_DEPTH {
            return Err(StoreError::TooDeep { tree: target.tree });
        }
        let directory = read_directory(&self.store.layout, &target.tree)?;
        let fd = Arc::new(self.make(target).during("create", lossy(&target.name))?);
        let mut jobs = Vec::new();
        let mut leaves = Vec::new();
        for entry in directory.into_entries() {
            match entry.node {
                Node::Directory { tree } => jobs.push(Job::Directory(Target {
                    parent: Arc::clone(&fd),
                    name: entry.name.as_bytes().to_vec(),
                    tree,
                    depth: target.depth + 1,
                })),
                _ => leaves.push(entry),
            }
        }
        let tasks = leaves.chunks(FILES_PER_TASK);
        jobs.extend(tasks.map(|task| Job::Leaves(Arc::clone(&fd), task.to_vec())));
        Ok(Step::Children(fd, jobs))
    }

    fn make(&self, target: &Target) -> Result<OwnedFd, Errno> {
        let mode = Mode::from_raw_mode(DIRECTORY_MODE);
        fs::mkdirat(&target.parent, target.name.as_slice(), mode)?;
        let fd = sys::open_dir(target.parent.as_fd(), &target.name)?;
        // The mode above went through the umask.
        fs::fchmod(&fd, mode)?;
        sys::give(fd.as_fd(), self.form.owner)?;
        Ok(fd)
    }

    fn leaf(&self, directory: BorrowedFd<'_>, entry: &Entry) -> Result<(), StoreError> {
        let name = entry.name.as_bytes();
        match &entry.node {
            Node::File {
                content,
                executable,
                ..
            } => {
                if self.form.links(entry) && self.link(content, *executable, directory, name)? {
                    return Ok(());
                }
                self.copy(content, *executable, directory, name)
            }
            Node::Symlink { target } => self
                .symlink(target, directory, name)
                .during("create link", lossy(name)),
            Node::Directory { .. } => unreachable!("directories are tasks of their own"),
        }
    }

    /// Links a blob; false if its inode has no room for one more.
    fn link(
        &self,
        content: &ContentId,
        executable: bool,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<bool, StoreError> {
        let blob = layout::blob(content, executable);
        let link = || {
            let from = self.store.layout.fd();
            fs::linkat(from, blob.as_str(), directory, name, AtFlags::empty())
        };
        let linked = match link() {
            Err(Errno::NOENT) => {
                self.store.ensure_mode(content, executable)?;
                link()
            }
            other => other,
        };
        match linked {
            Err(Errno::MLINK) => Ok(false),
            other => other.map(|()| true).during("link", &blob),
        }
    }

    fn copy(
        &self,
        content: &ContentId,
        executable: bool,
        directory: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), StoreError> {
        let mode = self.form.mode(executable);
        copy_file(self.store, content, directory, name, mode, self.form.owner)
    }

    fn symlink(&self, target: &[u8], directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        fs::symlinkat(target, directory, name)?;
        sys::give_at(directory, name, self.form.owner)?;
        sys::fix_time(directory, name)
    }
}

/// Makes the file `name` in `directory`, with an inode of its own.
pub(super) fn copy_file(
    store: &Store,
    content: &ContentId,
    directory: BorrowedFd<'_>,
    name: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> Result<(), StoreError> {
    let mut from = store.open_content(content)?;
    let mut write = || -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
        sys::copy_content(&mut from, &mut file)?;
        fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        sys::give(file.as_fd(), owner)?;
        Ok(fs::futimens(&file, &sys::FIXED_TIMES)?)
    };
    write().during("write", lossy(name))
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
