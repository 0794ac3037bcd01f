//! `kiln run`.

use std::collections::BTreeMap;

use kiln_derivations::build::exec;
use kiln_derivations::build::setting::Setting;
use kiln_derivations::derivation::{Builder, Derivation, Exec, Input, Limits, Role};
use kiln_derivations::graph::DerivationId;
use kiln_derivations::manifest::evaluate::Root;

use super::shell;
use crate::args::RunArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::workshop::{Workshop, build_error, fetch_config};

/// Runs a program of a package, in a sandbox made of what built it.
pub fn run(context: &Context, args: &RunArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let names = [args.name.clone()];
    let evaluation = context.evaluate_names(&manifest, &names, &args.realise)?;
    let Some(root) = evaluation.roots.first() else {
        return Err(CliError::usage(format!(
            "`{}` is nothing to run",
            args.name
        )));
    };
    let built = evaluation.graph.get(root.derivation);
    let Builder::Exec(spec) = &built.builder else {
        return Err(CliError::usage(format!(
            "`{}` is no package: only what a script built can be run",
            args.name
        )));
    };
    let at = spec.at.clone().filter(|at| is_mount_point(at));
    let at = at.unwrap_or_else(|| format!("/in/{}", args.name));
    let sandbox = sandbox_of(built, spec, root, &at, &args.command)?;
    let workshop = Workshop::open(context, &args.realise)?;
    let needed: Vec<DerivationId> = sandbox.inputs.iter().map(|i| i.derivation).collect();
    let report = workshop.realise(&manifest, &evaluation.graph, &needed)?;
    let find_sandbox = |platform| workshop.sandbox_for(&manifest, platform);
    let fetch = || fetch_config(workshop.store(), &manifest);
    let machine = workshop.machine(&fetch, &find_sandbox)?;
    let host = machine.host(spec.platform).map_err(build_error)?;
    let job = workshop.job(&sandbox, &report)?;
    let Builder::Exec(spec) = &sandbox.builder else {
        unreachable!("it was made as one")
    };
    let mut prepared =
        exec::prepare(&host, &job, spec, &Setting::of(host.store)).map_err(build_error)?;
    shell::enter(context, &host, &mut prepared.request)
}

fn is_mount_point(at: &str) -> bool {
    matches!(at, "/src" | "/sysroot" | "/toolchain") || at.starts_with("/in/")
}

/// A sandbox with the package's own build root and its output.
fn sandbox_of(
    built: &Derivation,
    spec: &Exec,
    root: &Root,
    at: &str,
    command: &[String],
) -> Result<Derivation, CliError> {
    let build_root = built.inputs.iter().find(|input| input.role == Role::Root);
    let build_root =
        build_root.ok_or_else(|| CliError::usage(format!("`{}` has no build root", built.name)))?;
    let output = Input {
        derivation: root.derivation,
        output: root.output.clone(),
        role: Role::Tool,
        at: at.to_owned(),
    };
    let path =
        format!("{at}/bin:{at}/usr/bin:{at}/sbin:{at}/usr/sbin:/usr/bin:/usr/sbin:/bin:/sbin");
    Ok(Derivation {
        inputs: vec![build_root.clone(), output],
        builder: Builder::Exec(Exec {
            argv: shell::argv(command),
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            limits: Limits::default(),
            copy_source: false,
            ..spec.clone()
        }),
        outputs: vec![kiln_derivations::derivation::OUT.to_owned()],
        ..built.clone()
    })
}
