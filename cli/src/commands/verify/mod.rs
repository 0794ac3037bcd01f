//! `kiln verify`: rehashing what is stored, comparing a loose file or others'
//! claims, building again.

mod caches;
mod loose;
mod rebuild;
mod rehash;
mod report;

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::CliError;

/// Verifies in the way that the arguments ask for.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    match &args.against {
        Some(name) => loose::run(context, args, name),
        None if args.caches => caches::run(context, args),
        None if args.builds_again() => rebuild::run(context, args),
        None => rehash::run(context, args),
    }
}
