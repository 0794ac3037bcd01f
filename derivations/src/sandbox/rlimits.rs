//! The resource limits of the contract.
//!
//! Fixed numbers, since a builder sees them: the size of its stack also
//! decides how long an argument list may be. Hard limits are chosen so that an
//! ordinary user of a usual system may set them.

use std::io;

use libc::{c_int, c_long};

use super::request::HostUser;

const INFINITY: u64 = libc::RLIM64_INFINITY;
const MIB: u64 = 1 << 20;

/// A resource, its name and the soft and hard limit.
pub struct Rlimit {
    /// As in `ulimit`'s manual.
    pub name: &'static str,
    /// The kernel's number.
    pub resource: c_int,
    /// What is in force.
    pub soft: u64,
    /// What a builder may raise it to.
    pub hard: u64,
}

const fn fixed(name: &'static str, resource: u32, soft: u64, hard: u64) -> Rlimit {
    Rlimit {
        name,
        resource: resource as c_int,
        soft,
        hard,
    }
}

/// All but the number of processes, which is [`super::Limits::processes`].
pub const RLIMITS: [Rlimit; 15] = [
    fixed("cpu", libc::RLIMIT_CPU, INFINITY, INFINITY),
    fixed("fsize", libc::RLIMIT_FSIZE, INFINITY, INFINITY),
    fixed("data", libc::RLIMIT_DATA, INFINITY, INFINITY),
    fixed("stack", libc::RLIMIT_STACK, 8 * MIB, 64 * MIB),
    fixed("core", libc::RLIMIT_CORE, 0, 0),
    fixed("rss", libc::RLIMIT_RSS, INFINITY, INFINITY),
    fixed("nofile", libc::RLIMIT_NOFILE, 1024, 4096),
    fixed("memlock", libc::RLIMIT_MEMLOCK, 64 << 10, 64 << 10),
    fixed("as", libc::RLIMIT_AS, INFINITY, INFINITY),
    fixed("locks", libc::RLIMIT_LOCKS, INFINITY, INFINITY),
    fixed("sigpending", libc::RLIMIT_SIGPENDING, 1024, 1024),
    fixed("msgqueue", libc::RLIMIT_MSGQUEUE, 819_200, 819_200),
    fixed("nice", libc::RLIMIT_NICE, 0, 0),
    fixed("rtprio", libc::RLIMIT_RTPRIO, 0, 0),
    fixed("rttime", libc::RLIMIT_RTTIME, INFINITY, INFINITY),
];

/// As [`super::spawn`] sets them.
pub(super) fn all() -> Vec<(c_int, u64, u64)> {
    RLIMITS
        .iter()
        .map(|limit| (limit.resource, limit.soft, limit.hard))
        .collect()
}

/// The first limit that a process without privilege may not set as the contract
/// wants it, with what the host allows.
pub fn unreachable() -> Option<(&'static Rlimit, u64)> {
    RLIMITS.iter().find_map(|limit| {
        let host = hard(limit.resource);
        (host < limit.hard).then_some((limit, host))
    })
}

fn hard(resource: c_int) -> u64 {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills in a structure of ours.
    let result = unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &raw mut limit) };
    if result == 0 {
        limit.rlim_max
    } else {
        INFINITY
    }
}

/// Sets the number of processes and threads on a sandbox's pid 1 while that is
/// alone in its user namespace: from then on only what is in there counts. Set
/// any earlier, all of the user's other processes would count too.
///
/// The kernel lets the same user do it, or CAP_SYS_RESOURCE, which root in a
/// container may lack; so root takes the sandbox's real ids for the one call.
pub(super) fn limit_processes(pid: i32, processes: u64, user: Option<HostUser>) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: processes,
        rlim_max: processes,
    };
    let set = || {
        // SAFETY: reads a structure of ours.
        result(unsafe {
            let nproc = libc::RLIMIT_NPROC as c_long;
            libc::syscall(
                libc::SYS_prlimit64,
                c_long::from(pid),
                nproc,
                &raw const limit,
                0_usize,
            )
        })
    };
    let Some(user) = user else { return set() };
    set_real_ids(user.uid, user.gid)?;
    let done = set();
    set_real_ids(0, 0)?;
    done
}

/// Of this thread only, which the C library's `setresuid` would not allow.
fn set_real_ids(uid: u32, gid: u32) -> io::Result<()> {
    let keep: c_long = -1;
    // SAFETY: takes numbers; privileges stay, since the effective ids do.
    unsafe {
        result(libc::syscall(
            libc::SYS_setresgid,
            c_long::from(gid),
            keep,
            keep,
        ))?;
        result(libc::syscall(
            libc::SYS_setresuid,
            c_long::from(uid),
            keep,
            keep,
        ))
    }
}

fn result(returned: c_long) -> io::Result<()> {
    if returned == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
