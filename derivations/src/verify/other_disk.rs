//! A store on a file system of another type than builds usually have.
//!
//! ```text
//! DIRECTORY/kiln-verify-PID/    flocked by its owner, removed at the end; what a
//!                               killed process left, the next one removes
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_store::store::{OpenOptions, Store};
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

use super::site::Offers;

const TMPFS_MAGIC: u64 = 0x0102_1994;
const PREFIX: &str = "kiln-verify-";

/// A store on a file system of another type, removed when dropped.
pub(super) struct OtherDisk {
    pub(super) store: Option<Store>,
    pub(super) directory: PathBuf,
    /// Whether it lists a directory in the order in which entries were made.
    pub(super) in_order: bool,
    /// Says that this process is alive.
    _alive: File,
}

impl OtherDisk {
    /// A store called `name` on the first of the directories whose file system is
    /// of another type than the scratch directory's, and runs programs.
    pub(super) fn find(offers: &Offers, options: &OpenOptions, name: &str) -> Result<Self, String> {
        let here = kind(&offers.scratch).map_err(|error| error.to_string())?;
        let mut refused = Vec::new();
        for candidate in &offers.other_disks {
            let Ok(there) = kind(candidate) else {
                continue;
            };
            if let Some(why) = unfit(candidate, here, there) {
                refused.push(format!("{} {why}", candidate.display()));
                continue;
            }
            match Self::open(candidate, options, name) {
                Ok(mut disk) => {
                    disk.in_order = there == TMPFS_MAGIC;
                    return Ok(disk);
                }
                Err(error) => refused.push(format!("{}: {error}", candidate.display())),
            }
        }
        let none = "there is no second type of file system here";
        Err(match refused.is_empty() {
            true => format!("{none}, such as a tmpfs at /dev/shm"),
            false => format!("{none}: {}", refused.join(", ")),
        })
    }

    fn open(parent: &Path, options: &OpenOptions, name: &str) -> Result<Self, String> {
        sweep(parent);
        let directory = parent.join(format!("{PREFIX}{}", std::process::id()));
        let failed = |error: io::Error| error.to_string();
        fs::create_dir(&directory).map_err(failed)?;
        let alive = File::open(&directory).map_err(failed)?;
        alive.lock().map_err(failed)?;
        let traversed = fs::Permissions::from_mode(0o711);
        fs::set_permissions(&directory, traversed).map_err(failed)?;
        let store = Store::open(&directory.join(name), options);
        Ok(Self {
            store: Some(store.map_err(|error| error.to_string())?),
            directory,
            in_order: false,
            _alive: alive,
        })
    }
}

impl Drop for OtherDisk {
    fn drop(&mut self) {
        self.store = None;
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn kind(path: &Path) -> rustix::io::Result<u64> {
    statfs(path).map(|disk| disk.f_type as u64)
}

fn unfit(candidate: &Path, here: u64, there: u64) -> Option<&'static str> {
    let noexec =
        statvfs(candidate).is_ok_and(|disk| disk.f_flag.contains(StatVfsMountFlags::NOEXEC));
    match noexec {
        true => Some("is mounted noexec"),
        false if there == here => Some("is of the same type"),
        false => None,
    }
}

/// Removes what killed processes of this user left. Everyone may write there, so
/// what is another's is not touched.
fn sweep(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_left = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && found.uid() == own);
        let path = entry.path();
        if is_left && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_use_stays() {
        let parent = tempfile::tempdir().expect("a directory");
        let left = parent.path().join("kiln-verify-1");
        fs::create_dir_all(left.join("store/x")).expect("writable");
        let used = parent.path().join("kiln-verify-2");
        fs::create_dir(&used).expect("writable");
        let alive = File::open(&used).expect("it is there");
        alive.lock().expect("nobody has it");
        let others = parent.path().join("something-else");
        fs::create_dir(&others).expect("writable");

        let options = OpenOptions::default();
        let disk = OtherDisk::open(parent.path(), &options, "store").expect("it is ours");
        assert!(!left.exists() && used.exists() && others.exists());
        let directory = disk.directory.clone();
        assert!(directory.exists());
        drop(disk);
        assert!(!directory.exists());
    }
}
