//! One file a command. Each takes its arguments and the context, and prints
//! its result.

mod boot;
pub mod build;
mod cache;
mod completions;
mod doctor;
mod export;
mod gc;
mod graph;
mod import;
mod init;
mod key;
mod lock;
mod log;
mod pull;
mod push;
mod run;
mod schema;
mod shell;
mod store;
mod test;
mod verify;
mod why;

use crate::args::Command;
use crate::context::Context;
use crate::error::CliError;

/// Runs a command.
pub fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Init(args) => init::run(context, &args),
        Command::Lock(args) => lock::lock(context, &args),
        Command::Update(args) => lock::update(context, &args),
        Command::Build(args) => build::run(context, &args),
        Command::Boot(args) => boot::run(context, &args),
        Command::Test(args) => test::run(context, &args),
        Command::Shell(args) => shell::run(context, &args),
        Command::Run(args) => run::run(context, &args),
        Command::Log(args) => log::run(context, &args),
        Command::Gc(args) => gc::run(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Graph(args) => graph::run(context, &args),
        Command::Why(args) => why::run(context, &args),
        Command::Push(args) => push::run(context, &args),
        Command::Pull(args) => pull::run(context, &args),
        Command::Export(args) => export::run(context, &args),
        Command::Import(args) => import::run(context, &args),
        Command::Key(args) => key::run(context, &args),
        Command::Cache(args) => cache::run(context, &args),
        Command::Store(args) => store::run(context, &args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(context, &args),
    }
}
