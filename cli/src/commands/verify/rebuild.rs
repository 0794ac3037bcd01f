//! Building again: what names stand for, or all that they were built from, in
//! the order of dependence.
//!
//! Every derivation is built from the inputs that are in the store, whatever
//! came of building those again: so what one of them changes is not blamed on
//! what uses it.

use std::path::{Path, PathBuf};

use kiln_derivations::build::Job;
use kiln_derivations::build::error::FailureClass;
use kiln_derivations::derivation::Builder;
use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::manifest::Manifest;
use kiln_derivations::manifest::schema::Runner;
use kiln_derivations::realise::execute::Report;
use kiln_derivations::realise::world::Machine;
use kiln_derivations::verify::{self, Effort, Factor, Offers, Outcome, Site, Verdict};
use kiln_store::hash::TreeId;
use kiln_store::realisation::OutputMap;
use kiln_store::store::Store;

use super::rehash;
use super::report::{self, Verified};
use crate::args::VerifyArgs;
use crate::context::{self, Context};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::workshop::{Workshop, build_error, fetch_config, root_ids};

/// Directories that are often a tmpfs.
const OTHER_DISKS: [&str; 4] = ["/dev/shm", "/run/shm", "/tmp", "/var/tmp"];

/// Builds again and compares.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    if args.names.is_empty() {
        return Err(
            CliError::usage("--rebuild and --perturb need to be told what to build again")
                .with_hint("kiln verify --rebuild NAME; with --closure also all it was built from"),
        );
    }
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let graph = &evaluation.graph;
    let workshop = Workshop::open(context, &args.realise)?;
    let roots = root_ids(&evaluation);
    let known = workshop.known(graph, &roots)?;
    let subjects = subjects(args, graph, &roots, &known)?;
    let inputs = inputs(graph, &subjects);
    let realised = workshop.realise(&manifest, graph, &inputs)?;
    let find_sandbox = |platform| workshop.sandbox_for(&manifest, platform);
    let fetch = || fetch_config(workshop.store(), &manifest);
    let machine = workshop.machine(&fetch, &find_sandbox)?;
    let scratch = Scratch::new(workshop.store())?;
    let offers = offers(&workshop, &manifest, args, &scratch);
    let site = Site::open(offers, context::builder_user()?)?;
    let verifying = Verifying {
        context,
        args,
        workshop: &workshop,
        machine: &machine,
        site: &site,
        effort: effort(args),
        realised: &realised,
    };
    let verified = verifying.all(graph, &subjects, &known)?;
    report::print(context, &verified)?;
    status(&verified)
}

fn effort(args: &VerifyArgs) -> Effort {
    let factors = match args.factor.as_slice() {
        [] => Factor::varied().collect(),
        some => some.to_vec(),
    };
    match (args.each, args.perturb || !args.factor.is_empty()) {
        (true, _) => Effort::Each(factors),
        (false, true) => Effort::Together(factors),
        (false, false) => Effort::Rebuild,
    }
}

/// What is to be built again, what it needs before it.
fn subjects(
    args: &VerifyArgs,
    graph: &Graph,
    roots: &[DerivationId],
    known: &[Option<OutputMap>],
) -> Result<Vec<DerivationId>, CliError> {
    for root in roots {
        if known[root.index()].is_none() {
            let name = &graph.get(*root).name;
            return Err(rehash::not_built(name));
        }
    }
    for name in &args.only {
        if !graph.iter().any(|(_, derivation)| derivation.name == *name) {
            return Err(CliError::usage(format!(
                "--only: nothing that this is built from is called `{name}`"
            ))
            .with_hint("`kiln graph NAME --all` lists all there is"));
        }
    }
    let wanted = |id: &DerivationId| match args.only.as_slice() {
        [] => args.closure || roots.contains(id),
        only => only.contains(&graph.get(*id).name),
    };
    Ok(graph.iter().map(|(id, _)| id).filter(wanted).collect())
}

fn inputs(graph: &Graph, subjects: &[DerivationId]) -> Vec<DerivationId> {
    let edges = subjects.iter().flat_map(|id| &graph.get(*id).inputs);
    let mut inputs: Vec<_> = edges.map(|input| input.derivation).collect();
    inputs.sort();
    inputs.dedup();
    inputs
}

fn offers(
    workshop: &Workshop<'_>,
    manifest: &Manifest,
    args: &VerifyArgs,
    scratch: &Scratch,
) -> Offers {
    let perturbs = effort(args) != Effort::Rebuild;
    let root = |runner: Option<&Runner>, key: &str| match runner {
        Some(runner) => workshop
            .built_root(manifest, &runner.root)
            .map_err(|error| error.message),
        None => Err(format!("the manifest names no `[verify] {key}`")),
    };
    let unless_asked = || Err("nothing was to be varied".to_owned());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let others = OTHER_DISKS.iter().map(PathBuf::from);
    Offers {
        scratch: scratch.path.clone(),
        other_disks: others.chain(runtime).collect(),
        // Also for a mere rebuild: it is what names the clock as a cause.
        clock: root(manifest.verify.clock.as_ref(), "clock"),
        locale: match perturbs {
            true => root(manifest.verify.locale.as_ref(), "locale"),
            false => unless_asked(),
        },
    }
}

/// The directory of this process below the store, removed at the end. What a
/// killed process left is removed by the next one.
struct Scratch {
    path: PathBuf,
    _alive: std::fs::File,
}

impl Scratch {
    fn new(store: &Store) -> Result<Self, CliError> {
        let parent = store.verify_directory();
        let failed =
            |error: std::io::Error| CliError::machine(format!("{}: {error}", parent.display()));
        std::fs::create_dir_all(&parent).map_err(failed)?;
        open_to_builders(&parent).map_err(failed)?;
        sweep(&parent, &store.compared()).map_err(failed)?;
        let path = parent.join(std::process::id().to_string());
        loop {
            std::fs::create_dir_all(&path).map_err(failed)?;
            let alive = std::fs::File::open(&path).map_err(failed)?;
            alive.lock().map_err(failed)?;
            // Another process may have swept it before it was locked.
            if path.exists() {
                return Ok(Self {
                    path,
                    _alive: alive,
                });
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn open_to_builders(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
}

fn sweep(parent: &Path, kept: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        if path == kept {
            continue;
        }
        // One that is gone was another's, which has just ended.
        let owner_is_gone = |file: std::fs::File| file.try_lock().is_ok();
        if std::fs::File::open(&path).is_ok_and(owner_is_gone) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

struct Verifying<'a> {
    context: &'a Context,
    args: &'a VerifyArgs,
    workshop: &'a Workshop<'a>,
    machine: &'a Machine<'a>,
    site: &'a Site,
    effort: Effort,
    realised: &'a Report,
}

impl Verifying<'_> {
    fn all(
        &self,
        graph: &Graph,
        subjects: &[DerivationId],
        known: &[Option<OutputMap>],
    ) -> Result<Vec<Verified>, CliError> {
        let mut all: Vec<Verified> = Vec::new();
        let mut stopped = false;
        for id in subjects {
            let derivation = graph.get(*id);
            let job = self.workshop.job(derivation, self.realised)?;
            let mut verified = Verified::new(&job);
            match &known[id.index()] {
                None => verified.not_built("it was never built here"),
                Some(_) if stopped => {
                    verified.not_built("an earlier one differs; --keep-going goes on");
                }
                Some(expected) => self.one(&job, expected, &mut verified)?,
            }
            stopped |= !verified.is_good() && !self.args.realise.keep_going;
            all.push(verified);
        }
        Ok(all)
    }

    fn one(
        &self,
        job: &Job<'_>,
        expected: &OutputMap,
        verified: &mut Verified,
    ) -> Result<(), CliError> {
        if matches!(job.derivation.builder, Builder::Fetch(_)) && self.args.realise.offline {
            verified.not_built("it is a download, and --offline forbids it");
            return Ok(());
        }
        self.announce(job);
        match verify::check(self.machine, self.site, job, expected, &self.effort) {
            Ok(verdict) => {
                self.keep(&verdict, verified)?;
                verified.judged(verdict);
                Ok(())
            }
            Err(error) if error.class == FailureClass::HashMismatch => {
                verified.failed(error.message);
                Ok(())
            }
            Err(error) => Err(build_error(error)),
        }
    }

    fn announce(&self, job: &Job<'_>) {
        if !self.context.global.quiet {
            eprintln!("building again: {}", crate::progress::title(&job.subject));
        }
    }

    /// Puts two trees that differ where people can look at them.
    fn keep(&self, verdict: &Verdict, verified: &mut Verified) -> Result<(), CliError> {
        for pair in &verdict.pairs {
            // What kiln itself makes again shares most of its objects with the
            // real store, and is whole in neither.
            if pair.explanation.is_none() || !verified.is_of_a_script() {
                continue;
            }
            let directory = self.kept(verified, &pair.output);
            std::fs::create_dir_all(&directory)
                .map_err(|error| CliError::machine(format!("{}: {error}", directory.display())))?;
            self.export(&pair.expected, &directory.join("expected"))?;
            self.export(&pair.got, &directory.join("got"))?;
            diffoscope(&directory);
            verified.kept(&pair.output, &directory);
        }
        Ok(())
    }

    /// Copies a tree out of the store that has all of it.
    fn export(&self, tree: &TreeId, place: &Path) -> Result<(), CliError> {
        let scratch = self.site.store();
        let store = match scratch.export(tree, place, true) {
            Ok(()) => return Ok(()),
            Err(_) => self.workshop.store(),
        };
        Ok(store.export(tree, place, true)?)
    }

    fn kept(&self, verified: &Verified, output: &str) -> PathBuf {
        let default = || self.workshop.store().compared();
        let directory = self.args.keep.clone().unwrap_or_else(default);
        directory.join(verified.file_name(output))
    }
}

/// Puts diffoscope's report beside two trees, if it is installed. Its exit
/// status says whether they differ, which is known.
fn diffoscope(directory: &Path) {
    let report = directory.join("diffoscope.txt");
    let _ = std::process::Command::new("diffoscope")
        .arg("--text")
        .arg(report)
        .args(["expected", "got"])
        .current_dir(directory)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
}

/// How kiln ends: what differs comes before what failed.
fn status(verified: &[Verified]) -> Result<(), CliError> {
    let first = |outcome| verified.iter().find(|it| it.outcome() == Some(outcome));
    if let Some(differs) = first(Outcome::Differs) {
        return Err(CliError::plain(
            ExitStatus::Nondeterministic,
            format!("{} is not reproducible", differs.title()),
        ));
    }
    if let Some(failed) = first(Outcome::Failed) {
        return Err(CliError::plain(
            ExitStatus::BuildFailed,
            format!("{} could not be built again", failed.title()),
        ));
    }
    Ok(())
}
