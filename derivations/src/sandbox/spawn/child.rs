//! The child's side of [`super`], until it is bubblewrap: system calls alone.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use libc::{c_int, c_long, c_void};

use super::super::emulation::step;
use super::{Emulation, Maps, Plan, Processors, Report};
use crate::sandbox::request::HostUser;
use crate::sandbox::variation::MOVING_THE_CLOCKS;

/// The step of writing the id maps.
pub(in crate::sandbox) const MAPPING: &str = "mapping ids";

/// The step that failed and the errno it gave.
type Failed = (&'static str, c_int);

pub(super) fn empty_set() -> libc::sigset_t {
    // SAFETY: a signal set is plain data and all zeroes is the empty one.
    unsafe { std::mem::zeroed() }
}

pub(super) extern "C" fn in_child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the plan, which the parent does not touch before
    // this process has gone or become another program.
    let plan = unsafe { &*argument.cast::<Plan>() };
    let Err((step, errno)) = become_bubblewrap(plan);
    // SAFETY: the report lives as long as the plan; ends only the child and
    // runs no handlers.
    unsafe {
        plan.report.write(Report { step, errno });
        libc::_exit(127)
    }
}

/// Raw system calls only: the C library's wrappers may take locks that another
/// thread of the parent holds, or change the ids of "all threads".
fn become_bubblewrap(plan: &Plan) -> Result<Infallible, Failed> {
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
        if let Some(maps) = &plan.maps {
            map_ids(maps)?;
        }
        vary(plan)?;
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
            become_user(plan, ids)?;
        } else if let Some(emulation) = &plan.emulation {
            emulate(emulation)?;
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

/// What is not as the contract has it.
///
/// # Safety
/// Only in the child, while it may still make namespaces.
unsafe fn vary(plan: &Plan) -> Result<(), Failed> {
    // SAFETY: what is pointed to lives in the parent, which waits.
    unsafe {
        if let Some(clocks) = &plan.clocks {
            // It is bubblewrap that enters it, by execve.
            let flags = libc::CLONE_NEWTIME as c_long;
            call(MOVING_THE_CLOCKS, libc::SYS_unshare, [flags])?;
            let written = write_file(c"/proc/self/timens_offsets", clocks);
            written.map_err(|(_, errno)| (MOVING_THE_CLOCKS, errno))?;
        }
        if let Some(processors) = &plan.processors {
            let (bytes, set) = (size_of::<Processors>() as c_long, processors.as_ptr());
            call(
                "choosing a processor",
                libc::SYS_sched_setaffinity,
                [0, bytes, set as c_long],
            )?;
        }
    }
    Ok(())
}

/// # Safety
/// Only in the child, in the user namespace that the maps are of.
unsafe fn map_ids(Maps(uid_map, gid_map): &Maps) -> Result<(), Failed> {
    // SAFETY: as promised.
    unsafe {
        write_file(c"/proc/self/uid_map", uid_map)?;
        write_file(c"/proc/self/setgroups", c"deny")?;
        write_file(c"/proc/self/gid_map", gid_map)
    }
}

/// Root's child becomes the builder's user.
///
/// A process that changed its user owns nothing in `/proc/self`, root does. So
/// for the maps of an emulator's namespaces it still opens files as root, by the
/// one id that only this is asked of; the last change of the ids takes that away
/// as well. (Making it dumpable would do too, and show this copy of kiln's memory
/// to whatever else has that uid.)
///
/// # Safety
/// Only in the child.
unsafe fn become_user(plan: &Plan, user: HostUser) -> Result<(), Failed> {
    let (uid, gid) = (c_long::from(user.uid), c_long::from(user.gid));
    // SAFETY: as promised; takes and gives numbers.
    unsafe {
        call("setgroups", libc::SYS_setgroups, [0, 0])?;
        call("setresgid", libc::SYS_setresgid, [gid, gid, gid])?;
        if let Some(emulation) = &plan.emulation {
            call("setresuid", libc::SYS_setresuid, [uid, uid, 0])?;
            call("setfsuid", libc::SYS_setfsuid, [0])?;
            emulate(emulation)?;
        }
        call("setresuid", libc::SYS_setresuid, [uid, uid, uid])?;
    }
    Ok(())
}

/// # Safety
/// Only in the child, and only if it does not share its memory.
unsafe fn emulate(emulation: &Emulation) -> Result<(), Failed> {
    let outer = c_long::from(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    let inner = c_long::from(libc::CLONE_NEWUSER);
    // SAFETY: as promised.
    unsafe {
        call(step::NAMESPACES, libc::SYS_unshare, [outer])?;
        map_ids(&emulation.outer)?;
        register_emulator(&emulation.registrations)?;
        call(step::NAMESPACES, libc::SYS_unshare, [inner])?;
        map_ids(&emulation.inner)
    }
}

/// Registers the emulator in this user namespace, for it and those within. What
/// is registered lasts as long as the file system is mounted, so it is mounted,
/// in this mount namespace, where the host would have its own.
///
/// # Safety
/// Only in the child, in user and mount namespaces of its own.
unsafe fn register_emulator(lines: &[CString]) -> Result<(), Failed> {
    const SET_UP: c_long = 6; // FSCONFIG_CMD_CREATE
    const CLOSE_ON_EXEC: c_long = 1; // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
    const FROM_DESCRIPTOR: c_long = 4; // MOVE_MOUNT_F_EMPTY_PATH
    let place = c"/proc/sys/fs/binfmt_misc".as_ptr() as c_long;
    let (root, name) = (c"/".as_ptr() as c_long, c"binfmt_misc".as_ptr() as c_long);
    let private = (libc::MS_REC | libc::MS_PRIVATE) as c_long;
    let restricted = (libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV) as c_long;
    let (here, nothing) = (c_long::from(libc::AT_FDCWD), c"".as_ptr() as c_long);
    let write = c_long::from(libc::O_WRONLY | libc::O_CLOEXEC);
    // SAFETY: as promised; all strings are constants, or the waiting parent's.
    unsafe {
        call(step::PRIVATE, libc::SYS_mount, [0, root, 0, private, 0])?;
        let kind = call(step::KIND, libc::SYS_fsopen, [name, CLOSE_ON_EXEC])?;
        call(step::MOUNT, libc::SYS_fsconfig, [kind, SET_UP, 0, 0, 0])?;
        let mount = [kind, CLOSE_ON_EXEC, restricted];
        let mount = call(step::MOUNT, libc::SYS_fsmount, mount)?;
        let register = c"register".as_ptr() as c_long;
        let register = [mount, register, write, 0];
        let register = call(step::REGISTER, libc::SYS_openat, register)?;
        for line in lines {
            let line = [
                register,
                line.as_ptr() as c_long,
                line.count_bytes() as c_long,
            ];
            call(step::REGISTER, libc::SYS_write, line)?;
        }
        let attach = [mount, nothing, here, place, FROM_DESCRIPTOR];
        call(step::ATTACH, libc::SYS_move_mount, attach)?;
    }
    Ok(())
}

/// # Safety
/// The arguments have to be right for the call.
unsafe fn call<const N: usize>(
    step: &'static str,
    number: c_long,
    arguments: [c_long; N],
) -> Result<c_long, Failed> {
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
unsafe fn write_file(path: &CStr, text: &CStr) -> Result<(), Failed> {
    let (at, path) = (libc::AT_FDCWD as c_long, path.as_ptr() as c_long);
    let (bytes, count) = (text.as_ptr() as c_long, text.to_bytes().len() as c_long);
    // SAFETY: both strings live in the parent, which waits.
    unsafe {
        let fd = call(
            MAPPING,
            libc::SYS_openat,
            [at, path, libc::O_WRONLY as c_long, 0],
        )?;
        let written = call(MAPPING, libc::SYS_write, [fd, bytes, count]);
        call(MAPPING, libc::SYS_close, [fd])?;
        written.map(drop)
    }
}

/// Asked after the parent-death signal is set: it is not sent for a death
/// before that.
///
/// # Safety
/// `parent` has to be a pidfd.
unsafe fn parent_is_dead(parent: RawFd) -> Result<bool, Failed> {
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
    let _ = unsafe { write_file(c"/proc/self/oom_score_adj", c"1000") };
}

/// A native personality with `bits`; address randomisation may be off for kiln
/// and all that it starts.
///
/// # Safety
/// Only in the child.
unsafe fn fixed_personality(bits: c_long) -> Result<(), Failed> {
    // SAFETY: takes and gives numbers.
    unsafe {
        let now = call("personality", libc::SYS_personality, [0xffff_ffff])?;
        let kept = now & libc::ADDR_NO_RANDOMIZE as c_long;
        call("personality", libc::SYS_personality, [kept | bits])?;
    }
    Ok(())
}
