//! Scripts: inputs shown as directories, the sandbox run, the output captured.
//!
//! 1. The inputs are checked out, no two entries sharing an inode.
//! 2. A scratch directory gets `build/` and `out/`, both the builder's.
//! 3. The script runs; its output goes to the log and to whoever listens.
//! 4. Once no process of it is left, `out/` is captured through descriptors.
//! 5. Absolute links into the output become relative, and lints are told.
//!
//! A failed build leaves its scratch directory for `kiln shell --failed`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use kiln_store::hash::TreeId;
use kiln_store::import::{ImportError, Limits as ImportLimits, Rules};
use kiln_store::materialise::Checkout;
use kiln_store::realisation::OutputMap;
use kiln_store::scratch::BuildDir;
use kiln_store::store::Store;
use rustix::fs::{Mode, OFlags, fstatvfs, openat};

use super::error::{BuildError, FailureClass};
use super::log::BuildLog;
use super::setting::{Copies, Setting};
use super::{Built, Job, capture, environment, object_error, store_error};
use crate::derivation::{Exec, Role};
use crate::event::Event;
use crate::sandbox::{
    self, Bwrap, Emulator, Exit, HostUser, Identity, Limits, Mount, Outcome, SandboxRequest,
};

/// Where the source is, read-only, and where its writable copy is.
const SOURCE: &str = "/src";
const SOURCE_COPY: &str = "src";
/// How many files an output may have: more is a runaway, not a build.
const MAX_ENTRIES: u64 = 4_000_000;

/// What scripts need of this machine.
pub struct Host<'a> {
    /// The store.
    pub store: &'a Store,
    /// How to start bubblewrap.
    pub bwrap: &'a Bwrap,
    /// What builders of another platform run in.
    pub emulator: Option<&'a Emulator>,
    /// What builders can see of this machine, to be recorded.
    pub facts: &'a [(String, String)],
    /// As root, who bubblewrap is started as.
    pub user: Option<HostUser>,
    /// `KILN_JOBS`.
    pub cores: usize,
}

/// Everything a sandbox of a job needs, made ready on disk.
pub struct Prepared {
    /// The sandbox.
    pub request: SandboxRequest,
    scratch: BuildDir,
    /// Kept until the sandbox is gone.
    _inputs: Vec<Checkout>,
    _copies: Option<BuildDir>,
}

/// Makes a job's sandbox ready: inputs, scratch directories, environment.
pub fn prepare(
    host: &Host<'_>,
    job: &Job<'_>,
    exec: &Exec,
    setting: &Setting<'_>,
) -> Result<Prepared, BuildError> {
    let trees: Vec<TreeId> = job.inputs.iter().map(|input| input.tree).collect();
    let checkouts = host.store.checkout_set(&trees).map_err(store_error)?;
    let copies = setting.copies.map(|copies| copy_inputs(host, job, &copies));
    let copies = copies.transpose()?;
    let scratch = setting.scratch.new_build_dir(&job.subject.name);
    let scratch = scratch.map_err(store_error)?;
    scratch
        .make_dir(setting.scratch, "out")
        .map_err(store_error)?;
    make_directories(host, job, exec, &scratch, setting)?;
    let shown = |index: usize, checkout: &Checkout| match &copies {
        Some((copies, copied)) if copied[index] => copies.path().join(index.to_string()),
        _ => checkout.path().to_owned(),
    };
    let shown: Vec<PathBuf> = checkouts
        .iter()
        .enumerate()
        .map(|(index, checkout)| shown(index, checkout))
        .collect();
    let (root, mounts) = mounts(job, &shown)?;
    let request = SandboxRequest {
        root,
        mounts,
        build_dir: scratch.path().join("build"),
        out_dir: scratch.path().join("out"),
        argv: exec.argv.iter().map(Into::into).collect(),
        env: environment::variables(job, exec, setting, host.cores),
        identity: match exec.uid {
            0 => Identity::Root,
            _ => Identity::Builder,
        },
        limits: limits(exec),
        host_user: host.user,
        terminal: None,
        variation: setting.variation.clone(),
        emulator: host.emulator.cloned(),
    };
    Ok(Prepared {
        request,
        scratch,
        _inputs: checkouts,
        _copies: copies.map(|(copies, _)| copies),
    })
}

/// Copies inputs next to each other; says which.
fn copy_inputs(
    host: &Host<'_>,
    job: &Job<'_>,
    copies: &Copies<'_>,
) -> Result<(BuildDir, Vec<bool>), BuildError> {
    let directory = copies.at.new_build_dir("inputs").map_err(store_error)?;
    let mut copied = Vec::new();
    let inputs = job.derivation.inputs.iter().zip(&job.inputs);
    for (index, (input, resolved)) in inputs.enumerate() {
        let wanted = copies.executed || !input.role.is_executed();
        copied.push(wanted);
        if wanted {
            let path = directory.path().join(index.to_string());
            host.store
                .copy_in_order(&resolved.tree, &path, copies.order, false)
                .map_err(store_error)?;
        }
    }
    Ok((directory, copied))
}

fn make_directories(
    host: &Host<'_>,
    job: &Job<'_>,
    exec: &Exec,
    scratch: &BuildDir,
    setting: &Setting<'_>,
) -> Result<(), BuildError> {
    let make = |name: &str| {
        let made = scratch.make_dir(setting.scratch, name);
        made.map_err(store_error)
    };
    make("build")?;
    if let Some(name) = &setting.variation.work_dir {
        make(&format!("build/{name}"))?;
    }
    if let [_, _, ..] = job.derivation.outputs.as_slice() {
        for output in &job.derivation.outputs {
            make(&format!("out/{output}"))?;
        }
    }
    let source = job.derivation.inputs.iter().position(|i| i.at == SOURCE);
    if let (true, Some(source)) = (exec.copy_source, source) {
        let copy = scratch.path().join("build").join(SOURCE_COPY);
        let tree = &job.inputs[source].tree;
        match setting.copies {
            Some(copies) => host.store.copy_in_order(tree, &copy, copies.order, true),
            None => host.store.copy_to(tree, &copy),
        }
        .map_err(store_error)?;
    }
    Ok(())
}

fn mounts(job: &Job<'_>, shown: &[PathBuf]) -> Result<(PathBuf, Vec<Mount>), BuildError> {
    let mut root = None;
    let mut mounts = Vec::new();
    for (input, source) in job.derivation.inputs.iter().zip(shown) {
        let source = source.clone();
        if input.role == Role::Root {
            root = Some(source);
            continue;
        }
        let at = input.at.parse().map_err(|error| sandbox_error(&error))?;
        mounts.push(Mount { source, at });
    }
    match root {
        Some(root) => Ok((root, mounts)),
        None => Err(BuildError::new(
            FailureClass::Sandbox,
            "the derivation has no build root",
        )),
    }
}

fn limits(exec: &Exec) -> Limits {
    let contract = Limits::default();
    let set = &exec.limits;
    let processes = set.processes.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Limits {
        memory_bytes: set.memory_bytes.unwrap_or(contract.memory_bytes),
        processes: processes.unwrap_or(contract.processes),
        output_bytes: set.output_bytes.unwrap_or(contract.output_bytes),
        log_bytes: set.log_bytes.unwrap_or(contract.log_bytes),
        wall_s: set.wall_s.unwrap_or(contract.wall_s),
        silence_s: set.silence_s.unwrap_or(contract.silence_s),
        hard: set.hard,
    }
}

/// Runs a job's script and captures what it made.
pub fn build(host: &Host<'_>, job: &Job<'_>, exec: &Exec) -> Result<Built, BuildError> {
    build_in(host, job, exec, &Setting::of(host.store))
}

/// [`build`], in a setting of its own.
pub fn build_in(
    host: &Host<'_>,
    job: &Job<'_>,
    exec: &Exec,
    setting: &Setting<'_>,
) -> Result<Built, BuildError> {
    let prepared = prepare(host, job, exec, setting)?;
    let mut log = BuildLog::create(setting.results, &job.keys.action)?;
    let outcome = {
        let mut on_output = |bytes: &[u8]| {
            log.write(bytes, &mut |line| {
                job.listener.event(&Event::Log {
                    derivation: job.subject.clone(),
                    line,
                });
            })
        };
        sandbox::run(host.bwrap, &prepared.request, &mut on_output, job.cancel)
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            log.discard();
            return Err(sandbox_error(&error));
        }
    };
    let failure = failure(job, &outcome, &prepared.request.limits_in_force())
        .map(|failure| blame_full_disk(failure, &prepared.scratch));
    let tail = log.finish()?;
    let keep = |scratch, failure, tail| match setting.keep_failed {
        true => keep(job, scratch, failure, tail),
        false => BuildError {
            log_tail: tail,
            ..failure
        },
    };
    if let Some(failure) = failure {
        return Err(keep(prepared.scratch, failure, tail));
    }
    match capture_outputs(setting.results, job, exec, &prepared) {
        Ok(outputs) => Ok(Built {
            outputs,
            facts: host.facts.to_vec(),
            cpu_s: outcome.cpu.as_secs_f64(),
            ..Built::default()
        }),
        Err(failure) if failure.class == FailureClass::Output => {
            Err(keep(prepared.scratch, failure, tail))
        }
        Err(failure) => Err(failure),
    }
}

/// With less than this nobody builds anything.
const FULL_BELOW_BYTES: u64 = 1 << 20;

/// A script that fails on a full disk seldom says so in a way that can be told
/// from any other failure.
fn blame_full_disk(failure: BuildError, scratch: &BuildDir) -> BuildError {
    let full = fstatvfs(scratch.fd()).is_ok_and(|disk| {
        let no_inodes = disk.f_files > 0 && disk.f_favail == 0;
        no_inodes || disk.f_bavail.saturating_mul(disk.f_frsize) < FULL_BELOW_BYTES
    });
    if failure.class != FailureClass::Exit || !full {
        return failure;
    }
    let text = "and the disk of the store is full: No space left on device";
    BuildError::new(
        FailureClass::DiskFull,
        format!("{}, {text}", failure.message),
    )
}

/// Keeps the scratch directory of a failed build, unless it was only stopped or
/// its room is needed.
fn keep(job: &Job<'_>, scratch: BuildDir, failure: BuildError, tail: Vec<String>) -> BuildError {
    let kept = match failure.class {
        FailureClass::Cancelled => return failure,
        FailureClass::DiskFull => None,
        _ => scratch.keep_failed(&failed_name(job)).ok(),
    };
    BuildError {
        log_tail: tail,
        kept,
        ..failure
    }
}

/// Under which name a failed build's tree is kept.
pub fn failed_name(job: &Job<'_>) -> String {
    match job.subject.target {
        Some(target) => format!("{}-{target}", job.subject.name),
        None => job.subject.name.clone(),
    }
}

fn failure(job: &Job<'_>, outcome: &Outcome, limits: &Limits) -> Option<BuildError> {
    let name = &job.subject.name;
    let new = |class, text: String| Some(BuildError::new(class, text));
    match &outcome.exit {
        Exit::Success => None,
        Exit::Code(code) => new(
            FailureClass::Exit,
            format!("the script of `{name}` ended with status {code}"),
        ),
        Exit::Signal(signal) => new(
            FailureClass::Exit,
            format!("the script of `{name}` was ended by signal {signal}"),
        ),
        Exit::Limit(limit) => new(
            FailureClass::Limit,
            format!(
                "`{name}` was ended: it passed its limit of {} ({})",
                limit,
                limit_value(*limit, limits)
            ),
        ),
        Exit::Cancelled => new(FailureClass::Cancelled, format!("`{name}` was stopped")),
        Exit::Setup(text) => new(
            FailureClass::Sandbox,
            format!(
                "the sandbox of `{name}` could not be set up: {text}; `kiln doctor` looks for the cause"
            ),
        ),
    }
}

fn limit_value(limit: sandbox::Limit, limits: &Limits) -> String {
    use sandbox::Limit;
    match limit {
        Limit::Memory => format!("{} bytes", limits.memory_bytes),
        Limit::Processes => format!("{} processes", limits.processes),
        Limit::Output => format!("{} bytes", limits.output_bytes),
        Limit::Log => format!("{} bytes", limits.log_bytes),
        Limit::Wall => format!("{} s", limits.wall_s),
        Limit::Silence => format!("{} s", limits.silence_s),
    }
}

fn capture_outputs(
    store: &Store,
    job: &Job<'_>,
    exec: &Exec,
    prepared: &Prepared,
) -> Result<OutputMap, BuildError> {
    let out = open_below(&prepared.scratch, "out")?;
    let limits = ImportLimits {
        bytes: prepared.request.limits.output_bytes,
        entries: MAX_ENTRIES,
        ..ImportLimits::default()
    };
    let mut outputs = OutputMap::new();
    for name in &job.derivation.outputs {
        let directory = match job.derivation.outputs.len() {
            1 => out.try_clone().map_err(|error| machine("out", &error))?,
            _ => open_output(&out, name)?,
        };
        let captured = store.import(directory.as_fd(), &Rules::output(limits));
        let captured = captured.map_err(|error| import_error(name, error))?;
        if captured.entries == 0 {
            let text = format!(
                "`{}` made no output `{name}`: /out is empty",
                job.subject.name
            );
            return Err(BuildError::new(FailureClass::Output, text));
        }
        let tree = finish_output(store, job, exec, name, captured.tree)?;
        outputs.push((name.clone(), tree));
    }
    outputs.sort();
    Ok(outputs)
}

fn finish_output(
    store: &Store,
    job: &Job<'_>,
    exec: &Exec,
    name: &str,
    tree: TreeId,
) -> Result<TreeId, BuildError> {
    let mut prefixes = vec![match job.derivation.outputs.len() {
        1 => "/out".to_owned(),
        _ => format!("/out/{name}"),
    }];
    prefixes.extend(exec.at.clone());
    let tree = capture::relative_links(store, &tree, &prefixes).map_err(|e| object_error(&e))?;
    for lint in capture::lint(store, &tree).map_err(|e| object_error(&e))? {
        job.listener.event(&Event::Lint {
            derivation: job.subject.clone(),
            path: lint.path,
            why: lint.why,
        });
    }
    Ok(tree)
}

fn open_below(scratch: &BuildDir, name: &str) -> Result<File, BuildError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = openat(scratch.fd(), name, flags, Mode::empty());
    fd.map(File::from)
        .map_err(|error| machine(name, &error.into()))
}

/// Opens the directory of one output among several; a script may have put
/// anything in its place.
fn open_output(out: &File, name: &str) -> Result<File, BuildError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(out, name, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| {
            let text = format!("output `{name}` is no directory any more: {error}");
            BuildError::new(FailureClass::Output, text)
        })
}

fn import_error(name: &str, error: ImportError) -> BuildError {
    match error {
        ImportError::Store(error) => store_error(error),
        other => BuildError::new(FailureClass::Output, format!("output `{name}`: {other}")),
    }
}

fn sandbox_error(error: &dyn std::error::Error) -> BuildError {
    let mut text = error.to_string();
    let mut class = FailureClass::Sandbox;
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        if error.downcast_ref().is_some_and(is_disk_full) {
            class = FailureClass::DiskFull;
        }
        cause = error.source();
    }
    BuildError::new(class, text)
}

fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn machine(what: &str, error: &io::Error) -> BuildError {
    BuildError::new(FailureClass::Machine, format!("{what}: {error}"))
}
