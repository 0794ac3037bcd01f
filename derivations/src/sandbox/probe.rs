//! Whether a bubblewrap works here.
use std::ffi::OsStr;

use super::{Bwrap, HostUser};

/// Why not.
#[derive(Debug, thiserror::Error)]
#[error("no bubblewrap on this machine")]
pub struct Unusable;

/// The host's bubblewrap, if it can be used.
pub fn host(path: &OsStr, _user: Option<HostUser>) -> Result<Bwrap, Unusable> {
    Bwrap::in_path(path).ok_or(Unusable)
}

/// Tries one.
pub fn check(_bwrap: &Bwrap, _user: Option<HostUser>) -> Result<(), Unusable> {
    Ok(())
}
