//! Disk space below some directories, measured in small steps while a builder
//! changes them.
//!
//! A walk holds one descriptor whatever the depth, follows no symlink, comes
//! back up by `..` and gives up when that is not where it came from (a builder
//! moved the directory); the next walk starts anew.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, statat};

/// Entries looked at in one step.
const STEP_ENTRIES: usize = 2000;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

pub(super) struct DiskUse {
    roots: Vec<PathBuf>,
    next_root: usize,
    walk: Option<Walk>,
    /// The sum of the walks since the first root.
    current_bytes: u64,
    /// The result of the last complete round.
    last_bytes: u64,
}

impl DiskUse {
    pub(super) fn new(roots: &[&Path]) -> Self {
        let roots = roots.iter().map(|path| path.to_path_buf()).collect();
        DiskUse {
            roots,
            next_root: 0,
            walk: None,
            current_bytes: 0,
            last_bytes: 0,
        }
    }

    /// Looks at some more entries. Gives what is known to be used: the last
    /// complete round, or the present one if that already found more.
    pub(super) fn step(&mut self) -> u64 {
        let mut budget = STEP_ENTRIES;
        while budget > 0 {
            let Some(walk) = &mut self.walk else {
                if self.next_root == self.roots.len() {
                    self.next_root = 0;
                    self.last_bytes = std::mem::take(&mut self.current_bytes);
                    break;
                }
                self.walk = Walk::start(&self.roots[self.next_root]);
                self.next_root += 1;
                continue;
            };
            let (bytes, more) = walk.step(&mut budget);
            self.current_bytes += bytes;
            if !more {
                self.walk = None;
            }
        }
        self.last_bytes.max(self.current_bytes)
    }
}

/// A directory on the way down and its subdirectories still to be visited.
struct Level {
    device: u64,
    inode: u64,
    pending: Vec<CString>,
}

struct Walk {
    here: OwnedFd,
    entries: Option<Dir>,
    levels: Vec<Level>,
}

impl Walk {
    fn start(root: &Path) -> Option<Walk> {
        let here = open(root, DIRECTORY, Mode::empty()).ok()?;
        let mut walk = Walk {
            here,
            entries: None,
            levels: Vec::new(),
        };
        walk.enter().then_some(walk)
    }

    fn enter(&mut self) -> bool {
        let (Ok(stat), Ok(entries)) = (fstat(&self.here), Dir::read_from(&self.here)) else {
            return false;
        };
        let (device, inode) = identity(&stat);
        self.levels.push(Level {
            device,
            inode,
            pending: Vec::new(),
        });
        self.entries = Some(entries);
        true
    }

    /// Bytes found, and whether there is more to see.
    fn step(&mut self, budget: &mut usize) -> (u64, bool) {
        let mut bytes = 0;
        while *budget > 0 {
            *budget -= 1;
            let more = match self.entries.as_mut().map(Dir::next) {
                Some(Some(Ok(entry))) => {
                    bytes += self.visit(entry.file_name().to_owned());
                    true
                }
                Some(_) => {
                    self.entries = None;
                    true
                }
                None => self.move_on(),
            };
            if !more {
                return (bytes, false);
            }
        }
        (bytes, true)
    }

    fn visit(&mut self, name: CString) -> u64 {
        if matches!(name.to_bytes(), b"." | b"..") {
            return 0;
        }
        let Ok(stat) = statat(&self.here, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            return 0;
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.levels
                .last_mut()
                .expect("a walk has a root")
                .pending
                .push(name);
        }
        // A file with several names is counted in parts.
        #[allow(clippy::unnecessary_cast, reason = "32 bits wide on aarch64")]
        let names = stat.st_nlink as u64;
        stat.st_blocks as u64 * 512 / names.max(1)
    }

    /// Goes down into the next pending directory, or up. False at the end.
    fn move_on(&mut self) -> bool {
        let level = self.levels.last_mut().expect("a walk has a root");
        if let Some(name) = level.pending.pop() {
            // Gone or replaced meanwhile: not an error, just not there.
            if let Ok(fd) = openat(&self.here, &name, DIRECTORY, Mode::empty()) {
                let parent = std::mem::replace(&mut self.here, fd);
                if !self.enter() {
                    self.here = parent;
                }
            }
            return true;
        }
        self.levels.pop();
        let Some(parent) = self.levels.last() else {
            return false;
        };
        let Ok(up) = openat(&self.here, c"..", DIRECTORY, Mode::empty()) else {
            return false;
        };
        let expected = (parent.device, parent.inode);
        if !fstat(&up).is_ok_and(|stat| identity(&stat) == expected) {
            return false;
        }
        self.here = up;
        true
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole_round(disk: &mut DiskUse) -> u64 {
        // Enough steps for the trees below, twice around.
        (0..20).map(|_| disk.step()).last().unwrap()
    }

    #[test]
    fn counts_files_at_any_depth_and_no_link_target() {
        let root = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("big"), vec![1; 4 << 20]).unwrap();
        let mut deep = root.path().to_path_buf();
        for _ in 0..300 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(deep.join("file"), root.path().join("same")).unwrap();
        std::os::unix::fs::symlink(other.path(), root.path().join("link")).unwrap();

        let mut disk = DiskUse::new(&[root.path()]);
        let bytes = whole_round(&mut disk);
        assert!((1 << 20..4 << 20).contains(&bytes), "{bytes}");
        std::fs::remove_dir_all(root.path().join("d")).unwrap();
        std::fs::remove_file(root.path().join("same")).unwrap();
        assert!(whole_round(&mut disk) < 1 << 20);
    }

    #[test]
    fn one_step_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        for index in 0..3 * STEP_ENTRIES {
            std::fs::write(root.path().join(index.to_string()), b"x").unwrap();
        }
        let mut disk = DiskUse::new(&[root.path()]);
        let first = disk.step();
        assert!(first > 0);
        assert!(whole_round(&mut disk) > 2 * first);
    }
}
