//! `kiln lock` and `kiln update`.

use crate::args::{LockArgs, UpdateArgs};
use crate::context::Context;
use crate::error::CliError;

/// Pins what is not pinned.
pub fn lock(_context: &Context, _args: &LockArgs) -> Result<(), CliError> {
    Ok(())
}

/// Pins again.
pub fn update(_context: &Context, _args: &UpdateArgs) -> Result<(), CliError> {
    Ok(())
}
