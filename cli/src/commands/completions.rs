//! `kiln completions`.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::context::Context;
use crate::error::CliError;

/// Prints the script to stdout.
pub fn run(_context: &Context, args: &CompletionsArgs) -> Result<(), CliError> {
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "kiln", &mut std::io::stdout());
    Ok(())
}
