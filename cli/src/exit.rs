//! Exit statuses: part of the interface, documented in README and `--help`.

/// How kiln ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExitStatus {
    /// All that was asked for was done.
    Success = 0,
    /// A build, or a check of something built, failed.
    BuildFailed = 1,
    /// The command line, the manifest or the lock has a mistake; nothing was
    /// changed.
    Usage = 2,
    /// Something fetched or stored is not what its hash says.
    HashMismatch = 3,
    /// A claim was not signed by who the policy trusts.
    Untrusted = 4,
    /// A build gave different bytes when it was done again.
    Nondeterministic = 5,
    /// The machine failed: disk, network, sandbox, store.
    Infrastructure = 6,
    /// Ended by Ctrl-C or SIGTERM, as shells report it.
    Interrupted = 130,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}
