//! Small things asked of Linux through directory descriptors.
//!
//! Nothing here knows of stores or objects. No function follows a symlink, and
//! none takes a path of more than one component from outside of the store.

mod copy;
mod remove;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, Timespec, Timestamps};
use rustix::io::Errno;

use crate::store::Owner;
use crate::tree::MTIME_S;

pub(crate) use copy::{copy_content, write_sparse};
pub(crate) use remove::{pool as removal_pool, remove_tree};

/// The one time that files, links and directories of the store have.
pub(crate) const FIXED_TIMES: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: MTIME_S,
        tv_nsec: 0,
    },
    last_modification: Timespec {
        tv_sec: MTIME_S,
        tv_nsec: 0,
    },
};

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the directory `name` in `parent`; a symlink is an error.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat(parent, name, OPEN_DIR, Mode::empty())
}

/// Opens the directory `name` in `parent` even where its mode denies that to
/// its owner, and leaves it open to the owner. The mode is changed through a
/// descriptor that was proven to be a directory, so that nothing else is hit.
pub(crate) fn open_dir_forced(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let dir = match open_dir(parent, name) {
        Err(Errno::ACCESS) => {
            let path = fs::openat(parent, name, OPEN_DIR | OFlags::PATH, Mode::empty())?;
            let mode = Mode::from_raw_mode(fs::fstat(&path)?.st_mode);
            fs::chmod(proc_path(path.as_fd()), mode | Mode::RWXU)?;
            reopen_dir(path.as_fd())?
        }
        other => other?,
    };
    permit_owner(dir.as_fd())?;
    Ok(dir)
}

/// Opens the directory `dir` anew, to be read from its beginning, and leaves
/// it open to its owner as [`open_dir_forced`] does.
pub(crate) fn reopen_dir_forced(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    permit_owner(dir)?;
    reopen_dir(dir)
}

fn reopen_dir(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    fs::open(proc_path(dir), OPEN_DIR - OFlags::NOFOLLOW, Mode::empty())
}

/// Lets the owner of a directory list, change and enter it. Its special bits
/// stay, for whoever judges those.
fn permit_owner(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(fs::fstat(dir)?.st_mode);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    fs::fchmod(dir, mode | Mode::RWXU)
}

/// Opens the regular file `name` in `parent` for reading. Never blocks, as a
/// fifo put in its place would, and never follows a symlink.
pub(crate) fn open_file(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat(parent, name, OPEN_FILE, Mode::empty())
}

const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Like [`open_file`], for a file whose mode denies its owner to read it. The
/// mode is changed for the moment of opening and then put back, so that what
/// the caller sees of it is what was there.
pub(crate) fn open_file_forced(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = fs::openat(parent, name, flags, Mode::empty())?;
    let stat = fs::fstat(&path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    fs::chmod(proc_path(path.as_fd()), mode | Mode::RUSR)?;
    let flags = OPEN_FILE - OFlags::NOFOLLOW;
    let opened = fs::open(proc_path(path.as_fd()), flags, Mode::empty());
    fs::chmod(proc_path(path.as_fd()), mode)?;
    opened
}

/// The path under which the kernel reaches exactly this open file.
fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Calls `each` with the name and the type (possibly unknown) of all entries
/// of `dir`, from where its offset stands, but `.` and `..`.
pub(crate) fn for_each_entry<E: From<Errno>>(
    dir: BorrowedFd<'_>,
    mut each: impl FnMut(&[u8], FileType) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            each(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// The names in the directory at `path` below `parent`; empty if there is no
/// such directory.
pub(crate) fn names(parent: BorrowedFd<'_>, path: &str) -> Result<Vec<String>, Errno> {
    let dir = match open_dir(parent, path.as_bytes()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for_each_entry(dir.as_fd(), |name, _| -> Result<(), Errno> {
        // The store names its own files in ASCII; others are not its business.
        names.extend(std::str::from_utf8(name).ok().map(str::to_owned));
        Ok(())
    })?;
    Ok(names)
}

/// Sets the time of `name` in `parent` (the link itself, if it is one).
pub(crate) fn fix_time(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    fs::utimensat(parent, name, &FIXED_TIMES, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives an open file to `owner`, if there is one.
pub(crate) fn give(fd: BorrowedFd<'_>, owner: Option<Owner>) -> Result<(), Errno> {
    match owner {
        Some((uid, gid)) => fs::fchown(fd, Some(user(uid)), Some(group(gid))),
        None => Ok(()),
    }
}

/// Gives `name` in `parent` (the link itself, if it is one) to `owner`.
pub(crate) fn give_at(
    parent: BorrowedFd<'_>,
    name: &[u8],
    owner: Option<Owner>,
) -> Result<(), Errno> {
    let Some((uid, gid)) = owner else {
        return Ok(());
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    fs::chownat(parent, name, Some(user(uid)), Some(group(gid)), flags)
}

fn user(uid: u32) -> fs::Uid {
    fs::Uid::from_raw(uid)
}

fn group(gid: u32) -> fs::Gid {
    fs::Gid::from_raw(gid)
}

/// Identifies this boot of the machine: what was written under another one
/// and not synced may be lost.
pub(crate) fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().replace('-', ""))
}
