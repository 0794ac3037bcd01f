//! A cache as a directory of files, which any web server can serve.
//!
//! ```text
//! ROOT/packs/0a/0a1b….pack     a file, under its name
//! ROOT/packs/0a/.tmp-PID-N-R   a file that is being written, or was when its
//!                              writer was killed; no name begins with a dot
//! ```
//!
//! Writers write to a name of their own, sync, rename, and sync the directory.
//! So a reader sees all of a file or nothing, also after a power cut, and of two
//! writers the later one wins. Nothing is locked: it works on file systems of
//! other machines.
//!
//! No symbolic link below the root is followed: whoever may write to the cache
//! shall not choose what else of this machine is read, served or overwritten.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::cache::backend::{Body, ByteRange, Kind, Listed, Source};
use crate::cache::files::Files;
use crate::cache::name::Name;
use crate::cache::pace::Pace;

mod stored;

pub(super) use stored::Stored;

/// With what the names of files begin that are being written.
const TEMPORARY: &str = ".tmp-";
/// How much is written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A directory.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    written: AtomicU64,
    random: RandomState,
    pace: Pace,
}

/// What is found on the way to a file.
enum Found<T> {
    It(T),
    Nothing,
}

/// What is done with a file: the directory it is in, its name there, its path
/// below the root, and its metadata.
type Visit<'v> = dyn FnMut(&OwnedFd, &str, &str, &Stat) -> Result<(), Kind> + 'v;

impl Directory {
    /// The cache at `root`, which has to be there when it is used.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            written: AtomicU64::new(0),
            random: RandomState::new(),
            pace: Pace::default(),
        }
    }

    /// The same, read and written no faster than that.
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The root itself may be a link: it was chosen by who configured it.
    fn open_root(&self) -> Result<OwnedFd, Kind> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        sys::open(&self.root, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => {
                let why = "there is no such directory; create it, or mount what it is on";
                io::Error::new(io::ErrorKind::NotFound, why).into()
            }
            errno => kind(errno),
        })
    }

    /// The directory that `name` is in, and what it is called there.
    fn parent<'n>(&self, name: &'n Name) -> Result<Found<(OwnedFd, &'n str)>, Kind> {
        let mut parts: Vec<&str> = name.as_str().split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let mut directory = self.open_root()?;
        for part in parts {
            match open_directory(&directory, part)? {
                Found::It(inner) => directory = inner,
                Found::Nothing => return Ok(Found::Nothing),
            }
        }
        Ok(Found::It((directory, last)))
    }

    /// The same, made where it is missing.
    fn make_parent<'n>(&self, name: &'n Name) -> Result<(OwnedFd, &'n str), Kind> {
        let mut parts: Vec<&str> = name.as_str().split('/').collect();
        let last = parts.pop().unwrap_or_default();
        let mut directory = self.open_root()?;
        for part in parts {
            let mode = Mode::from_raw_mode(0o777);
            match sys::mkdirat(&directory, part, mode) {
                Ok(()) => sys::fsync(&directory).map_err(kind)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(kind(errno)),
            }
            directory = match open_directory(&directory, part)? {
                Found::It(inner) => inner,
                Found::Nothing => {
                    let why = format!("`{part}` is no directory");
                    return Err(Kind::Refused(why));
                }
            };
        }
        Ok((directory, last))
    }

    fn open_file(&self, name: &Name) -> Result<Found<(File, u64)>, Kind> {
        let Found::It((directory, last)) = self.parent(name)? else {
            return Ok(Found::Nothing);
        };
        // What is no file, a pipe above all, must not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match sys::openat(&directory, last, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::LOOP) => return Err(link(last)),
            Err(errno) => return Err(kind(errno)),
        };
        let stat = sys::fstat(&fd).map_err(kind)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Found::It((File::from(fd), size_of(&stat)))),
            FileType::Directory => Ok(Found::Nothing),
            _ => Err(Kind::Refused(format!("`{last}` is no file"))),
        }
    }

    /// Unique on this machine by process and count, and among the machines that
    /// share the directory by chance.
    fn temporary_name(&self) -> String {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let random = self.random.hash_one((count, SystemTime::now()));
        format!("{TEMPORARY}{}-{count}-{random:016x}", std::process::id())
    }

    /// Visits every regular file, by its path below the root, in directories
    /// that `prefix` may lead to.
    fn walk(
        &self,
        directory: &OwnedFd,
        path: &str,
        prefix: &str,
        visit: &mut Visit<'_>,
    ) -> Result<(), Kind> {
        for entry in Dir::read_from(directory).map_err(kind)? {
            let entry = entry.map_err(kind)?;
            let Ok(part) = entry.file_name().to_str() else {
                continue;
            };
            if part == "." || part == ".." {
                continue;
            }
            let stat = match sys::statat(directory, part, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Removed a moment ago.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(kind(errno)),
            };
            let below = format!("{path}{part}");
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => visit(directory, part, &below, &stat)?,
                FileType::Directory if may_lead(&below, prefix) => {
                    if let Found::It(inner) = open_directory(directory, part)? {
                        self.walk(&inner, &format!("{below}/"), prefix, visit)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Files for Directory {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, Kind> {
        let Found::It((mut file, size)) = self.open_file(name)? else {
            return Ok(None);
        };
        let (start, length) = match range {
            None => (0, size),
            Some(ByteRange { start, length }) => (start, length.min(size.saturating_sub(start))),
        };
        if range.is_some() && length == 0 {
            let why = format!("it has {size} bytes, none from {start} on");
            return Err(Kind::Refused(why));
        }
        file.seek(SeekFrom::Start(start))?;
        Ok(Some(Body {
            length: Some(length),
            content: Box::new(self.pace.read(file.take(length))),
        }))
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, Kind> {
        match self.open_file(name)? {
            Found::It((_, size)) => Ok(Some(size)),
            Found::Nothing => Ok(None),
        }
    }

    fn put(&self, name: &Name, content: &mut dyn Source, size_bytes: u64) -> Result<(), Kind> {
        content.rewind()?;
        let (directory, last) = self.make_parent(name)?;
        let temporary = self.temporary_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let fd = sys::openat(&directory, temporary.as_str(), flags, mode).map_err(kind)?;
        let done = copy(content, &mut File::from(fd), size_bytes, &self.pace).and_then(|()| {
            sys::renameat(&directory, temporary.as_str(), &directory, last).map_err(kind)
        });
        if done.is_err() {
            // What stays is swept later.
            let _ = sys::unlinkat(&directory, temporary.as_str(), AtFlags::empty());
        }
        done?;
        sys::fsync(&directory).map_err(kind)
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, Kind> {
        let mut listed = Vec::new();
        let root = self.open_root()?;
        self.walk(&root, "", prefix, &mut |_, _, path, stat| {
            if let Ok(name) = Name::new(path)
                && path.starts_with(prefix)
            {
                listed.push(Listed {
                    name,
                    size_bytes: size_of(stat),
                    modified: modified(stat),
                });
            }
            Ok(())
        })?;
        Ok(Some(listed))
    }

    fn remove(&self, name: &Name) -> Result<(), Kind> {
        let Found::It((directory, last)) = self.parent(name)? else {
            return Ok(());
        };
        match sys::unlinkat(&directory, last, AtFlags::empty()) {
            // A directory is no file of this name.
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(kind(errno)),
        }
    }

    fn sweep(&self, age: Duration) -> Result<u64, Kind> {
        let now = SystemTime::now();
        let mut count = 0;
        let root = self.open_root()?;
        self.walk(&root, "", "", &mut |directory, part, _, stat| {
            let is_old = now
                .duration_since(modified(stat))
                .is_ok_and(|past| past >= age);
            if part.starts_with(TEMPORARY) && is_old {
                match sys::unlinkat(directory, part, AtFlags::empty()) {
                    Ok(()) => count += 1,
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(kind(errno)),
                }
            }
            Ok(())
        })?;
        Ok(count)
    }
}

/// Opens a directory in another, not through a link.
fn open_directory(directory: &OwnedFd, part: &str) -> Result<Found<OwnedFd>, Kind> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match sys::openat(directory, part, flags, Mode::empty()) {
        Ok(inner) => Ok(Found::It(inner)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        // A file has nothing below it; what a link has is not the cache's.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let stat = sys::statat(directory, part, AtFlags::SYMLINK_NOFOLLOW).map_err(kind)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => Err(link(part)),
                _ => Ok(Found::Nothing),
            }
        }
        Err(errno) => Err(kind(errno)),
    }
}

fn copy(
    content: &mut dyn Source,
    file: &mut File,
    size_bytes: u64,
    pace: &Pace,
) -> Result<(), Kind> {
    let mut limited = pace.read(content.take(size_bytes.saturating_add(1)));
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut copied = 0_u64;
    loop {
        match limited.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                file.write_all(&buffer[..length])?;
                copied += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let why = format!("what is to be written cannot be read: {error}");
                return Err(Kind::Refused(why));
            }
        }
    }
    if copied != size_bytes {
        let why = format!("expected {size_bytes} bytes, got {copied}");
        return Err(Kind::Refused(why));
    }
    file.sync_all()?;
    Ok(())
}

fn kind(errno: Errno) -> Kind {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied(errno.to_string()),
        Errno::ISDIR | Errno::NOTDIR | Errno::NAMETOOLONG => Kind::Refused(errno.to_string()),
        errno => Kind::Unreachable(errno.into()),
    }
}

fn link(part: &str) -> Kind {
    Kind::Refused(format!(
        "`{part}` is a symbolic link, which a cache has none of"
    ))
}

/// Whether a directory may have files whose names begin with `prefix`.
fn may_lead(directory: &str, prefix: &str) -> bool {
    let directory = format!("{directory}/");
    let shared = directory.len().min(prefix.len());
    directory.as_bytes()[..shared] == prefix.as_bytes()[..shared]
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn modified(stat: &Stat) -> SystemTime {
    let since = Duration::new(
        u64::try_from(stat.st_mtime).unwrap_or_default(),
        u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    );
    UNIX_EPOCH + since
}

#[cfg(test)]
mod tests;
