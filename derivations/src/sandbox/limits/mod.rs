//! Holds a running sandbox within its limits.
//!
//! Wall time, silence and the log are the supervisor's own bookkeeping; memory
//! and processes are the kernel's with a delegated [`cgroup`], else those of
//! the [`tree`] that is polled; `/build` and `/out` are walked ([`disk`]).
//! All sampling is bounded: a sample that took long is followed by a longer
//! pause, and a walk goes on where it stopped.

pub(super) mod cgroup;
mod disk;
mod tree;

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use self::cgroup::Cgroup;
use self::disk::DiskUse;
use self::tree::Tree;
use super::request::{Limit, LimitTier, Limits};

/// Short builds are never sampled at all.
const FIRST_SAMPLE: Duration = Duration::from_millis(15);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A sample may take this part of the time.
const SAMPLING_SHARE: u32 = 20;

/// The memory, process and disk side of [`Limits`] for one sandbox.
pub(super) struct Monitor {
    limits: Limits,
    cgroup: Option<Cgroup>,
    tree: Option<Tree>,
    disk: DiskUse,
    disk_due: Instant,
    due: Instant,
}

impl Monitor {
    pub(super) fn new(limits: Limits, cgroup: Option<Cgroup>, directories: &[&Path]) -> Self {
        let due = Instant::now() + FIRST_SAMPLE;
        let disk = DiskUse::new(directories);
        Monitor {
            limits,
            cgroup,
            tree: None,
            disk,
            disk_due: due,
            due,
        }
    }

    pub(super) fn tier(&self) -> LimitTier {
        if self.cgroup.is_some() {
            LimitTier::Cgroup
        } else {
            LimitTier::Polling
        }
    }

    /// `cgroup.procs` of the sandbox's cgroup, to be joined before `execve`.
    pub(super) fn to_join(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().map(Cgroup::procs)
    }

    /// When the next sample is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Takes a sample. `pid_one` MUST be the pid 1 of the sandbox, not yet waited
    /// for, and MUST NOT be given before its root is the sandbox's.
    pub(super) fn sample(&mut self, pid_one: Option<i32>) -> Option<Limit> {
        let start = Instant::now();
        let mut pause = LONGEST_PAUSE;
        let mut passed = self.passed_in_kernel();
        if let (None, Some(pid_one)) = (&self.cgroup, pid_one) {
            let enough_bytes = self.limits.memory_bytes;
            let usage = self.tree(pid_one).map(|tree| tree.usage(enough_bytes));
            let usage = usage.unwrap_or_default();
            if usage.memory_bytes > self.limits.memory_bytes {
                passed = Some(Limit::Memory);
            } else if usage.tasks >= u64::from(self.limits.processes) {
                passed = Some(Limit::Processes);
            } else if usage.memory_bytes > self.limits.memory_bytes / 2 {
                pause = SHORTEST_PAUSE;
            }
        }
        if start >= self.disk_due {
            if self.disk.step() > self.limits.output_bytes {
                passed = passed.or(Some(Limit::Output));
            }
            self.disk_due = Instant::now() + start.elapsed() * SAMPLING_SHARE;
        }
        self.due = Instant::now() + pause.max(start.elapsed() * SAMPLING_SHARE);
        passed
    }

    /// What the processes that still live have used: as they are killed with their
    /// pid 1, nobody waits for them, and their usage is in no account. The same
    /// holds for `pid_one` as for [`Monitor::sample`].
    pub(super) fn cpu_of_the_living(&mut self, pid_one: i32) -> Duration {
        self.tree(pid_one).map_or(Duration::ZERO, |tree| tree.cpu())
    }

    /// The limit that the kernel enforced by itself, if it did.
    pub(super) fn passed_in_kernel(&self) -> Option<Limit> {
        self.cgroup.as_ref().and_then(Cgroup::passed)
    }

    fn tree(&mut self, pid_one: i32) -> Option<&mut Tree> {
        if self.tree.is_none() {
            self.tree = Tree::open(pid_one).ok();
        }
        self.tree.as_mut()
    }
}
