//! Processes that kiln watches: signalled, waited for and accounted through
//! pidfds, so that a reused pid is never taken for one of them.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::{Doing, SandboxError};

/// How long a killed process may take to be gone.
const DYING: Duration = Duration::from_secs(60);

/// A process, by its pid here and a descriptor that cannot come to mean another.
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// What processes used, and the signal that ended the one waited for.
#[derive(Default)]
pub(super) struct Used {
    pub(super) cpu: Duration,
    pub(super) peak_rss_bytes: u64,
    pub(super) signal: Option<i32>,
}

impl Process {
    /// `None` if there is no such process (any more).
    pub(super) fn open(pid: i32) -> Option<Process> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Process { pid, pidfd })
    }

    /// Its children, oldest first, as pids of this process's namespace.
    pub(super) fn children(&self) -> io::Result<Vec<i32>> {
        let pid = self.pid;
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(text
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect())
    }

    /// Readable from its end on.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it waits for something in the kernel.
    pub(super) fn is_asleep(&self) -> bool {
        status_line(self.pid, "State:").is_some_and(|state| state.starts_with('S'))
    }

    pub(super) fn kill(&self) {
        // It can only fail because the process is gone.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits until it has ended, with all its threads, and for the first
    /// process of a pid namespace with all of that.
    pub(super) fn wait_gone(&self) -> Result<(), SandboxError> {
        let until = Instant::now() + DYING;
        loop {
            let left = timespec(until.saturating_duration_since(Instant::now()));
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&left)) {
                Ok(0) => {
                    return Err(SandboxError::Undying {
                        pid: self.pid,
                        waited_s: DYING.as_secs(),
                    });
                }
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).doing("waiting for the sandbox's end"),
            }
        }
    }

    /// Takes leave of a child that is gone and gives what it used, together
    /// with all the children it waited for.
    pub(super) fn reap(&self) -> io::Result<Used> {
        // SAFETY: both are plain data for the kernel to fill in.
        let (mut info, mut usage) = unsafe { mem::zeroed::<(libc::siginfo_t, libc::rusage)>() };
        // The C library's waitid does not give the usage.
        // SAFETY: the pointers are to structures of ours of the right type.
        let result = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                self.pidfd.as_raw_fd(),
                &raw mut info,
                libc::WEXITED | libc::WNOHANG,
                &raw mut usage,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let killed = matches!(info.si_code, libc::CLD_KILLED | libc::CLD_DUMPED);
        // SAFETY: waitid has filled in a child's status.
        let status = unsafe { info.si_status() };
        Ok(Used {
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
            signal: killed.then_some(status),
        })
    }
}

/// The pid of `pid` in its innermost pid namespace; `None` when it is gone.
pub(super) fn innermost_pid(pid: i32) -> Option<i32> {
    status_line(pid, "NSpid:")?
        .split_whitespace()
        .last()?
        .parse()
        .ok()
}

fn status_line(pid: i32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().into())
}

/// Orphans of this process's children become its own children.
pub(super) fn become_subreaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Cannot fail on any kernel that has what else is needed; without it
        // only the numbers of the outcome would be missing.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    });
}

pub(super) fn timespec(time: Duration) -> Timespec {
    // An hour at most: whoever waits looks again then.
    let time = time.min(Duration::from_secs(3600));
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}
