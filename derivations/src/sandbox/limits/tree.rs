//! The processes of a sandbox, counted through its own `/proc`.
//!
//! That one lists nothing else, however many processes the host runs, and a
//! process cannot leave it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Dir, Mode, OFlags, fstatvfs, open, openat};

/// What a sandbox uses right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Resident memory and the contents of the sandbox's tmpfs. A page that
    /// forked processes share is counted for each of them.
    pub(super) memory_bytes: u64,
    /// Processes and threads.
    pub(super) tasks: u64,
}

pub(super) struct Tree {
    proc: OwnedFd,
    scratch: Vec<OwnedFd>,
    page_bytes: u64,
}

impl Tree {
    pub(super) fn open(pid_one: i32) -> io::Result<Tree> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let inside = |place: &str| {
            open(
                format!("/proc/{pid_one}/root/{place}"),
                flags,
                Mode::empty(),
            )
        };
        let scratch = vec![inside("tmp")?, inside("dev/shm")?];
        Ok(Tree {
            proc: inside("proc")?,
            scratch,
            page_bytes: rustix::param::page_size() as u64,
        })
    }

    /// `enough_bytes`: from where on the sum has to be exact.
    pub(super) fn usage(&mut self, enough_bytes: u64) -> Usage {
        let mut usage = Usage {
            memory_bytes: self.scratch_bytes(),
            tasks: 0,
        };
        let scratch_bytes = usage.memory_bytes;
        let pids = self.pids();
        for pid in &pids {
            let Some(stat) = self.read(pid, "stat").and_then(|text| Stat::parse(&text)) else {
                continue;
            };
            usage.tasks += stat.threads;
            usage.memory_bytes += stat.resident_pages * self.page_bytes;
        }
        // The cheap sum counts the text of programs for every process that
        // runs them; only when it is too much is the dear one taken.
        if usage.memory_bytes > enough_bytes {
            let own = |pid: &String| self.read(pid, "status").map_or(0, |text| own_bytes(&text));
            usage.memory_bytes = scratch_bytes + pids.iter().map(own).sum::<u64>();
        }
        usage
    }

    /// CPU time of all processes but pid 1, with the children they waited for.
    pub(super) fn cpu(&self) -> Duration {
        let ticks: u64 = self
            .pids()
            .iter()
            .filter(|pid| *pid != "1")
            .filter_map(|pid| Stat::parse(&self.read(pid, "stat")?))
            .map(|stat| stat.cpu_ticks)
            .sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    fn scratch_bytes(&self) -> u64 {
        let used =
            |fd: &OwnedFd| fstatvfs(fd).map_or(0, |fs| (fs.f_blocks - fs.f_bfree) * fs.f_frsize);
        self.scratch.iter().map(used).sum()
    }

    fn pids(&self) -> Vec<String> {
        let Ok(directory) = Dir::read_from(&self.proc) else {
            return Vec::new();
        };
        directory
            .filter_map(|entry| String::from_utf8(entry.ok()?.file_name().to_bytes().to_vec()).ok())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .collect()
    }

    fn read(&self, pid: &str, file: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(&self.proc, format!("{pid}/{file}"), flags, Mode::empty()).ok()?;
        let mut bytes = Vec::with_capacity(2048);
        File::from(fd).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Its own, and of the children that it waited for.
    cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    /// The name of a process may hold spaces and brackets, so fields count
    /// from the last closing one.
    fn parse(text: &str) -> Option<Stat> {
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
            threads: number(17)?,
            resident_pages: number(21)?,
        })
    }
}

/// Anonymous and shared memory from `/proc/PID/status`, without mapped files.
fn own_bytes(status: &str) -> u64 {
    let kib = |line: &str| {
        let value = line
            .strip_prefix("RssAnon:")
            .or_else(|| line.strip_prefix("RssShmem:"))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    status.lines().filter_map(kib).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let text = "7 (a) R 1 ) S 1 7 7 0 -1 4194304 90 0 0 0 4 3 2 1 20 0 3 0 5 2621440 250 1";
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                cpu_ticks: 10,
                threads: 3,
                resident_pages: 250
            })
        );
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn mapped_files_are_not_own_memory() {
        let status = "VmRSS:\t 90 kB\nRssAnon:\t 20 kB\nRssFile:\t 60 kB\nRssShmem:\t 10 kB\n";
        assert_eq!(own_bytes(status), 30 * 1024);
    }
}
