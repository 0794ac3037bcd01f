//! How to start bubblewrap: the host's, or a pinned one through its own loader.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

/// A bubblewrap that was found; that it works, [`super::probe`] tells.
#[derive(Debug, Clone)]
pub struct Bwrap {
    /// What is executed: bubblewrap itself or the loader of its root.
    program: PathBuf,
    /// Arguments before bubblewrap's own, the program's name first.
    prefix: Vec<OsString>,
    /// Start a sealed copy, since the builder's uid might own the file.
    copied: bool,
}

impl Bwrap {
    /// The bubblewrap at `path` on the host.
    pub fn host(path: &Path) -> io::Result<Bwrap> {
        let program = fs::canonicalize(path)?;
        let copied = fs::metadata(&program)?.uid() != 0;
        Ok(Bwrap {
            prefix: vec![program.clone().into()],
            program,
            copied,
        })
    }

    /// The first `bwrap` in `search_path`, which is written like `$PATH`.
    pub fn in_path(search_path: &OsStr) -> Option<Bwrap> {
        std::env::split_paths(search_path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("bwrap"))
            .filter(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
            .find_map(|path| Bwrap::host(&path).ok())
    }

    /// The bubblewrap of a materialised root, run through that root's loader
    /// and with its libraries, whatever the host has.
    pub fn pinned(root: &Path) -> io::Result<Bwrap> {
        let root = fs::canonicalize(root)?;
        let program = find_in(&root, LOADERS)?;
        let bwrap = find_in(&root, &["usr/bin/bwrap", "bin/bwrap"])?;
        let mut libraries = OsString::new();
        for directory in LIBRARIES
            .iter()
            .filter_map(|path| find_in(&root, &[path]).ok())
        {
            if !libraries.is_empty() {
                libraries.push(":");
            }
            libraries.push(directory);
        }
        let prefix = vec![
            "bwrap".into(),
            "--library-path".into(),
            libraries,
            bwrap.into_os_string(),
        ];
        Ok(Bwrap {
            program,
            prefix,
            copied: true,
        })
    }

    /// The file that is executed.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The words that start it, to be followed by bubblewrap's options.
    pub fn prefix(&self) -> &[OsString] {
        &self.prefix
    }

    /// The program, open to be executed.
    ///
    /// A builder can reach the running bubblewrap as `/proc/1/exe`, outside of
    /// any read-only mount. If its uid owned that file it could change it for
    /// every later build (the way of CVE-2019-5736). So such a file is copied
    /// to sealed memory; a new copy each time, since even its mode could be
    /// changed by the builder.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        if !self.copied {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            return Ok(rustix::fs::open(&self.program, flags, Mode::empty())?);
        }
        sealed_copy(&self.program, "bwrap")
    }
}

/// A copy of a program that nobody can change, in memory and executable.
pub(super) fn sealed_copy(program: &Path, name: &str) -> io::Result<OwnedFd> {
    sealed(name, |copy| {
        io::copy(&mut File::open(program)?, copy).map(drop)
    })
}

/// A program that nobody can change any more once `write` has written it.
pub(super) fn sealed(
    name: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let mut copy = File::from(executable_memory(name)?);
    write(&mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}

fn executable_memory(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels since 6.3 want to hear that it is meant to be executed, earlier
    // ones do not know the flag.
    let created = rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC);
    Ok(created.or_else(|_| rustix::fs::memfd_create(name, flags))?)
}

/// An anonymous file that holds `bytes` and is read from its start.
pub(super) fn memory_file(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

pub(super) fn c_string(word: &OsStr) -> io::Result<CString> {
    CString::new(word.as_bytes()).map_err(io::Error::from)
}

#[cfg(target_arch = "aarch64")]
const LOADERS: &[&str] = &[
    "lib/ld-linux-aarch64.so.1",
    "usr/lib/ld-linux-aarch64.so.1",
    "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
];
#[cfg(not(target_arch = "aarch64"))]
const LOADERS: &[&str] = &[
    "lib64/ld-linux-x86-64.so.2",
    "usr/lib64/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
];

#[cfg(target_arch = "aarch64")]
const LIBRARIES: &[&str] = &[
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib",
];
#[cfg(not(target_arch = "aarch64"))]
const LIBRARIES: &[&str] = &[
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
];

/// The first of `paths` that is there and does not lead out of `root`.
fn find_in(root: &Path, paths: &[&str]) -> io::Result<PathBuf> {
    let inside = |path: &&str| {
        fs::canonicalize(root.join(path))
            .ok()
            .filter(|p| p.starts_with(root))
    };
    paths.iter().find_map(inside).ok_or_else(|| {
        let wanted = root.join(paths[0]);
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is not there", wanted.display()),
        )
    })
}
