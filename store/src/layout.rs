//! Where everything of a store lies, and the rules by which it is touched.
//!
//! ```text
//! STORE/                      0700 (0711 if a builder of another uid passes)
//! ├── version                 "kiln store 1\n", written last: it makes a store
//! ├── blobs/ab/HEX            content of files, HEX its BLAKE3, mode 0444
//! ├── blobs/ab/HEXx           the same for executables, mode 0555
//! ├── trees/ab/HEX            canonical directories
//! ├── realisations/HEX        canonical signed realisations: the source of truth
//! ├── roots/HEX               registered roots, HEX the digest of their name
//! ├── keys/HEX                what signing keys were heard to say of themselves
//! ├── kiln.db                 index over realisations; derived, can be rebuilt
//! ├── mat/BOOT/HEX[-VARIANT]  trees as directories, hard links of blobs; a cache
//! ├── leases/SESSION          who is alive and what it uses; flocked by its owner
//! ├── locks/HEX               flocked while that action is built
//! ├── gc.lock                 shared: something is written or leased; exclusive: gc
//! ├── tmp/SESSION/            half-written things
//! ├── build/SESSION-N-NAME/   scratch directories of builders
//! ├── failed/NAME/            those that were kept
//! ├── logs/HEX.log[.zst]      build logs by action
//! ├── results/HEX             copies of trees for users, what `result` links to
//! ├── downloads/               what is being downloaded, and git repositories
//! ├── caches/HEX/              what was read of a cache's indexes, HEX its place's
//! ├── verify/PID/              scratch stores of what is built again
//! ├── verify/kept/NAME/        two trees that should have been equal
//! └── sources/HEX             what the last import of a local source saw
//! ```
//!
//! **Objects** (`blobs`, `trees`) are written to `tmp` and renamed, so a name
//! that exists has its whole content. A directory is written after all that it
//! names, and gc removes directories before what they name: a directory that
//! exists has its whole tree.
//!
//! **Power cuts.** Objects are not synced one by one. `register` syncs the file
//! system once before it writes a realisation, and a session syncs before its
//! lease goes. A lease that is left over from another boot therefore says that
//! objects since its start may be hollow; the next open rehashes those and
//! removes the bad ones (`recover.rs`). Nothing in `mat` is ever synced,
//! so it is valid only for the boot in its name.
//!
//! **Concurrency.** Any number of processes and threads work in a store. Each
//! process has a session: a lease file that it keeps flocked. Whoever writes an
//! object, or finds one present and relies on it, holds `gc.lock` shared
//! meanwhile and refreshes the object's ctime. gc holds it exclusive and takes
//! nothing that is reachable from a root, from a lease, from an output within
//! the keep window, or whose ctime is not before the start of every live
//! session.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::hash::{ActionKey, ContentId, RealisationId, TreeId};
use crate::sys;

/// The version of the layout drawn above.
pub const STORE_VERSION: u32 = 1;

const VERSION_FILE: &str = "version";
const VERSION_BEGUN: &str = "version.new";
const VERSION_PREFIX: &str = "kiln store ";

pub(crate) const BLOBS: &str = "blobs";
pub(crate) const TREES: &str = "trees";
pub(crate) const REALISATIONS: &str = "realisations";
pub(crate) const ROOTS: &str = "roots";
pub(crate) const INDEX: &str = "kiln.db";
pub(crate) const MATERIALISED: &str = "mat";
pub(crate) const LEASES: &str = "leases";
pub(crate) const LOCKS: &str = "locks";
pub(crate) const GC_LOCK: &str = "gc.lock";
pub(crate) const TMP: &str = "tmp";
pub(crate) const BUILD: &str = "build";
pub(crate) const FAILED: &str = "failed";
pub(crate) const LOGS: &str = "logs";
pub(crate) const SOURCES: &str = "sources";
pub(crate) const RESULTS: &str = "results";
pub(crate) const DOWNLOADS: &str = "downloads";
pub(crate) const VERIFY: &str = "verify";
pub(crate) const CACHES: &str = "caches";
pub(crate) const KEYS: &str = "keys";
pub(crate) const COMPARED: &str = "verify/kept";

const DIRECTORIES: [&str; 13] = [
    BLOBS,
    TREES,
    REALISATIONS,
    ROOTS,
    MATERIALISED,
    LEASES,
    LOCKS,
    TMP,
    BUILD,
    FAILED,
    LOGS,
    SOURCES,
    RESULTS,
];

/// The directories on the way to what a builder sees.
const TRAVERSED: [&str; 4] = [".", MATERIALISED, BUILD, FAILED];

/// A store's directory, open, of a version that is understood.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    fd: OwnedFd,
    boot: String,
}

impl Layout {
    /// Opens the store at `path`; makes one if `create` and there is nothing.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        if create {
            make_directory(path)?;
        }
        let fd = fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .during("open", path)?;
        let layout = Self {
            path: std::path::absolute(path).during("resolve", path)?,
            fd,
            boot: sys::boot_id().during("read", "boot_id")?,
        };
        layout.check_owner()?;
        if layout.version()?.is_none() {
            if !create {
                return Err(layout.not_a_store("it has no file `version`"));
            }
            layout.initialise()?;
        }
        layout.check_version()?;
        Ok(layout)
    }

    /// Where the store lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The store's directory, from which the paths below lead.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Under which boot of the machine this is.
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// Opens one of the store's own directories.
    pub(crate) fn directory(&self, path: &str) -> Result<OwnedFd, StoreError> {
        sys::open_dir(self.fd(), path.as_bytes()).during("open", path)
    }

    /// Makes what a builder sees reachable for a uid that is not ours.
    pub(crate) fn let_traverse(&self) -> Result<(), StoreError> {
        let mode = Mode::from_raw_mode(0o711);
        TRAVERSED.iter().try_for_each(|path| {
            fs::chmodat(&self.fd, *path, mode, AtFlags::empty()).during("chmod", path)
        })
    }

    fn version(&self) -> Result<Option<u32>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match fs::openat(&self.fd, VERSION_FILE, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.during("open", VERSION_FILE)?,
        };
        let mut text = String::new();
        std::fs::File::from(file)
            .take(64)
            .read_to_string(&mut text)
            .during("read", VERSION_FILE)?;
        match parse_version(&text) {
            Some(version) => Ok(Some(version)),
            None => Err(self.not_a_store("its file `version` is not kiln's")),
        }
    }

    fn check_version(&self) -> Result<(), StoreError> {
        match self.version()? {
            Some(found) if found > STORE_VERSION => Err(StoreError::Newer {
                path: self.path.clone(),
                found,
                supported: STORE_VERSION,
            }),
            _ => Ok(()),
        }
    }

    fn check_owner(&self) -> Result<(), StoreError> {
        let owner = fs::fstat(&self.fd).during("stat", &self.path)?.st_uid;
        let user = rustix::process::geteuid().as_raw();
        if owner == user {
            return Ok(());
        }
        Err(StoreError::ForeignOwner {
            path: self.path.clone(),
            owner,
            user,
        })
    }

    /// Makes a store of an empty directory, or of one in which this was begun.
    fn initialise(&self) -> Result<(), StoreError> {
        let _alone = self.exclude_makers()?;
        if self.version()?.is_some() {
            return Ok(());
        }
        let ours = |name: &str| DIRECTORIES.contains(&name) || name == VERSION_BEGUN;
        let present = sys::names(self.fd(), ".").during("list", &self.path)?;
        if let Some(name) = present.iter().find(|name| !ours(name)) {
            return Err(self.not_a_store(&format!("it holds `{name}` and no file `version`")));
        }
        for name in DIRECTORIES {
            match fs::mkdirat(&self.fd, name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                other => other.during("create", name)?,
            }
        }
        self.write_version()
    }

    /// Keeps everyone else from making a store here, until it is dropped.
    fn exclude_makers(&self) -> Result<OwnedFd, StoreError> {
        let own = sys::open_dir(self.fd(), b".").during("open", &self.path)?;
        let exclusive = fs::FlockOperation::LockExclusive;
        rustix::io::retry_on_intr(|| fs::flock(&own, exclusive)).during("lock", &self.path)?;
        Ok(own)
    }

    fn write_version(&self) -> Result<(), StoreError> {
        let text = format!("{VERSION_PREFIX}{STORE_VERSION}\n");
        let begun = self.path.join(VERSION_BEGUN);
        std::fs::write(&begun, text).during("write", &begun)?;
        // Before it is renamed, or a power cut could leave a store whose
        // version is empty.
        fs::syncfs(&self.fd).during("sync", &self.path)?;
        fs::renameat(&self.fd, VERSION_BEGUN, &self.fd, VERSION_FILE).during("rename", &begun)?;
        fs::fsync(&self.fd).during("sync", &self.path)
    }

    fn not_a_store(&self, reason: &str) -> StoreError {
        StoreError::NotAStore {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).during("create", parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).during("chmod", path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).during("create", path),
    }
}

fn parse_version(text: &str) -> Option<u32> {
    let number = text.strip_prefix(VERSION_PREFIX)?.strip_suffix('\n')?;
    number.parse().ok()
}

/// Where a file's content lies, under one of its two modes.
pub(crate) fn blob(content: &ContentId, executable: bool) -> String {
    let suffix = if executable { "x" } else { "" };
    sharded(BLOBS, &content.to_string(), suffix)
}

/// Where an encoded directory lies.
pub(crate) fn tree(id: &TreeId) -> String {
    sharded(TREES, &id.to_string(), "")
}

/// Where a signed realisation lies.
pub(crate) fn realisation(id: &RealisationId) -> String {
    format!("{REALISATIONS}/{id}")
}

/// The lock of whoever builds `action`.
pub(crate) fn build_lock(action: &ActionKey) -> String {
    format!("{LOCKS}/{action}")
}

fn sharded(directory: &str, hex: &str, suffix: &str) -> String {
    let mut path = String::with_capacity(directory.len() + hex.len() + 5);
    path.push_str(directory);
    path.push('/');
    path.push_str(&hex[..2]);
    path.push('/');
    path.push_str(hex);
    path.push_str(suffix);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_strictly() {
        let check = |text: &str, expected| assert_eq!(parse_version(text), expected, "{text:?}");
        check("kiln store 1\n", Some(1));
        check("kiln store 42\n", Some(42));
        check("kiln store 1", None);
        check("kiln store -1\n", None);
        check("nix store 1\n", None);
        check("", None);
    }

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("version"), "kiln store 2\n").expect("to write");
        let error = Layout::open(dir.path(), true).expect_err("a newer store");
        assert!(
            matches!(error, StoreError::Newer { found: 2, .. }),
            "{error}"
        );
        let left = sys::names(
            fs::open(dir.path(), OFlags::RDONLY, Mode::empty())
                .expect("to open")
                .as_fd(),
            ".",
        );
        assert_eq!(left.expect("to list"), ["version"]);
    }

    #[test]
    fn a_directory_of_something_else_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("thesis.tex"), "").expect("to write");
        let error = Layout::open(dir.path(), true).expect_err("no store");
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    }
}
