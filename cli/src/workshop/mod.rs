//! Realising for commands: the store, the machine, and what is said when a
//! build fails.
//!
//! - [`sandbox`]: what builds run in.

mod sandbox;

use std::sync::{Mutex, OnceLock};

use kiln_derivations::build::Job;
use kiln_derivations::build::error::{BuildError, FailureClass};
use kiln_derivations::derivation::resolve::{self, Keys, ResolvedInput};
use kiln_derivations::derivation::{Builder, Derivation, Target};
use kiln_derivations::event::Listener;
use kiln_derivations::fetch::FetchConfig;
use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::manifest::{Evaluation, Manifest, Sharing};
use kiln_derivations::realise::caches::{Cache, Caches};
use kiln_derivations::realise::execute::{AskWorld, Failure, Options, Report, execute, subject};
use kiln_derivations::realise::plan::{Plan, State};
use kiln_derivations::realise::world::{FetchHow, FindSandbox, Machine, Sandboxing};
use kiln_derivations::sandbox::HostUser;
use kiln_store::materialise::Checkout;
use kiln_store::realisation::OutputMap;
use kiln_store::scratch::BuildDir;
use kiln_store::store::Store;

use crate::args::RealiseArgs;
use crate::context::{self, Context};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::sharing::{self, Bandwidth};

pub use sandbox::host_sandbox;

/// How many CPUs one build gets if nobody says.
fn all_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What commands realise derivations with.
pub struct Workshop<'c> {
    context: &'c Context,
    args: &'c RealiseArgs,
    store: Store,
    listeners: Vec<Box<dyn Listener + Send>>,
    /// The pinned roots that programs are run from; in use until the end.
    roots: Mutex<Vec<Checkout>>,
    /// Directories of this process, removed at the end.
    scratch: Mutex<Vec<BuildDir>>,
    sandboxing: Mutex<Option<Sandboxing>>,
    /// The same, for builders of another platform.
    emulating: Mutex<Option<Sandboxing>>,
    /// With whom is shared, and the caches, opened when they are first needed.
    sharing: OnceLock<(Sharing, Vec<Cache>)>,
    builds: bool,
}

impl<'c> Workshop<'c> {
    /// Opens the store.
    pub fn open(context: &'c Context, args: &'c RealiseArgs) -> Result<Self, CliError> {
        Ok(Self {
            context,
            args,
            store: context.store()?,
            listeners: context.listener()?,
            roots: Mutex::default(),
            scratch: Mutex::default(),
            sandboxing: Mutex::default(),
            emulating: Mutex::default(),
            sharing: OnceLock::new(),
            builds: true,
        })
    }

    /// The same, that has everything from others or not at all.
    pub fn without_building(self) -> Self {
        Self {
            builds: false,
            ..self
        }
    }

    /// The same, that asks these caches and no others.
    pub fn with_caches(self, sharing: Sharing, caches: Vec<Cache>) -> Self {
        Self {
            sharing: OnceLock::from((sharing, caches)),
            ..self
        }
    }

    /// With whom is shared, unless nobody shall be asked.
    fn sharing(&self, manifest: &Manifest) -> Result<Option<&(Sharing, Vec<Cache>)>, CliError> {
        if self.args.no_caches {
            return Ok(None);
        }
        if self.sharing.get().is_none() {
            let sharing = sharing::of(manifest)?;
            // Where nobody is believed, nobody has to be asked.
            let caches = match self.args.offline || sharing.policy.is_empty() {
                true => Vec::new(),
                false => sharing::caches(&sharing, &self.store, &self.bandwidth())?,
            };
            let _ = self.sharing.set((sharing, caches));
        }
        Ok(self.sharing.get().filter(|(it, _)| !it.policy.is_empty()))
    }

    /// How fast bytes go to and from caches.
    pub fn bandwidth(&self) -> Bandwidth {
        Bandwidth::new(self.context, self.args.bandwidth)
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Realises `roots` of `graph` with their bytes; a failure is said on
    /// stderr and ends the command.
    pub fn realise(
        &self,
        manifest: &Manifest,
        graph: &Graph,
        roots: &[DerivationId],
    ) -> Result<Report, CliError> {
        let find_sandbox = |platform| self.sandbox_for(manifest, platform);
        self.run(manifest, graph, roots, &find_sandbox, &self.listeners)
    }

    fn run(
        &self,
        manifest: &Manifest,
        graph: &Graph,
        roots: &[DerivationId],
        find_sandbox: &FindSandbox<'_>,
        listener: &dyn Listener,
    ) -> Result<Report, CliError> {
        let fetch = || fetch_config(&self.store, manifest);
        let mut machine = self.machine(&fetch, find_sandbox)?;
        machine.builds = self.builds;
        machine.others = self.others(manifest, graph, roots, listener)?;
        let options = Options {
            jobs: usize::from(self.args.jobs),
            downloads: usize::from(self.args.downloads),
            keep_going: self.args.keep_going,
            bytes: true,
        };
        let report = execute(
            graph,
            roots,
            &machine,
            &options,
            listener,
            &self.context.cancel,
        );
        let report = report.map_err(build_error)?;
        for failure in &report.failures {
            say(failure);
        }
        match report.failures.first() {
            Some(first) => Err(CliError::Said(status(first.error.class))),
            None if report.is_success() => Ok(report),
            None => Err(interrupted()),
        }
    }

    /// Whom to ask about what `roots` need, if anybody is believed.
    pub fn others<'o>(
        &'o self,
        manifest: &Manifest,
        graph: &Graph,
        roots: &[DerivationId],
        listener: &'o dyn Listener,
    ) -> Result<Option<Caches<'o>>, CliError> {
        let Some((sharing, caches)) = self.sharing(manifest)? else {
            return Ok(None);
        };
        let subjects = sharing::subjects(manifest, graph, roots);
        let told = (listener, &self.context.cancel);
        let others = Caches::new(&self.store, &sharing.policy, caches, subjects, told);
        Ok(Some(others.map_err(build_error)?))
    }

    /// Who listens to what happens.
    pub fn listener(&self) -> &dyn Listener {
        &self.listeners
    }

    /// Shows the first root of a report as a directory.
    pub fn checkout(&self, report: &Report) -> Result<Checkout, CliError> {
        let outputs = report.roots.iter().flatten().next();
        let Some((_, tree)) = outputs.and_then(|(_, outputs)| outputs.first()) else {
            return Err(CliError::machine("what was built has no output"));
        };
        Ok(self.store.checkout(tree)?)
    }

    /// Where builders run.
    pub fn build_platform(&self) -> Result<Target, CliError> {
        match self.args.build_platform {
            Some(platform) => Ok(platform),
            None => context::host(),
        }
    }

    /// What would be done for `roots`: `build`, `download`, `pull`, or `unknown`
    /// until what it needs is built; with the name of each.
    pub fn plan(
        &self,
        manifest: &Manifest,
        graph: &Graph,
        roots: &[DerivationId],
    ) -> Result<Vec<(&'static str, String)>, CliError> {
        let others = self.others(manifest, graph, roots, &self.listeners)?;
        let plan = self.advanced(graph, roots, true, others)?;
        let unfinished = plan.unfinished();
        let mut states = Vec::new();
        for (id, state) in plan.states() {
            let derivation = graph.get(id);
            let verb = match (state, &derivation.builder) {
                (State::Absent(..), _) => "pull",
                (State::Missing(_), Builder::Fetch(_)) => "download",
                (State::Missing(_), _) => "build",
                (State::Unresolved, _) if unfinished.contains(&id) => "unknown",
                _ => continue,
            };
            let target = derivation
                .target
                .map_or_else(String::new, |t| format!(" ({t})"));
            states.push((verb, format!("{}{target}", derivation.name)));
        }
        Ok(states)
    }

    /// The keys of one derivation, if all that it needs was realised before.
    pub fn keys(&self, graph: &Graph, id: DerivationId) -> Result<Option<Keys>, CliError> {
        let plan = self.advanced(graph, &[id], false, None)?;
        Ok(match plan.state(id) {
            State::Known(keys, _) | State::Missing(keys) => Some(*keys),
            _ => None,
        })
    }

    /// Every derivation that was realised before, with keys and outputs.
    pub fn realised(
        &self,
        graph: &Graph,
        roots: &[DerivationId],
    ) -> Result<Vec<(DerivationId, Keys, OutputMap)>, CliError> {
        let plan = self.advanced(graph, roots, false, None)?;
        let realised = plan.states().filter_map(|(id, state)| {
            let (keys, outputs) = state.outputs()?;
            Some((id, *keys, outputs.clone()))
        });
        Ok(realised.collect())
    }

    /// The outputs of every derivation that was realised before, by its number.
    pub fn known(
        &self,
        graph: &Graph,
        roots: &[DerivationId],
    ) -> Result<Vec<Option<OutputMap>>, CliError> {
        let plan = self.advanced(graph, roots, false, None)?;
        let outputs = graph.iter().map(|(id, _)| match plan.state(id) {
            State::Known(_, outputs) => Some(outputs.clone()),
            _ => None,
        });
        Ok(outputs.collect())
    }

    fn advanced<'g>(
        &self,
        graph: &'g Graph,
        roots: &[DerivationId],
        bytes: bool,
        others: Option<Caches<'_>>,
    ) -> Result<Plan<'g>, CliError> {
        let fetch = || fetch_config(&self.store, &Manifest::default());
        let mut machine = self.machine(&fetch, &no_sandbox)?;
        machine.others = others;
        let mut plan = Plan::new(graph, roots, bytes);
        plan.advance(&AskWorld(&machine)).map_err(build_error)?;
        Ok(plan)
    }

    /// A job for a derivation whose inputs are realised in `report`.
    pub fn job<'j>(
        &'j self,
        derivation: &'j Derivation,
        report: &Report,
    ) -> Result<Job<'j>, CliError> {
        let inputs = derivation.inputs.iter().map(|input| {
            let (_, keys, outputs) = report
                .realised
                .iter()
                .find(|(id, _, _)| *id == input.derivation)?;
            let (_, tree) = outputs.iter().find(|(name, _)| *name == input.output)?;
            Some(ResolvedInput {
                tree: *tree,
                lineage: keys.lineage,
            })
        });
        let inputs = inputs.collect::<Option<Vec<_>>>();
        let inputs =
            inputs.ok_or_else(|| CliError::machine("an input of the sandbox is not realised"))?;
        let keys = resolve::keys(derivation, &inputs);
        Ok(Job {
            derivation,
            keys,
            inputs,
            subject: subject(derivation, &keys),
            listener: &self.listeners,
            cancel: &self.context.cancel,
        })
    }

    /// Gives the pinned roots, which stay where they are until they are dropped.
    pub fn into_roots(self) -> Vec<Checkout> {
        self.roots.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    /// A directory of the builders' user that stays until the command ends. It
    /// has the name of this process's session: whatever else lies among the
    /// builders' directories is taken for a dead one's by the next kiln.
    pub fn scratch(&self, name: &str) -> Result<std::path::PathBuf, CliError> {
        let directory = self.store.new_build_dir(name)?;
        let path = directory.path();
        let mut all = self.scratch.lock().unwrap_or_else(|e| e.into_inner());
        all.push(directory);
        Ok(path)
    }

    /// Gives the store back.
    pub fn into_store(self) -> Store {
        self.store
    }

    /// This machine as derivations are built on it.
    pub fn machine<'m>(
        &'m self,
        fetch: &'m FetchHow<'m>,
        find_sandbox: &'m FindSandbox<'m>,
    ) -> Result<Machine<'m>, CliError> {
        Ok(Machine {
            store: &self.store,
            fetch: (!self.args.offline).then_some(fetch),
            find_sandbox,
            user: self.user()?,
            cores: self.args.cores.map_or_else(all_cpus, usize::from),
            fetcher: OnceLock::new(),
            leases: Mutex::default(),
            sandboxing: OnceLock::new(),
            others: None,
            builds: true,
        })
    }

    /// As root, who builders run as.
    pub fn user(&self) -> Result<Option<HostUser>, CliError> {
        let user = context::builder_user()?;
        Ok(user.map(|(uid, gid)| HostUser { uid, gid }))
    }
}

/// How this machine fetches for a store.
pub fn fetch_config(store: &Store, manifest: &Manifest) -> FetchConfig {
    let mut config = FetchConfig::of_machine(store.downloads());
    let debian = manifest.mirrors.debian.iter();
    config
        .mirrors
        .extend(debian.map(|mirror| mirror.to_string()));
    config
}

/// For what runs no script.
pub fn no_sandbox(_: Target) -> Result<Sandboxing, BuildError> {
    let text = "nothing is built here";
    Err(BuildError::new(FailureClass::Sandbox, text))
}

/// The roots of an evaluation as the executor wants them.
pub fn root_ids(evaluation: &Evaluation) -> Vec<DerivationId> {
    evaluation
        .roots
        .iter()
        .map(|root| root.derivation)
        .collect()
}

/// A failure that is no builder's.
pub fn build_error(error: BuildError) -> CliError {
    CliError::plain(status(error.class), error.message)
}

fn machine_error(error: &CliError) -> BuildError {
    let text = match error {
        CliError::Said(_) => "it could not be made ready".to_owned(),
        other => other.to_string(),
    };
    let class = match error.status() {
        ExitStatus::Interrupted => FailureClass::Cancelled,
        _ => FailureClass::Sandbox,
    };
    BuildError::new(class, text)
}

fn interrupted() -> CliError {
    CliError::plain(
        ExitStatus::Interrupted,
        "interrupted; nothing is running any more, and the next run goes on from here",
    )
}

/// Says what failed: the message, the last lines of the log, and what to do.
fn say(failure: &Failure) {
    let title = crate::progress::title(&failure.subject);
    let error = &failure.error;
    eprintln!("error: {title}: {}", error.message);
    if !error.log_tail.is_empty() {
        eprintln!("  the last lines of its log:");
        for line in &error.log_tail {
            eprintln!("    {line}");
        }
        eprintln!("  the whole log: kiln log {}", failure.subject.action);
    }
    if error.kept.is_some() {
        let target = failure.subject.target;
        let target = target.map_or_else(String::new, |target| format!(" --target {target}"));
        eprintln!(
            "  its sandbox, as it was left: kiln shell --failed {}{target}",
            failure.subject.name
        );
    }
}

/// How kiln ends after a failure of this class.
fn status(class: FailureClass) -> ExitStatus {
    match class {
        FailureClass::Exit
        | FailureClass::Limit
        | FailureClass::Output
        | FailureClass::Compose
        | FailureClass::Archive
        | FailureClass::Changed => ExitStatus::BuildFailed,
        FailureClass::HashMismatch => ExitStatus::HashMismatch,
        FailureClass::Untrusted => ExitStatus::Untrusted,
        FailureClass::Unavailable
        | FailureClass::Sandbox
        | FailureClass::DiskFull
        | FailureClass::Machine => ExitStatus::Infrastructure,
        FailureClass::Cancelled => ExitStatus::Interrupted,
    }
}
