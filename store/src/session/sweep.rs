//! Finds out which sessions live, and cleans up after those that died.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::record::Record;
use crate::error::{During, StoreError};
use crate::layout::{BUILD, LEASES, Layout, TMP};
use crate::lock::{self, flock, is_linked};
use crate::{recover, sys};

/// A lease file whose session died; nobody else sweeps it while this is held.
struct Dead {
    path: String,
    _lock: OwnedFd,
    /// What it said, if it came to say anything.
    record: Option<Record>,
}

/// Removes what dead sessions left, and mends what a power cut did.
pub(crate) fn sweep(layout: &Layout) -> Result<(), StoreError> {
    if !dead(layout)?.is_empty() {
        bury(layout)?;
    }
    for directory in [TMP, BUILD] {
        for name in sys::names(layout.fd(), directory).during("list", directory)? {
            // Another open may be at it too; what stays, the next one sees.
            let _ = remove_orphan(layout, directory, &name);
        }
    }
    Ok(())
}

/// What all living sessions say. The caller keeps everyone else out.
pub(crate) fn live(layout: &Layout) -> Result<Vec<(String, Record)>, StoreError> {
    let mut records = Vec::new();
    for name in sys::names(layout.fd(), LEASES).during("list", LEASES)? {
        let path = format!("{LEASES}/{name}");
        let Some(file) = open(layout, &path)? else {
            continue;
        };
        if flock(file.as_fd(), FlockOperation::NonBlockingLockShared).is_ok() {
            continue;
        }
        // A living session that cannot be understood must not be guessed at.
        let record = read(file, &path)?.ok_or_else(|| StoreError::NotAStore {
            path: layout.path().join(&path),
            reason: "a living session's lease is malformed".to_owned(),
        })?;
        records.push((name, record));
    }
    Ok(records)
}

/// Looks at dead sessions once more, alone, so that nobody uses objects which
/// are about to be judged.
fn bury(layout: &Layout) -> Result<(), StoreError> {
    let _alone = lock::exclude(layout)?;
    let dead = dead(layout)?;
    let (here, elsewhere): (Vec<_>, Vec<_>) = dead
        .iter()
        .filter_map(|dead| dead.record.as_ref())
        .filter(|record| record.writes)
        .partition(|record| record.boot == layout.boot());
    if let Some(start) = elsewhere.iter().map(|record| record.start).min() {
        recover::after_power_cut(layout, start)?;
    }
    if !here.is_empty() || !elsewhere.is_empty() {
        // What a killed process wrote is whole, but maybe only in memory.
        fs::syncfs(layout.fd()).during("sync", layout.path())?;
    }
    for dead in &dead {
        fs::unlinkat(layout.fd(), &dead.path, AtFlags::empty()).during("remove", &dead.path)?;
    }
    Ok(())
}

fn dead(layout: &Layout) -> Result<Vec<Dead>, StoreError> {
    let mut all = Vec::new();
    for name in sys::names(layout.fd(), LEASES).during("list", LEASES)? {
        let path = format!("{LEASES}/{name}");
        let Some(file) = open(layout, &path)? else {
            continue;
        };
        if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_linked(file.as_fd()).during("stat", &path)?
        {
            continue;
        }
        let copy = file.try_clone().during("duplicate", &path)?;
        let record = read(copy, &path)?;
        all.push(Dead {
            path,
            _lock: file,
            record,
        });
    }
    Ok(all)
}

fn open(layout: &Layout, path: &str) -> Result<Option<OwnedFd>, StoreError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match fs::openat(layout.fd(), path, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(Some).during("open", path),
    }
}

fn read(file: OwnedFd, path: &str) -> Result<Option<Record>, StoreError> {
    let mut bytes = Vec::new();
    File::from(file)
        .read_to_end(&mut bytes)
        .during("read", path)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(Record::parse))
}

/// Removes something whose name begins with a session that has no lease. A
/// session makes its lease before anything else and removes it after.
fn remove_orphan(layout: &Layout, directory: &str, name: &str) -> Result<(), StoreError> {
    let session = name.split('-').next().unwrap_or(name);
    let lease = format!("{LEASES}/{session}");
    let path = format!("{directory}/{name}");
    match fs::statat(layout.fd(), &lease, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => sys::remove_tree(layout.fd(), path.as_bytes()).during("remove", &path),
        Err(error) => Err(error).during("stat", &lease),
    }
}
