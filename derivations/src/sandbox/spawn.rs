//! Starts bubblewrap: `clone` in the manner of `vfork`, then `execve`.
//!
//! `std::process` forks as soon as a child has to change its uid or limits, and
//! a fork copies the page tables of a kiln that has gigabytes mapped. Here the
//! child shares the memory until `execve` and the calling thread waits for it,
//! so the cost does not grow; in turn the child runs nothing but system calls
//! on data prepared before.
//!
//! The child is the first process of a pid namespace, around the one that
//! bubblewrap makes for the builder. So the kernel ties everything together:
//! when that child ends or is killed, all of the sandbox is killed, and the
//! child is not gone before all of it is. And it is killed when kiln dies
//! (the parent-death signal). bubblewrap's own `--die-with-parent` leaves a gap
//! in which a builder outlives a killed kiln.
//!
//! An ordinary user needs a user namespace for that. Where the host gives them
//! only to bubblewrap (AppArmor on Ubuntu), the child is started without.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_void};
use rustix::process::PidfdFlags;

use super::process::Process;
use super::request::HostUser;
use super::variation::Variation;

/// A child to be started.
pub(super) struct Child<'a> {
    /// The program file; started through the descriptor, so it may have no name.
    pub(super) program: BorrowedFd<'a>,
    /// Its arguments, the program's name first.
    pub(super) arguments: Vec<CString>,
    /// The descriptors it gets as 0, 1, 2, …, and no others.
    pub(super) descriptors: Vec<BorrowedFd<'a>>,
    /// What it runs as; `None` leaves the ids alone.
    pub(super) user: Option<HostUser>,
    /// Resource limits to set: (resource, soft, hard).
    pub(super) rlimits: &'a [(c_int, u64, u64)],
    /// `cgroup.procs` of the cgroup to join.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    /// What is not to be as the contract has it.
    pub(super) variation: &'a Variation,
}

/// A started child; it has to be waited for.
pub(super) struct Started {
    pub(super) process: Process,
    /// It has a pid namespace of its own, and ends with all that is in it.
    pub(super) contained: bool,
}

/// Why a child was not started: which step failed.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) step: &'static str,
    pub(super) source: io::Error,
}

/// Everything the child reads, all of it allocated before `clone`.
struct Plan {
    program: RawFd,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    descriptors: *const RawFd,
    descriptor_count: usize,
    ids: Option<HostUser>,
    rlimits: *const (c_int, u64, u64),
    rlimit_count: usize,
    cgroup: RawFd,
    umask: c_long,
    /// Bits that are added to the native personality.
    personality: c_long,
    /// The processors to run on, as the kernel takes them.
    processors: Option<Processors>,
    /// What to write into `timens_offsets`.
    clocks: Option<CString>,
    parent: RawFd,
    /// What to write into `uid_map` and `gid_map`, if a user namespace is made.
    maps: Option<(CString, CString)>,
    failed_step: &'static str,
    failed_errno: c_int,
}

/// A set of up to 1024 processors, as `sched_setaffinity` takes it.
type Processors = [u64; 16];

const STACK_BYTES: usize = 64 * 1024;

impl Child<'_> {
    /// Starts the child. It dies when the calling thread does.
    pub(super) fn start(self) -> Result<Started, NotStarted> {
        let contained = match self.user {
            Some(_) => libc::CLONE_NEWPID,
            None => libc::CLONE_NEWUSER | libc::CLONE_NEWPID,
        };
        match self.start_in(contained) {
            Err(failure) if failure.step == "clone" || failure.step == MAPPING => self.start_in(0),
            started => started,
        }
    }

    fn start_in(&self, namespaces: c_int) -> Result<Started, NotStarted> {
        let not_started = |step, source| NotStarted { step, source };
        let high = self
            .high_descriptors()
            .map_err(|error| not_started("fcntl", error))?;
        let program = above(self.program, high.len()).map_err(|e| not_started("fcntl", e))?;
        let parent = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(|error| not_started("pidfd_open", error.into()))?;
        let raw: Vec<RawFd> = high.iter().map(AsRawFd::as_raw_fd).collect();
        let mut arguments: Vec<_> = self.arguments.iter().map(|word| word.as_ptr()).collect();
        arguments.push(ptr::null());
        let environment = [ptr::null()];
        let mut plan = Plan {
            program: program.as_raw_fd(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            descriptors: raw.as_ptr(),
            descriptor_count: raw.len(),
            ids: self.user,
            rlimits: self.rlimits.as_ptr(),
            rlimit_count: self.rlimits.len(),
            cgroup: self.cgroup.map_or(-1, |fd| fd.as_raw_fd()),
            umask: c_long::from(self.variation.umask.unwrap_or(0o022)),
            personality: personality(self.variation),
            processors: self.variation.processor.map(only),
            clocks: self.variation.uptime_ahead_s.map(clocks_ahead),
            parent: parent.as_raw_fd(),
            maps: (namespaces & libc::CLONE_NEWUSER != 0).then(identity_maps),
            failed_step: "",
            failed_errno: 0,
        };
        let started = clone(&mut plan, namespaces).map_err(|error| not_started("clone", error))?;
        if plan.failed_errno != 0 {
            // It has called `_exit`; only to take leave of it.
            let _ = started.process.wait_gone();
            let _ = started.process.reap();
            let source = io::Error::from_raw_os_error(plan.failed_errno);
            return Err(not_started(plan.failed_step, source));
        }
        Ok(started)
    }

    /// Copies of the descriptors above all numbers that the child assigns.
    fn high_descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let count = self.descriptors.len();
        self.descriptors
            .iter()
            .map(|fd| above(*fd, count))
            .collect()
    }
}

/// A copy of `fd` above the numbers that a child with `count` descriptors uses.
fn above(fd: BorrowedFd<'_>, count: usize) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, count as RawFd + 1)?)
}

/// The step of writing the id maps.
const MAPPING: &str = "mapping ids";

fn personality(variation: &Variation) -> c_long {
    let mut bits = 0;
    if variation.fixed_addresses {
        bits |= libc::ADDR_NO_RANDOMIZE;
    }
    if variation.old_release {
        bits |= libc::UNAME26;
    }
    bits.into()
}

fn only(processor: usize) -> Processors {
    let mut processors = Processors::default();
    if let Some(word) = processors.get_mut(processor / 64) {
        *word = 1 << (processor % 64);
    }
    processors
}

/// Monotonic and boot time, ahead of the machine's.
fn clocks_ahead(seconds: u32) -> CString {
    let text = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    CString::new(text).expect("numbers hold no NUL")
}

/// The present ids, as themselves.
fn identity_maps() -> (CString, CString) {
    let map = |id: u32| CString::new(format!("{id} {id} 1")).expect("numbers hold no NUL");
    let uid = rustix::process::geteuid().as_raw();
    (map(uid), map(rustix::process::getegid().as_raw()))
}

fn clone(plan: &mut Plan, namespaces: c_int) -> io::Result<Started> {
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    let shared = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let flags = shared | namespaces | libc::SIGCHLD;
    let mut all = empty_set();
    let mut before = empty_set();
    // SAFETY: the child runs `in_child` on its own stack, which lives until
    // `clone` returns, and with CLONE_VFORK that is after the child's execve or
    // exit. Signals are blocked meanwhile, so none of this program's handlers
    // runs in the child, where it would share our memory.
    let pid = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let argument = ptr::from_mut(plan).cast::<c_void>();
        let pid = libc::clone(in_child, top, flags, argument, &raw mut pidfd);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        pid
    };
    // SAFETY: the kernel has just stored a descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Started {
        process: Process { pid, pidfd },
        contained: namespaces != 0,
    })
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a signal set is plain data and all zeroes is the empty one.
    unsafe { std::mem::zeroed() }
}

extern "C" fn in_child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the plan, which the parent does not touch before
    // this process has gone or become another program.
    let plan = unsafe { &mut *argument.cast::<Plan>() };
    let Err((step, errno)) = become_bubblewrap(plan);
    plan.failed_step = step;
    plan.failed_errno = errno;
    // SAFETY: ends only the child; runs no handlers.
    unsafe { libc::_exit(127) }
}

/// Raw system calls only: the C library's wrappers may take locks that another
/// thread of the parent holds, or change the ids of "all threads".
fn become_bubblewrap(plan: &Plan) -> Result<std::convert::Infallible, (&'static str, c_int)> {
    // SAFETY: every pointer of the plan outlives this process's share of the memory.
    unsafe {
        default_signals();
        if plan.cgroup >= 0 {
            call(
                "join cgroup",
                libc::SYS_write,
                [plan.cgroup as c_long, c"0".as_ptr() as c_long, 1],
            )?;
        }
        if let Some((uid_map, gid_map)) = &plan.maps {
            write_file(MAPPING, c"/proc/self/uid_map", uid_map)?;
            write_file(MAPPING, c"/proc/self/setgroups", c"deny")?;
            write_file(MAPPING, c"/proc/self/gid_map", gid_map)?;
        }
        if let Some(clocks) = &plan.clocks {
            // It is bubblewrap that enters it, by execve.
            let step = "moving the clocks";
            call(step, libc::SYS_unshare, [libc::CLONE_NEWTIME as c_long])?;
            write_file(step, c"/proc/self/timens_offsets", clocks)?;
        }
        if let Some(processors) = &plan.processors {
            let (bytes, set) = (size_of::<Processors>() as c_long, processors.as_ptr());
            call(
                "choosing a processor",
                libc::SYS_sched_setaffinity,
                [0, bytes, set as c_long],
            )?;
        }
        // A session of its own: keys of the user's terminal do not reach it.
        call("setsid", libc::SYS_setsid, [])?;
        for index in 0..plan.rlimit_count {
            let (resource, soft, hard) = *plan.rlimits.add(index);
            let limit = libc::rlimit64 {
                rlim_cur: soft,
                rlim_max: hard,
            };
            let new = &raw const limit;
            call(
                "setrlimit",
                libc::SYS_prlimit64,
                [0, resource as c_long, new as c_long, 0],
            )?;
        }
        prefer_for_oom_kill();
        call("umask", libc::SYS_umask, [plan.umask])?;
        fixed_personality(plan.personality)?;
        if let Some(ids) = plan.ids {
            let (uid, gid) = (c_long::from(ids.uid), c_long::from(ids.gid));
            call("setgroups", libc::SYS_setgroups, [0, 0])?;
            call("setresgid", libc::SYS_setresgid, [gid, gid, gid])?;
            call("setresuid", libc::SYS_setresuid, [uid, uid, uid])?;
        }
        // After the ids, whose change would clear it again.
        call(
            "prctl",
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG as c_long, libc::SIGKILL as c_long],
        )?;
        if parent_is_dead(plan.parent)? {
            return Err(("parent", libc::ESRCH));
        }
        let count = plan.descriptor_count as c_long;
        for target in 0..count {
            let source = *plan.descriptors.add(target as usize) as c_long;
            call("dup3", libc::SYS_dup3, [source, target, 0])?;
        }
        // The program itself comes after the others and is closed by execve.
        let program = plan.program as c_long;
        call(
            "dup3",
            libc::SYS_dup3,
            [program, count, libc::O_CLOEXEC as c_long],
        )?;
        call(
            "close_range",
            libc::SYS_close_range,
            [count + 1, c_long::from(u32::MAX), 0],
        )?;
        let empty = empty_set();
        let (mask, bytes) = (&raw const empty as c_long, 8);
        call(
            "sigprocmask",
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK as c_long, mask, 0, bytes],
        )?;
        let (arguments, environment) = (plan.arguments as c_long, plan.environment as c_long);
        let (name, flags) = (c"".as_ptr() as c_long, libc::AT_EMPTY_PATH as c_long);
        call(
            "execve",
            libc::SYS_execveat,
            [count, name, arguments, environment, flags],
        )?;
    }
    Err(("execve", 0))
}

/// # Safety
/// The arguments have to be right for the call.
unsafe fn call<const N: usize>(
    step: &'static str,
    number: c_long,
    arguments: [c_long; N],
) -> Result<c_long, (&'static str, c_int)> {
    let mut all = [0; 5];
    all[..N].copy_from_slice(&arguments);
    // SAFETY: as promised by the caller; surplus arguments are ignored.
    let result = unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], 0) };
    if result < 0 {
        // SAFETY: errno is a thread-local of the waiting parent thread; the
        // child shares its TLS and nobody else uses it meanwhile.
        Err((step, unsafe { *libc::__errno_location() }))
    } else {
        Ok(result)
    }
}

/// # Safety
/// Only in the child, whose signal table is its own copy.
unsafe fn default_signals() {
    // The kernel's sigaction, all zeroes: SIG_DFL, no flags, no restorer, no mask.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: the structure is longer than or as long as the kernel's.
        let _ = unsafe {
            call(
                "sigaction",
                libc::SYS_rt_sigaction,
                [signal, default.as_ptr() as c_long, 0, 8],
            )
        };
    }
}

/// # Safety
/// Only in the child.
unsafe fn write_file(
    step: &'static str,
    path: &CStr,
    text: &CStr,
) -> Result<(), (&'static str, c_int)> {
    let (at, path) = (libc::AT_FDCWD as c_long, path.as_ptr() as c_long);
    let (bytes, count) = (text.as_ptr() as c_long, text.to_bytes().len() as c_long);
    // SAFETY: both strings live in the parent, which waits.
    unsafe {
        let fd = call(
            step,
            libc::SYS_openat,
            [at, path, libc::O_WRONLY as c_long, 0],
        )?;
        let written = call(step, libc::SYS_write, [fd, bytes, count]);
        call(step, libc::SYS_close, [fd])?;
        written.map(drop)
    }
}

/// Asked after the parent-death signal is set: it is not sent for a death
/// before that.
///
/// # Safety
/// `parent` has to be a pidfd.
unsafe fn parent_is_dead(parent: RawFd) -> Result<bool, (&'static str, c_int)> {
    let mut watch = libc::pollfd {
        fd: parent,
        events: libc::POLLIN,
        revents: 0,
    };
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let (watch, now) = (&raw mut watch as c_long, &raw const now as c_long);
    // SAFETY: both structures are on this stack.
    unsafe { Ok(call("ppoll", libc::SYS_ppoll, [watch, 1, now, 0])? > 0) }
}

/// The kernel's out-of-memory killer takes a builder before anything else.
///
/// # Safety
/// Only in the child.
unsafe fn prefer_for_oom_kill() {
    // SAFETY: as promised; a failure only leaves the preference as it was.
    let _ = unsafe { write_file("oom", c"/proc/self/oom_score_adj", c"1000") };
}

/// A native personality with `bits`; address randomisation may be off for kiln
/// and all that it starts.
///
/// # Safety
/// Only in the child.
unsafe fn fixed_personality(bits: c_long) -> Result<(), (&'static str, c_int)> {
    // SAFETY: takes and gives numbers.
    unsafe {
        let now = call("personality", libc::SYS_personality, [0xffff_ffff])?;
        let kept = now & libc::ADDR_NO_RANDOMIZE as c_long;
        call("personality", libc::SYS_personality, [kept | bits])?;
    }
    Ok(())
}
