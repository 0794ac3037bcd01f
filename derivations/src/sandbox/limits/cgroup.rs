//! A cgroup v2 of one sandbox, where this user may make one.
//!
//! ```text
//! <own cgroup>            delegated to the user, memory and pids enabled below
//! ├── kiln                this process, if it had to leave its cgroup so that
//! │                       controllers can be enabled there
//! └── kiln-PID-N          one sandbox: memory.max, pids.max
//! ```
//!
//! Chosen only if every write is taken by the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::request::{Limit, Limits};

/// The cgroup of one sandbox. Dropping it kills what is in it and removes it.
#[derive(Debug)]
pub(in super::super) struct Cgroup {
    path: PathBuf,
    procs: File,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Cgroup {
    /// Makes one for `limits` below this process's own cgroup.
    pub(in super::super) fn create(limits: &Limits) -> io::Result<Cgroup> {
        let memberships = fs::read_to_string("/proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = own_directory(&memberships, &mounts)
            .ok_or_else(|| io::Error::other("no cgroup v2 is mounted"))?;
        delegate(&own)?;
        Cgroup::create_in(&own, limits)
    }

    fn create_in(parent: &Path, limits: &Limits) -> io::Result<Cgroup> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("kiln-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let made = Cgroup::set_up(&path, limits);
        if made.is_err() {
            let _ = fs::remove_dir(&path);
        }
        made
    }

    fn set_up(path: &Path, limits: &Limits) -> io::Result<Cgroup> {
        write(&path.join("memory.max"), &limits.memory_bytes.to_string())?;
        write(&path.join("memory.oom.group"), "1")?;
        // Without this a builder could grow into swap. Hosts without swap
        // accounting do not have the file.
        let _ = write(&path.join("memory.swap.max"), "0");
        write(&path.join("pids.max"), &limits.processes.to_string())?;
        let procs = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"))?;
        Ok(Cgroup {
            path: path.into(),
            procs,
        })
    }

    pub(super) fn procs(&self) -> BorrowedFd<'_> {
        self.procs.as_fd()
    }

    /// The limit that the kernel enforced, if it did.
    pub(super) fn passed(&self) -> Option<Limit> {
        let counted = |file: &str, key: &str| {
            let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
            event_count(&text, key) > 0
        };
        if counted("memory.events", "oom_kill") {
            Some(Limit::Memory)
        } else if counted("pids.events", "max") {
            Some(Limit::Processes)
        } else {
            None
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Everything in it was killed and waited for before; this is for the
        // paths on which kiln gives up.
        let _ = write(&self.path.join("cgroup.kill"), "1");
        let _ = fs::remove_dir(&self.path);
    }
}

/// Whether a sandbox could have a cgroup now, and if not, why.
pub fn available() -> io::Result<()> {
    Cgroup::create(&Limits::default()).map(drop)
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

fn event_count(text: &str, key: &str) -> u64 {
    let value = |line: &str| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value).unwrap_or(0)
}

/// Enables memory and pids for children of `own`.
fn delegate(own: &Path) -> io::Result<()> {
    let control = own.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control)?;
    let has = |name| enabled.split_whitespace().any(|word| word == name);
    if has("memory") && has("pids") {
        return Ok(());
    }
    let enable = || write(&control, "+memory +pids");
    enable().or_else(|error| {
        // A cgroup with processes cannot enable controllers: move out of the
        // way. Other processes that live here stay, and then it cannot be.
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
        let leaf = own.join("kiln");
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => write(&leaf.join("cgroup.procs"), "0")?,
        }
        enable().inspect_err(|_| {
            let _ = write(&own.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(&leaf);
        })
    })
}

/// The directory of this process's cgroup v2, from `/proc/self/cgroup` and
/// `/proc/self/mountinfo`.
fn own_directory(memberships: &str, mounts: &str) -> Option<PathBuf> {
    let path = memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    // After kiln moved into its leaf, sandboxes are made beside it.
    let path = path.strip_suffix("/kiln").unwrap_or(path);
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(place).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_own_directory() {
        let mounts = "\
            30 20 0:26 / /proc rw - proc proc rw\n\
            31 20 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let find = |membership| own_directory(membership, mounts);
        let expected = Path::new("/sys/fs/cgroup/user.slice/x.scope");
        assert_eq!(find("0::/user.slice/x.scope\n").as_deref(), Some(expected));
        assert_eq!(
            find("0::/user.slice/x.scope/kiln\n").as_deref(),
            Some(expected)
        );
        assert_eq!(
            find("3:cpu:/\n0::/\n").as_deref(),
            Some(Path::new("/sys/fs/cgroup/"))
        );
        assert_eq!(find("3:cpu:/\n"), None);
        assert_eq!(
            own_directory("0::/", "30 20 0:26 / /proc rw - proc proc rw\n"),
            None
        );
    }

    #[test]
    fn counts_events() {
        assert_eq!(event_count("low 0\noom 2\noom_kill 1\n", "oom_kill"), 1);
        assert_eq!(event_count("max 0\n", "max"), 0);
        assert_eq!(event_count("", "max"), 0);
    }

    #[test]
    fn a_directory_that_is_no_cgroup_is_not_taken() {
        let plain = tempfile::tempdir().unwrap();
        assert!(delegate(plain.path()).is_err());
        assert!(Cgroup::create_in(plain.path(), &Limits::default()).is_err());
        assert_eq!(fs::read_dir(plain.path()).unwrap().count(), 0);
    }
}
