//! `kiln shell`.

use std::io::IsTerminal;
use std::os::fd::AsRawFd;

use kiln_derivations::build::exec;
use kiln_derivations::build::setting::Setting;
use kiln_derivations::derivation::{Builder, Exec};
use kiln_derivations::sandbox::{self, Exit, SandboxRequest, Terminal};

use crate::args::ShellArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::workshop::{Workshop, build_error, fetch_config};

/// Opens the sandbox of a build, fresh or as a failed one left it.
pub fn run(context: &Context, args: &ShellArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let names = [args.name.clone()];
    let evaluation = context.evaluate_names(&manifest, &names, &args.realise)?;
    let Some(root) = evaluation.roots.first() else {
        return Err(CliError::usage(format!(
            "`{}` is nothing to build",
            args.name
        )));
    };
    let derivation = evaluation.graph.get(root.derivation);
    let Builder::Exec(spec) = &derivation.builder else {
        return Err(CliError::usage(format!(
            "`{}` has no sandbox: it is made by kiln itself ({})",
            args.name,
            derivation.builder.kind()
        )));
    };
    let workshop = Workshop::open(context, &args.realise)?;
    let inputs: Vec<_> = derivation.inputs.iter().map(|i| i.derivation).collect();
    let report = workshop.realise(&manifest, &evaluation.graph, &inputs)?;
    let find_sandbox = |platform| workshop.sandbox_for(&manifest, platform);
    let fetch = || fetch_config(workshop.store(), &manifest);
    let machine = workshop.machine(&fetch, &find_sandbox)?;
    let host = machine.host(spec.platform).map_err(build_error)?;
    let job = workshop.job(derivation, &report)?;
    let shell = Exec {
        argv: argv(&args.command),
        ..spec.clone()
    };
    let mut prepared =
        exec::prepare(&host, &job, &shell, &Setting::of(host.store)).map_err(build_error)?;
    if args.failed {
        let failed = workshop.store().failed_dir(&exec::failed_name(&job));
        use_failed(&mut prepared.request, &failed, &args.name)?;
    }
    introduce(args, &prepared.request);
    enter(context, &host, &mut prepared.request)
}

/// The words of a sandbox's command: a shell if there are none; a program
/// without a path is looked up by the sandbox's own shell.
pub(super) fn argv(command: &[String]) -> Vec<String> {
    match command {
        [] => vec!["/bin/sh".to_owned(), "-i".to_owned()],
        [program, ..] if program.starts_with('/') => command.to_vec(),
        words => {
            let mut argv: Vec<_> = ["/bin/sh", "-c", "exec \"$@\"", "sh"]
                .map(str::to_owned)
                .into();
            argv.extend(words.iter().cloned());
            argv
        }
    }
}

fn use_failed(
    request: &mut SandboxRequest,
    failed: &std::path::Path,
    name: &str,
) -> Result<(), CliError> {
    if !failed.join("build").is_dir() {
        return Err(
            CliError::usage(format!("no failed build of `{name}` was kept"))
                .with_hint(format!("`kiln shell {name}` opens a fresh sandbox")),
        );
    }
    request.build_dir = failed.join("build");
    request.out_dir = failed.join("out");
    Ok(())
}

fn introduce(args: &ShellArgs, request: &SandboxRequest) {
    if !args.command.is_empty() {
        return;
    }
    eprintln!("the sandbox of `{}`; leave it with `exit`", args.name);
    eprintln!("  the script: /in/recipe; its working directory: /build; its output: /out");
    for mount in &request.mounts {
        eprintln!("  {}", mount.at);
    }
}

/// Runs a sandbox on the user's terminal if there is one, else with its output
/// passed on.
pub(super) fn enter(
    context: &Context,
    host: &exec::Host<'_>,
    request: &mut SandboxRequest,
) -> Result<(), CliError> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    if stdin.is_terminal() && stdout.is_terminal() {
        request.terminal = Some(Terminal {
            input: stdin.as_raw_fd(),
            output: stdout.as_raw_fd(),
        });
    }
    let mut pass_on = |bytes: &[u8]| std::io::Write::write_all(&mut std::io::stdout(), bytes);
    let outcome = sandbox::run(host.bwrap, request, &mut pass_on, &context.cancel);
    let outcome = outcome.map_err(|error| CliError::machine(format!("the sandbox: {error}")))?;
    finish(outcome.exit)
}

/// The shell's own end is no failure of kiln's, but its status is passed on as
/// "failed".
fn finish(exit: Exit) -> Result<(), CliError> {
    match exit {
        Exit::Success => Ok(()),
        Exit::Code(_) | Exit::Signal(_) => Err(CliError::Said(ExitStatus::BuildFailed)),
        Exit::Cancelled => Err(CliError::Said(ExitStatus::Interrupted)),
        Exit::Limit(limit) => Err(CliError::plain(
            ExitStatus::BuildFailed,
            format!("the shell was ended: it passed its limit of {limit}"),
        )),
        Exit::Setup(text) => Err(CliError::machine(format!(
            "the sandbox could not be set up: {text}"
        ))),
    }
}
