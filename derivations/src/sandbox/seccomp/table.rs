//! Which system calls the contract refuses, with what errno, and why.
//!
//! The errno is the one a program already knows how to live with: that of a
//! kernel built without the feature, or of a caller without the privilege.

use libc::{EAFNOSUPPORT, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT};

/// A system call that is refused whatever its arguments are.
pub struct Refusal {
    /// The call's name.
    pub name: &'static str,
    /// Its number on x86_64, if it is there.
    pub x86_64: Option<u32>,
    /// Its number on aarch64, if it is there.
    pub aarch64: Option<u32>,
    /// What the caller gets; 0 is success with the value 0.
    pub errno: i32,
    /// Why.
    pub why: &'static str,
}

/// The last system call the contract knows (Linux 5.17). A later one does not
/// exist inside: what a builder can call is then the same on every kernel, and
/// nothing gets in before it was looked at.
pub const LAST_KNOWN: u32 = 450;

/// What a call later than [`LAST_KNOWN`] gets, and what is of another
/// architecture, x32 included.
pub const UNKNOWN: i32 = ENOSYS;

const KEYS: &str = "the host's keyrings are not namespaced";
const MOUNT: &str = "the mounts are the contract's";
const NAMESPACE: &str = "no further namespaces, and no way into others";
const OTHERS: &str = "a process does not look into or steer another one";
const KERNEL: &str = "the kernel is not the builder's";
const HANDLE: &str = "file handles pass by directories, and tell the file system";
const RING: &str = "a second system call interface that this filter cannot see into";
const XATTR: &str = "no tree holds extended attributes; the host's labels are not seen";
const VARIES: &str = "present or not by the kernel's configuration";
const TIME: &str = "the clock is the host's";
const GROUPS: &str = "an ordinary user cannot drop the groups, so they are not shown";

/// The table. Sorted by reason; each call stands once.
#[rustfmt::skip]
pub const REFUSALS: &[Refusal] = &[
    both("add_key",           248, 217, ENOSYS, KEYS),
    both("request_key",       249, 218, ENOSYS, KEYS),
    both("keyctl",            250, 219, ENOSYS, KEYS),
    both("mount",             165,  40, EPERM, MOUNT),
    both("umount2",           166,  39, EPERM, MOUNT),
    both("pivot_root",        155,  41, EPERM, MOUNT),
    both("chroot",            161,  51, EPERM, MOUNT),
    both("swapon",            167, 224, EPERM, MOUNT),
    both("swapoff",           168, 225, EPERM, MOUNT),
    same("open_tree",         428, EPERM, MOUNT),
    same("move_mount",        429, EPERM, MOUNT),
    same("fsopen",            430, EPERM, MOUNT),
    same("fsconfig",          431, EPERM, MOUNT),
    same("fsmount",           432, EPERM, MOUNT),
    same("fspick",            433, EPERM, MOUNT),
    same("mount_setattr",     442, EPERM, MOUNT),
    both("quotactl",          179,  60, EPERM, MOUNT),
    same("quotactl_fd",       443, EPERM, MOUNT),
    both("setns",             308, 268, EPERM, NAMESPACE),
    // Its flags lie in memory, which a filter cannot read; every C library
    // falls back to clone, whose flags are looked at.
    same("clone3",            435, ENOSYS, NAMESPACE),
    both("ptrace",            101, 117, EPERM, OTHERS),
    both("process_vm_readv",  310, 270, EPERM, OTHERS),
    both("process_vm_writev", 311, 271, EPERM, OTHERS),
    both("kcmp",              312, 272, EPERM, OTHERS),
    same("pidfd_getfd",       438, EPERM, OTHERS),
    same("process_madvise",   440, EPERM, OTHERS),
    both("bpf",               321, 280, EPERM, KERNEL),
    both("userfaultfd",       323, 282, EPERM, KERNEL),
    both("perf_event_open",   298, 241, EPERM, KERNEL),
    both("fanotify_init",     300, 262, EPERM, KERNEL),
    both("kexec_load",        246, 104, EPERM, KERNEL),
    both("kexec_file_load",   320, 294, EPERM, KERNEL),
    both("init_module",       175, 105, EPERM, KERNEL),
    both("finit_module",      313, 273, EPERM, KERNEL),
    both("delete_module",     176, 106, EPERM, KERNEL),
    both("reboot",            169, 142, EPERM, KERNEL),
    both("acct",              163,  89, EPERM, KERNEL),
    both("syslog",            103, 116, EPERM, KERNEL),
    x86("iopl",               172, EPERM, KERNEL),
    x86("ioperm",             173, EPERM, KERNEL),
    both("open_by_handle_at", 304, 265, EPERM, HANDLE),
    both("name_to_handle_at", 303, 264, EOPNOTSUPP, HANDLE),
    same("io_uring_setup",    425, ENOSYS, RING),
    same("io_uring_enter",    426, ENOSYS, RING),
    same("io_uring_register", 427, ENOSYS, RING),
    both("setxattr",          188,   5, EOPNOTSUPP, XATTR),
    both("lsetxattr",         189,   6, EOPNOTSUPP, XATTR),
    both("fsetxattr",         190,   7, EOPNOTSUPP, XATTR),
    both("getxattr",          191,   8, EOPNOTSUPP, XATTR),
    both("lgetxattr",         192,   9, EOPNOTSUPP, XATTR),
    both("fgetxattr",         193,  10, EOPNOTSUPP, XATTR),
    both("listxattr",         194,  11, EOPNOTSUPP, XATTR),
    both("llistxattr",        195,  12, EOPNOTSUPP, XATTR),
    both("flistxattr",        196,  13, EOPNOTSUPP, XATTR),
    both("removexattr",       197,  14, EOPNOTSUPP, XATTR),
    both("lremovexattr",      198,  15, EOPNOTSUPP, XATTR),
    both("fremovexattr",      199,  16, EOPNOTSUPP, XATTR),
    both("lookup_dcookie",    212,  18, ENOSYS, VARIES),
    x86("uselib",             134, ENOSYS, VARIES),
    x86("ustat",              136, ENOSYS, VARIES),
    x86("sysfs",              139, ENOSYS, VARIES),
    x86("modify_ldt",         154, ENOSYS, VARIES),
    x86("_sysctl",            156, ENOSYS, VARIES),
    same("landlock_create_ruleset", 444, ENOSYS, VARIES),
    same("landlock_add_rule",       445, ENOSYS, VARIES),
    same("landlock_restrict_self",  446, ENOSYS, VARIES),
    same("memfd_secret",      447, ENOSYS, VARIES),
    both("settimeofday",      164, 170, EPERM, TIME),
    both("clock_settime",     227, 112, EPERM, TIME),
    both("clock_adjtime",     305, 266, EPERM, TIME),
    both("adjtimex",          159, 171, EPERM, TIME),
    both("getgroups",         115, 158, 0, GROUPS),
];

/// So that random bytes can be held still: every library then reads
/// `/dev/urandom`, which can be another file.
pub const NO_RANDOM: &[Refusal] = &[both(
    "getrandom",
    318,
    278,
    ENOSYS,
    "random bytes come from a file that is always the same",
)];

const fn both(
    name: &'static str,
    x86_64: u32,
    aarch64: u32,
    errno: i32,
    why: &'static str,
) -> Refusal {
    Refusal {
        name,
        x86_64: Some(x86_64),
        aarch64: Some(aarch64),
        errno,
        why,
    }
}

const fn same(name: &'static str, number: u32, errno: i32, why: &'static str) -> Refusal {
    both(name, number, number, errno, why)
}

const fn x86(name: &'static str, number: u32, errno: i32, why: &'static str) -> Refusal {
    Refusal {
        name,
        x86_64: Some(number),
        aarch64: None,
        errno,
        why,
    }
}

/// Flags of `clone` that make a namespace: EPERM.
pub const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// Those of `unshare`, which also has the time namespace: EPERM.
pub const UNSHARE_NAMESPACES: u32 = CLONE_NAMESPACES | 0x80;
/// What both get.
pub const NAMESPACE_ERRNO: i32 = EPERM;

/// Requests of `ioctl` that are refused. They push characters into a terminal
/// (TIOCSTI, TIOCLINUX) or load a line discipline's module (TIOCSETD).
pub const TERMINAL_REQUESTS: [u32; 3] = [0x5412, 0x541c, 0x5423];
/// What they get.
pub const TERMINAL_ERRNO: i32 = EPERM;

/// Sockets that exist: within the sandbox and over its own loopback. All other
/// families (vsock, packet, alg, can, tipc, …) are not bound to the network
/// namespace, or make the kernel load a module.
pub const FAMILIES: [Family; 4] = [
    Family {
        domain: 1,
        protocols: &[0],
    }, // AF_UNIX
    Family {
        domain: 2,
        protocols: &[0, 1, 6, 17],
    }, // AF_INET: ICMP, TCP, UDP
    Family {
        domain: 10,
        protocols: &[0, 6, 17, 58],
    }, // AF_INET6: TCP, UDP, ICMPv6
    Family {
        domain: 16,
        protocols: &[0],
    }, // AF_NETLINK: route, to list interfaces
];
/// What any other family gets.
pub const FAMILY_ERRNO: i32 = EAFNOSUPPORT;
/// What another protocol (SCTP, DCCP, MPTCP, …) of these families gets.
pub const PROTOCOL_ERRNO: i32 = EPROTONOSUPPORT;

/// A socket family and what may be spoken in it.
pub struct Family {
    /// First argument of `socket`.
    pub domain: u32,
    /// Allowed third arguments.
    pub protocols: &'static [u32],
}
