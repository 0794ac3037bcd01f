//! The `kiln` command: words for people, JSON for machines, exit statuses.
//!
//! - [`args`]: the command line, whose doc comments are the help texts.
//! - [`context`]: what commands share; the only reader of the environment.
//! - [`sharing`]: caches, trust and the user's key.
//! - [`workshop`]: realising for commands.
//! - [`commands`]: one file a command.
//! - [`progress`]: who listens to events.
//! - [`error`], [`exit`]: how commands fail.

mod args;
mod checkout;
mod commands;
mod context;
mod error;
mod exit;
mod guest;
mod interrupt;
mod output;
mod progress;
mod results;
mod sharing;
mod workshop;

use std::process::ExitCode;

use clap::Parser;
use miette::{GraphicalReportHandler, GraphicalTheme};

use args::Cli;
use context::Context;
use error::CliError;
use exit::ExitStatus;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no mistakes; clap knows the difference.
        Err(error) => {
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitStatus::Usage.into(),
                false => ExitStatus::Success.into(),
            };
        }
    };
    match run(cli) {
        Ok(()) => ExitStatus::Success.into(),
        Err(error) => {
            say(&error);
            error.status().into()
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let context = Context {
        global: cli.global,
        cancel: interrupt::install()?,
    };
    commands::run(&context, cli.command)
}

fn say(error: &CliError) {
    match error {
        CliError::Said(_) => {}
        CliError::Plain { message, hint, .. } => {
            eprintln!("error: {message}");
            if let Some(hint) = hint {
                eprintln!("  help: {hint}");
            }
        }
        CliError::Diagnostic(diagnostic, _) => {
            let mut text = String::new();
            let theme = match output::is_plain() {
                true => GraphicalTheme::unicode_nocolor(),
                false => GraphicalTheme::unicode(),
            };
            let handler = GraphicalReportHandler::new_themed(theme);
            match handler.render_report(&mut text, diagnostic.as_ref()) {
                Ok(()) => eprint!("{text}"),
                Err(_) => eprintln!("error: {diagnostic}"),
            }
        }
    }
}
