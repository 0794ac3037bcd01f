//! Why a boot could not even be tried, or watched.

use std::io;
use std::path::PathBuf;

/// What went wrong on kiln's side; how a guest ended is a [`super::End`].
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The emulator's root is not one.
    #[error("the emulator's root {} has no {}", root.display(), missing.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// What it lacks, from there.
        missing: PathBuf,
    },
    /// KVM was demanded.
    #[error("KVM does not run this kernel here: {0}")]
    NoKvm(String),
    /// Root must not be the emulator's uid on the host.
    #[error(
        "running as root needs an unused, non-zero host uid and gid for the emulator, and only then"
    )]
    HostUser,
    /// bubblewrap could not be started.
    #[error("starting {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A process of the guest did not die.
    #[error("process {pid} of the guest is still there after SIGKILL (stuck in the kernel?)")]
    Undying {
        /// Its pid.
        pid: u32,
    },
    /// The transcript could not be written.
    #[error("writing the transcript {}", path.display())]
    Transcript {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
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
    fn doing(self, doing: &'static str) -> Result<T, BootError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, BootError> {
        self.map_err(|error| BootError::System {
            doing,
            source: error.into(),
        })
    }
}
