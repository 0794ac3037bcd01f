//! What can go wrong around a sandbox, apart from the build itself.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::emulation::NoEmulation;
use super::request::MountPoint;

/// A request that breaks one of its MUSTs.
#[derive(Debug, thiserror::Error)]
pub enum BadRequest {
    /// Not `/src`, `/sysroot`, `/toolchain` or `/in/NAME`.
    #[error("{0:?} is not a place for an input: /src, /sysroot, /toolchain or /in/NAME")]
    MountPoint(String),
    /// Two inputs at one place.
    #[error("two inputs are mounted at {0}")]
    MountedTwice(MountPoint),
    /// A relative path of the host.
    #[error("{} is not an absolute path", .0.display())]
    RelativePath(PathBuf),
    /// No program, a relative one, or an argument with a NUL byte.
    #[error("{0:?} is not a program with an absolute path and arguments without NUL")]
    Program(OsString),
    /// A variable that cannot be set.
    #[error("the environment variable {0:?} has a name or a value that cannot be set")]
    Variable(String),
    /// Root must not be the builder's uid on the host: a builder without any
    /// capability could still write root's files in `/proc/sys`.
    #[error("running as root needs an unused, non-zero host uid and gid for the builder")]
    RootWithoutUser,
    /// Only root can start bubblewrap as another user.
    #[error("only root can give the builder another host uid")]
    UserWithoutRoot,
    /// An emulator of the machine's own architecture.
    #[error("an emulator is given for programs that this machine runs itself")]
    EmulatedNatively,
    /// A limit of 0.
    #[error("a limit on memory, processes or wall time is 0")]
    ZeroLimit,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The request breaks a MUST.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// This host's own limit is below what the contract fixes.
    #[error(
        "the resource limit {name} of this host is {host}, the sandbox contract needs {wanted}; \
         raise it (ulimit -H, limits.conf or LimitXXX= of the service)"
    )]
    HostLimit {
        /// Name of the limit, as in `ulimit`'s manual.
        name: &'static str,
        /// What the host allows.
        host: u64,
        /// What the contract needs.
        wanted: u64,
    },
    /// The derivation asks for hard limits and there is no delegated cgroup.
    #[error(
        "limits = \"hard\" needs a delegated cgroup v2 with memory and pids, and there is none: {0}"
    )]
    NoHardLimits(String),
    /// Programs of another architecture cannot be run here.
    #[error("builders of another platform cannot run here: {0}; {remedy}", remedy = .0.remedy())]
    Emulation(NoEmulation),
    /// The log could not be written; the sandbox was killed.
    #[error("writing the build log")]
    Log(#[source] io::Error),
    /// A process of the sandbox did not die.
    #[error(
        "process {pid} of the sandbox is still there {waited_s} s after SIGKILL (stuck in the kernel?)"
    )]
    Undying {
        /// Its pid on the host.
        pid: i32,
        /// How long was waited.
        waited_s: u64,
    },
    /// A system call failed.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Names what was being done when a system call failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, SandboxError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, SandboxError> {
        self.map_err(|error| SandboxError::System {
            doing,
            source: error.into(),
        })
    }
}
