//! What `verify` changes of a sandbox, to see whether an output depends on it.
//!
//! A build has none of it. Some of it is free in the contract anyway (the
//! address space, the processors); the rest the contract fixes, and a recipe
//! that relies on that gives other bytes wherever the contract does not hold.

use std::path::PathBuf;

use super::request::MountPoint;

/// The step that fails where the clocks cannot be moved: there are no time
/// namespaces, or only bubblewrap may make namespaces.
pub const MOVING_THE_CLOCKS: &str = "moving the clocks";

/// Departures from the contract; the default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variation {
    /// Another host name.
    pub host_name: Option<String>,
    /// Another uid and gid, as seen inside.
    pub id: Option<u32>,
    /// Another file mode creation mask.
    pub umask: Option<u32>,
    /// Start below `/build`, in a directory of this name.
    pub work_dir: Option<String>,
    /// Have no address randomised.
    pub fixed_addresses: bool,
    /// Have the kernel call itself 2.6, as its UNAME26 personality does.
    pub old_release: bool,
    /// Run on this processor only.
    pub processor: Option<usize>,
    /// Let the clocks that count from the start of the machine run ahead by so
    /// many seconds (a time namespace).
    pub uptime_ahead_s: Option<u32>,
    /// Start and end so many processes before the builder, whose process id is
    /// then a later one.
    pub processes_before: u32,
    /// A file of the host that all random bytes are read from.
    pub random: Option<PathBuf>,
    /// More directories of the host to be mounted, read-only.
    pub mounts: Vec<(PathBuf, MountPoint)>,
}
