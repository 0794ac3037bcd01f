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
//!
//! A child whose builder is emulated needs a user namespace in any case, since
//! that is what an emulator is registered in, and is not started without one.
//! It has to be uid 0 in there to register it, and it is its old uid again in a
//! second one, so that bubblewrap starts as it always does: as nobody's root.
//! The kernel makes no user namespace for a process that shares its memory; so
//! this child is a fork.

mod child;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_void};
use rustix::process::PidfdFlags;

use super::emulation::Handler;
use super::process::Process;
use super::request::HostUser;
use super::variation::Variation;
pub(super) use child::MAPPING;
use child::{empty_set, in_child};

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
    /// What programs of another architecture are to run in.
    pub(super) emulators: &'a [Handler],
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
    /// Of the user namespace that an ordinary user's child is made in.
    maps: Option<Maps>,
    emulation: Option<Emulation>,
    report: *mut Report,
}

/// What to write into `uid_map` and `gid_map`.
struct Maps(CString, CString);

/// How an emulator is registered.
struct Emulation {
    /// Of the user namespace that it is registered in: the user is root there.
    outer: Maps,
    /// Of the one within: the user is itself again.
    inner: Maps,
    /// What to write to `register` of binfmt_misc, one after the other.
    registrations: Vec<CString>,
}

/// Which step of the child failed: shared with it, whether or not all memory is.
struct Report {
    step: &'static str,
    errno: c_int,
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
            started if !self.emulators.is_empty() => started,
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
        // Open until the child has become another program: it names these numbers.
        let handlers = self
            .emulators
            .iter()
            .map(|it| above(it.program(), high.len() + 1))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| not_started("fcntl", error))?;
        let report = SharedReport::new().map_err(|error| not_started("mmap", error))?;
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
            maps: match namespaces & libc::CLONE_NEWUSER {
                0 => None,
                _ => Some(Maps::new(own_ids(), Ids::Same)),
            },
            emulation: (!handlers.is_empty()).then(|| {
                let user = self.user.unwrap_or_else(own_ids);
                let opened = self.emulators.iter().zip(&handlers);
                Emulation {
                    outer: Maps::new(user, Ids::Root),
                    inner: Maps::new(user, Ids::OfRoot),
                    registrations: opened
                        .flat_map(|(it, fd)| it.registrations(fd.as_raw_fd()))
                        .collect(),
                }
            }),
            report: report.0,
        };
        let started = clone(&mut plan, namespaces).map_err(|error| not_started("clone", error))?;
        if let Some((step, source)) = report.read() {
            // It has called `_exit`; only to take leave of it.
            let _ = started.process.wait_gone();
            let _ = started.process.reap();
            return Err(not_started(step, source));
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

fn own_ids() -> HostUser {
    HostUser {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

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

/// What a user's ids are in a user namespace.
#[derive(Clone, Copy)]
enum Ids {
    /// Themselves.
    Same,
    /// 0.
    Root,
    /// Themselves, in one within a namespace in which they are 0.
    OfRoot,
}

impl Maps {
    fn new(user: HostUser, ids: Ids) -> Maps {
        let map = |id: u32| {
            let line = match ids {
                Ids::Same => format!("{id} {id} 1"),
                Ids::Root => format!("0 {id} 1"),
                Ids::OfRoot => format!("{id} 0 1"),
            };
            CString::new(line).expect("numbers hold no NUL")
        };
        Maps(map(user.uid), map(user.gid))
    }
}

/// A [`Report`] in memory that a fork shares as well.
struct SharedReport(*mut Report);

impl SharedReport {
    fn new() -> io::Result<Self> {
        // SAFETY: a new mapping, large and aligned enough for what is put in it.
        unsafe {
            let place = libc::mmap(
                ptr::null_mut(),
                size_of::<Report>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if place == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let report = place.cast::<Report>();
            report.write(Report { step: "", errno: 0 });
            Ok(Self(report))
        }
    }

    /// The step that failed. Only for when the child no longer writes.
    fn read(&self) -> Option<(&'static str, io::Error)> {
        // SAFETY: it was written when it was made. A step that a fork wrote is
        // a constant of this program, which lies at the same place in both.
        let Report { step, errno } = unsafe { self.0.read() };
        (errno != 0).then(|| (step, io::Error::from_raw_os_error(errno)))
    }
}

impl Drop for SharedReport {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made.
        unsafe { libc::munmap(self.0.cast::<c_void>(), size_of::<Report>()) };
    }
}

fn clone(plan: &mut Plan, namespaces: c_int) -> io::Result<Started> {
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    let memory = match plan.emulation {
        Some(_) => 0,
        None => libc::CLONE_VM,
    };
    let waiting = libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let flags = memory | waiting | namespaces | libc::SIGCHLD;
    let mut all = empty_set();
    let mut before = empty_set();
    // SAFETY: the child runs `in_child` on its own stack (or a copy of it), which
    // lives until `clone` returns, and with CLONE_VFORK that is after the child's execve or
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
