//! `kiln init`.

use crate::args::InitArgs;
use crate::context::Context;
use crate::error::CliError;

/// Writes a small manifest.
pub fn run(_context: &Context, _args: &InitArgs) -> Result<(), CliError> {
    Ok(())
}
