//! The executor: starts what the plan says can be started, and tells the plan
//! what came of it.
//!
//! One thread owns the plan. Each builder has a thread of its own for as long
//! as it runs (a sandbox dies with the thread that started it). A builder's
//! outputs are passed on as soon as they are in the store; that they are also
//! durable is waited for, and reported, while what needs them already runs.
//!
//! Between processes: a builder runs under the lock of its action key, and
//! looks again, once it has the lock, whether somebody else has built it.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};
use std::time::Instant;

use kiln_store::hash::{ActionKey, TreeId};
use kiln_store::realisation::{OutputMap, Realisation};

use super::plan::{Oracle, Plan, State};
use crate::build::error::{BuildError, FailureClass};
use crate::build::{Built, Job};
use crate::cancel::Cancel;
use crate::derivation::resolve::Keys;
use crate::derivation::{Builder, Derivation};
use crate::event::{EVENTS_VERSION, Event, Listener, Subject};
use crate::graph::{DerivationId, Graph};

/// What the executor needs of the world.
pub trait World: Sync {
    /// The outputs that an action is known to have.
    fn known(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError>;

    /// Whether all bytes of a tree are present.
    fn is_present(&self, tree: &TreeId) -> Result<bool, BuildError>;

    /// The right to build `action`, which one thread of one process has at a
    /// time; `waiting` is called if somebody else has it.
    fn lock(&self, action: &ActionKey, waiting: &dyn Fn()) -> Result<Box<dyn Send>, BuildError>;

    /// Makes the outputs of a derivation, and leaves them in the store.
    fn build(&self, job: &Job<'_>) -> Result<Built, BuildError>;

    /// Records a claim, durably, with all that it names.
    fn register(&self, realisation: Realisation) -> Result<(), BuildError>;
}

/// How much is done at one time.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Builders that run at one time, downloads aside.
    pub jobs: usize,
    /// Downloads at one time.
    pub downloads: usize,
    /// After a failure, go on with what does not need it.
    pub keep_going: bool,
    /// Whether the bytes of what is asked for are wanted, or only its digests.
    pub bytes: bool,
}

/// A derivation that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub subject: Subject,
    /// Why.
    pub error: BuildError,
}

/// What came of it all.
#[derive(Debug, Default)]
pub struct Report {
    /// The keys and outputs of what was asked for, as far as it was realised,
    /// in the order of the asking.
    pub roots: Vec<Option<(Keys, OutputMap)>>,
    /// The keys and outputs of every derivation that was realised.
    pub realised: Vec<(DerivationId, Keys, OutputMap)>,
    /// How many were built, downloads included.
    pub built: usize,
    /// How many of those were downloads.
    pub fetched: usize,
    /// Bytes that were downloaded.
    pub fetched_bytes: u64,
    /// How many were found realised.
    pub reused: usize,
    /// How many were not tried.
    pub skipped: usize,
    /// What failed, in the order of failing.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Whether all that was asked for is realised.
    pub fn is_success(&self) -> bool {
        self.failures.is_empty() && self.roots.iter().all(Option::is_some)
    }
}

/// Realises `roots` and what they need.
pub fn execute(
    graph: &Graph,
    roots: &[DerivationId],
    world: &dyn World,
    options: &Options,
    listener: &dyn Listener,
    cancel: &Cancel,
) -> Result<Report, BuildError> {
    let (sender, receiver) = mpsc::channel();
    let mut executor = Executor {
        graph,
        world,
        options,
        listener,
        cancel,
        plan: Plan::new(graph, roots, options.bytes),
        running: Running::default(),
        report: Report::default(),
        stopped: false,
        reported: vec![false; graph.len()],
    };
    listener.event(&Event::Start {
        version: EVENTS_VERSION,
        derivations: executor.plan.states().count(),
    });
    // The scope waits for builders that run; nobody wants what they make once
    // the executor itself has failed.
    thread::scope(|scope| {
        let run = executor.run(scope, &sender, &receiver);
        run.inspect_err(|_| cancel.cancel())
    })?;
    executor.finish()
}

/// What a builder's thread has to say.
enum Message {
    /// Its outputs are in the store.
    Outputs(DerivationId, OutputMap),
    /// It is over: registered, or failed.
    Over(DerivationId, Result<Built, BuildError>),
}

/// What runs. A builder gives its place back once its outputs are in the store;
/// its thread goes on until they are durable.
#[derive(Default)]
struct Running {
    builds: usize,
    downloads: usize,
    threads: usize,
}

struct Executor<'e> {
    graph: &'e Graph,
    world: &'e dyn World,
    options: &'e Options,
    listener: &'e dyn Listener,
    cancel: &'e Cancel,
    plan: Plan<'e>,
    running: Running,
    report: Report,
    /// No builder is started any more.
    stopped: bool,
    /// Whose reuse was reported already.
    reported: Vec<bool>,
}

/// A world as the plan asks it.
pub struct AskWorld<'w>(pub &'w dyn World);

impl Oracle for AskWorld<'_> {
    type Error = BuildError;

    fn outputs(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError> {
        self.0.known(action)
    }

    fn is_present(&self, tree: &TreeId) -> Result<bool, BuildError> {
        self.0.is_present(tree)
    }
}

impl<'e> Executor<'e> {
    fn run<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
    ) -> Result<(), BuildError>
    where
        'e: 'scope,
    {
        loop {
            self.stopped |= self.cancel.is_cancelled();
            if !self.stopped {
                self.start_what_can(scope, sender)?;
            }
            if self.running.threads == 0 {
                return Ok(());
            }
            // A sender is held here, so that receiving cannot fail.
            let Ok(message) = receiver.recv() else {
                return Ok(());
            };
            self.take(message);
        }
    }

    fn start_what_can<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: &Sender<Message>,
    ) -> Result<(), BuildError>
    where
        'e: 'scope,
    {
        let ready = self.plan.advance(&AskWorld(self.world))?;
        self.report_reuse();
        for id in ready {
            let derivation = self.graph.get(id);
            if !self.running.take_place(derivation, self.options) {
                continue;
            }
            self.start(scope, sender.clone(), id);
        }
        Ok(())
    }

    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: Sender<Message>,
        id: DerivationId,
    ) where
        'e: 'scope,
    {
        let derivation = self.graph.get(id);
        let inputs = self.plan.resolved_inputs(derivation).unwrap_or_default();
        self.plan.start(id);
        let State::Running(keys) = *self.plan.state(id) else {
            unreachable!("the plan said that it can be started")
        };
        let job = Job {
            derivation,
            keys,
            inputs,
            subject: subject(derivation, &keys),
            listener: self.listener,
            cancel: self.cancel,
        };
        let world = self.world;
        scope.spawn(move || {
            let result = work(world, &job, &|outputs| {
                // The receiver lives as long as this scope.
                let _ = sender.send(Message::Outputs(id, outputs));
            });
            let _ = sender.send(Message::Over(id, result));
        });
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Outputs(id, outputs) => {
                self.running.leave_place(self.graph.get(id));
                self.plan.finish(id, outputs);
            }
            Message::Over(id, result) => {
                self.running.threads -= 1;
                if matches!(self.plan.state(id), State::Running(_)) {
                    self.running.leave_place(self.graph.get(id));
                }
                match result {
                    Ok(built) => self.count(id, &built),
                    Err(error) => self.fail(id, error),
                }
            }
        }
    }

    fn count(&mut self, id: DerivationId, built: &Built) {
        if built.found {
            self.report.reused += 1;
            return;
        }
        self.report.built += 1;
        if is_download(self.graph.get(id)) {
            self.report.fetched += 1;
            self.report.fetched_bytes += built.fetched_bytes;
        }
    }

    fn fail(&mut self, id: DerivationId, error: BuildError) {
        let keys = match self.plan.state(id) {
            State::Running(keys) | State::Done(keys, _) => *keys,
            _ => return,
        };
        self.plan.fail(id);
        let first = self.report.failures.is_empty();
        let subject = subject(self.graph.get(id), &keys);
        // What was stopped because of another failure is no failure of its own.
        if error.class == FailureClass::Cancelled && (!first || self.cancel.is_cancelled()) {
            self.report.skipped += 1;
        } else {
            self.listener.event(&Event::Failed {
                derivation: subject.clone(),
                class: error.class.name(),
                message: error.message.clone(),
            });
            self.report.failures.push(Failure { subject, error });
        }
        if !self.options.keep_going {
            self.stopped = true;
            self.cancel.cancel();
        }
    }

    fn report_reuse(&mut self) {
        for (id, state) in self.plan.states() {
            if let State::Known(keys, _) = state
                && !self.reported[id.index()]
            {
                self.reported[id.index()] = true;
                self.report.reused += 1;
                self.listener.event(&Event::Reused {
                    derivation: subject(self.graph.get(id), keys),
                });
            }
        }
    }

    fn finish(mut self) -> Result<Report, BuildError> {
        for (id, state) in self.plan.states() {
            match state {
                State::Known(keys, outputs) | State::Done(keys, outputs) => {
                    self.report.realised.push((id, *keys, outputs.clone()));
                }
                State::Failed | State::Unwanted => {}
                _ => self.report.skipped += 1,
            }
        }
        let outputs = |id: &DerivationId| match self.plan.state(*id) {
            State::Known(keys, outputs) | State::Done(keys, outputs) => {
                Some((*keys, outputs.clone()))
            }
            _ => None,
        };
        self.report.roots = self.plan.roots().iter().map(outputs).collect();
        self.listener.event(&Event::End {
            built: self.report.built,
            fetched: self.report.fetched,
            reused: self.report.reused,
            failed: self.report.failures.len(),
            skipped: self.report.skipped,
            fetched_bytes: self.report.fetched_bytes,
        });
        Ok(self.report)
    }
}

impl Running {
    fn take_place(&mut self, derivation: &Derivation, options: &Options) -> bool {
        let (count, limit) = match is_download(derivation) {
            true => (&mut self.downloads, options.downloads),
            false => (&mut self.builds, options.jobs),
        };
        let free = *count < limit;
        *count += usize::from(free);
        self.threads += usize::from(free);
        free
    }

    fn leave_place(&mut self, derivation: &Derivation) {
        match is_download(derivation) {
            true => self.downloads -= 1,
            false => self.builds -= 1,
        }
    }
}

fn is_download(derivation: &Derivation) -> bool {
    matches!(derivation.builder, Builder::Fetch(_))
}

/// How events name a derivation.
pub fn subject(derivation: &Derivation, keys: &Keys) -> Subject {
    Subject {
        name: derivation.name.clone(),
        builder: derivation.builder.kind(),
        target: derivation.target.map(|target| target.name()),
        action: keys.action,
    }
}

/// One builder's thread: lock, look again, build, pass on, register.
fn work(
    world: &dyn World,
    job: &Job<'_>,
    pass_on: &dyn Fn(OutputMap),
) -> Result<Built, BuildError> {
    let waiting = || {
        job.listener.event(&Event::Waiting {
            derivation: job.subject.clone(),
        });
    };
    let lock = world.lock(&job.keys.action, &waiting)?;
    if let Some(outputs) = built_meanwhile(world, job)? {
        pass_on(outputs.clone());
        return Ok(Built::found(outputs));
    }
    job.listener.event(&Event::Started {
        derivation: job.subject.clone(),
    });
    let start = Instant::now();
    let built = world.build(job)?;
    let wall_s = start.elapsed().as_secs_f64();
    pass_on(built.outputs.clone());
    world.register(built.realisation(job))?;
    drop(lock);
    job.listener.event(&Event::Built {
        derivation: job.subject.clone(),
        recipe: job.keys.recipe,
        outputs: built.outputs.iter().cloned().collect::<BTreeMap<_, _>>(),
        wall_s,
        cpu_s: built.cpu_s,
    });
    Ok(built)
}

fn built_meanwhile(world: &dyn World, job: &Job<'_>) -> Result<Option<OutputMap>, BuildError> {
    let Some(outputs) = world.known(&job.keys.action)? else {
        return Ok(None);
    };
    for (_, tree) in &outputs {
        if !world.is_present(tree)? {
            return Ok(None);
        }
    }
    Ok(Some(outputs))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use kiln_store::hash::Digest;

    use super::*;
    use crate::derivation::{Fetch, Input, Local, LocalOrigin, OUT, Role, Unpack};

    /// What a builder of the fake world does.
    type Make = dyn Fn(&Job<'_>) -> Result<String, BuildError> + Sync;

    /// A world in memory, in which a builder's output is a text.
    struct Fake<'m> {
        make: &'m Make,
        known: Mutex<HashMap<ActionKey, OutputMap>>,
        locks: Mutex<HashMap<ActionKey, Arc<Lock>>>,
        /// Who built what, in the order of starting.
        built: Mutex<Vec<String>>,
        running: AtomicUsize,
        most_running: AtomicUsize,
    }

    #[derive(Default)]
    struct Lock {
        taken: Mutex<bool>,
        freed: Condvar,
    }

    struct Held(Arc<Lock>);

    impl Drop for Held {
        fn drop(&mut self) {
            *self.0.taken.lock().expect("no panic") = false;
            self.0.freed.notify_all();
        }
    }

    fn tree(text: &str) -> TreeId {
        TreeId(Digest::of(text.as_bytes()))
    }

    fn out(text: &str) -> OutputMap {
        vec![(OUT.to_owned(), tree(text))]
    }

    impl<'m> Fake<'m> {
        fn new(make: &'m Make) -> Self {
            Self {
                make,
                known: Mutex::default(),
                locks: Mutex::default(),
                built: Mutex::default(),
                running: AtomicUsize::new(0),
                most_running: AtomicUsize::new(0),
            }
        }

        fn lock_of(&self, action: &ActionKey) -> Arc<Lock> {
            let mut locks = self.locks.lock().expect("no panic");
            Arc::clone(locks.entry(*action).or_default())
        }

        fn take_built(&self) -> Vec<String> {
            let mut built = std::mem::take(&mut *self.built.lock().expect("no panic"));
            built.sort();
            built
        }
    }

    impl World for Fake<'_> {
        fn known(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError> {
            Ok(self.known.lock().expect("no panic").get(action).cloned())
        }

        fn is_present(&self, _tree: &TreeId) -> Result<bool, BuildError> {
            Ok(true)
        }

        fn lock(
            &self,
            action: &ActionKey,
            waiting: &dyn Fn(),
        ) -> Result<Box<dyn Send>, BuildError> {
            let lock = self.lock_of(action);
            let mut taken = lock.taken.lock().expect("no panic");
            if *taken {
                waiting();
            }
            while *taken {
                taken = lock.freed.wait(taken).expect("no panic");
            }
            *taken = true;
            drop(taken);
            Ok(Box::new(Held(lock)))
        }

        fn build(&self, job: &Job<'_>) -> Result<Built, BuildError> {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            let name = job.subject.name.clone();
            self.built.lock().expect("no panic").push(name);
            let made = (self.make)(job);
            self.running.fetch_sub(1, Ordering::SeqCst);
            Ok(Built {
                outputs: out(&made?),
                fetched_bytes: 10,
                ..Built::default()
            })
        }

        fn register(&self, realisation: Realisation) -> Result<(), BuildError> {
            let mut known = self.known.lock().expect("no panic");
            known.insert(realisation.action, realisation.outputs);
            Ok(())
        }
    }

    /// Remembers what happened as `event name`.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Listener for Heard {
        fn event(&self, event: &Event) {
            let value = serde_json::to_value(event).expect("an event is JSON");
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let line = format!(
                "{} {}",
                text(&value["event"]),
                text(&value["derivation"]["name"])
            );
            self.0
                .lock()
                .expect("no panic")
                .push(line.trim_end().to_owned());
        }
    }

    /// A graph from lines `name: input input`, inputs first; a name that starts
    /// with `get` is a download. `version` is in the key of what has no input.
    fn graph(version: &str, lines: &[&str]) -> (Graph, DerivationId) {
        let mut graph = Graph::default();
        let mut ids: HashMap<&str, DerivationId> = HashMap::new();
        let mut last = None;
        for line in lines {
            let (name, inputs) = line.split_once(':').expect("a name and its inputs");
            let inputs: Vec<_> = inputs.split_whitespace().map(|input| ids[input]).collect();
            let seed = match inputs.is_empty() {
                true => format!("{name} {version}"),
                false => name.to_owned(),
            };
            let id = graph.add(step(name, &seed, &inputs));
            ids.insert(name, id);
            last = Some(id);
        }
        (graph, last.expect("a line"))
    }

    fn step(name: &str, seed: &str, inputs: &[DerivationId]) -> Derivation {
        let input = |(index, &derivation): (usize, &DerivationId)| Input {
            derivation,
            output: OUT.to_owned(),
            role: Role::Material,
            at: format!("/in/{index}"),
        };
        let builder = match name.starts_with("get") {
            true => Builder::Fetch(Fetch {
                urls: Vec::new(),
                first_seen: String::new(),
                hash: seed.to_owned(),
                size_bytes: 0,
                unpack: Unpack::Git,
            }),
            false => Builder::Local(Local {
                tree: tree(seed),
                origin: LocalOrigin::Files(Vec::new()),
            }),
        };
        Derivation {
            name: name.to_owned(),
            description: String::new(),
            target: None,
            executed_on: None,
            builder,
            inputs: inputs.iter().enumerate().map(input).collect(),
            outputs: vec![OUT.to_owned()],
        }
    }

    fn options(jobs: usize, keep_going: bool) -> Options {
        Options {
            jobs,
            downloads: 2,
            keep_going,
            bytes: true,
        }
    }

    fn run(world: &Fake<'_>, graph: &(Graph, DerivationId), options: &Options) -> Report {
        run_until(world, graph, options, &Cancel::new().expect("an eventfd"))
    }

    fn run_until(
        world: &Fake<'_>,
        (graph, root): &(Graph, DerivationId),
        options: &Options,
        cancel: &Cancel,
    ) -> Report {
        let heard = Heard::default();
        let report = execute(graph, &[*root], world, options, &heard, cancel);
        let heard = heard.0.into_inner().expect("no panic");
        assert_eq!(heard.first().map(String::as_str), Some("start"));
        assert_eq!(heard.last().map(String::as_str), Some("end"));
        report.expect("the world does not fail")
    }

    fn echo(job: &Job<'_>) -> Result<String, BuildError> {
        Ok(job.subject.name.clone())
    }

    fn broken(job: &Job<'_>, name: &str) -> Result<String, BuildError> {
        match job.subject.name == name {
            true => Err(BuildError::new(FailureClass::Exit, "it broke")),
            false => echo(job),
        }
    }

    const DIAMOND: [&str; 5] = [
        "get: ",
        "left: get",
        "right: get",
        "aside: ",
        "top: left right aside",
    ];

    /// Built, fetched, reused, skipped, failed.
    fn counts(report: &Report) -> [usize; 5] {
        [
            report.built,
            report.fetched,
            report.reused,
            report.skipped,
            report.failures.len(),
        ]
    }

    #[test]
    fn builds_each_once_and_then_nothing() {
        for jobs in [1, 2, 8] {
            let world = Fake::new(&echo);
            let graph = graph("1", &DIAMOND);
            let report = run(&world, &graph, &options(jobs, false));
            assert!(report.is_success());
            assert_eq!(counts(&report), [5, 1, 0, 0, 0]);
            assert_eq!(report.fetched_bytes, 10);
            assert_eq!(world.take_built(), ["aside", "get", "left", "right", "top"]);
            assert!(world.most_running.load(Ordering::SeqCst) <= jobs + 2);

            let report = run(&world, &graph, &options(jobs, false));
            assert!(report.is_success());
            assert_eq!(counts(&report), [0, 0, 5, 0, 0]);
            assert!(world.take_built().is_empty());
        }
    }

    #[test]
    fn ends_early_where_an_output_is_as_before() {
        let world = Fake::new(&echo);
        run(&world, &graph("1", &DIAMOND), &options(2, false));
        world.take_built();
        let report = run(&world, &graph("2", &DIAMOND), &options(2, false));
        assert!(report.is_success());
        // Both leaves have other keys, and the outputs that they had before.
        assert_eq!(world.take_built(), ["aside", "get"]);
        assert_eq!(counts(&report), [2, 1, 3, 0, 0]);
    }

    #[test]
    fn runs_no_more_at_one_time_than_it_may() {
        let slow = |job: &Job<'_>| {
            thread::sleep(Duration::from_millis(20));
            echo(job)
        };
        let world = Fake::new(&slow);
        let wide = graph("1", &["a: ", "b: ", "c: ", "d: ", "e: ", "top: a b c d e"]);
        assert!(run(&world, &wide, &options(2, false)).is_success());
        assert_eq!(world.most_running.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn stops_at_a_failure() {
        let break_left = |job: &Job<'_>| broken(job, "left");
        let world = Fake::new(&break_left);
        let report = run(&world, &graph("1", &DIAMOND), &options(1, false));
        assert!(!report.is_success());
        assert_eq!(report.roots, [None]);
        assert_eq!(report.failures[0].subject.name, "left");
        assert_eq!(report.failures[0].error.class, FailureClass::Exit);
        // `aside` was at work before it, or not at all; `right` came after it.
        assert!(!world.take_built().contains(&"right".to_owned()));
    }

    #[test]
    fn goes_on_with_what_does_not_need_the_failure() {
        let break_left = |job: &Job<'_>| broken(job, "left");
        let world = Fake::new(&break_left);
        let report = run(&world, &graph("1", &DIAMOND), &options(1, true));
        assert!(!report.is_success());
        assert_eq!(counts(&report), [3, 1, 0, 1, 1]);
        assert_eq!(world.take_built(), ["aside", "get", "left", "right"]);
        // Mended, only the failure and what needs it are built.
        let mended = Fake {
            make: &echo,
            ..world
        };
        let report = run(&mended, &graph("1", &DIAMOND), &options(1, true));
        assert!(report.is_success());
        assert_eq!(mended.take_built(), ["left", "top"]);
    }

    #[test]
    fn starts_nothing_once_it_is_cancelled() {
        let cancel = Cancel::new().expect("an eventfd");
        let cancelling = |job: &Job<'_>| {
            if job.subject.name == "get" {
                job.cancel.cancel();
                return Err(BuildError::new(FailureClass::Cancelled, "cancelled"));
            }
            echo(job)
        };
        let world = Fake::new(&cancelling);
        let graph = graph("1", &["get: ", "left: get", "top: left"]);
        let report = run_until(&world, &graph, &options(2, true), &cancel);
        assert!(!report.is_success());
        assert!(report.failures.is_empty(), "being cancelled is no failure");
        assert_eq!(world.take_built(), ["get"]);
        assert_eq!(report.built, 0);

        let report = run_until(&world, &graph, &options(2, true), &cancel);
        assert_eq!(counts(&report), [0, 0, 0, 3, 0]);
        assert!(world.take_built().is_empty());
    }

    #[test]
    fn a_failure_ends_what_runs_beside_it_and_counts_alone() {
        let make = |job: &Job<'_>| match job.subject.name.as_str() {
            "a" => Err(BuildError::new(FailureClass::Exit, "it broke")),
            "b" => {
                while !job.cancel.is_cancelled() {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(BuildError::new(FailureClass::Cancelled, "cancelled"))
            }
            _ => echo(job),
        };
        let world = Fake::new(&make);
        let report = run(
            &world,
            &graph("1", &["a: ", "b: ", "top: a b"]),
            &options(2, false),
        );
        let failed: Vec<_> = report.failures.iter().map(|it| &*it.subject.name).collect();
        assert_eq!(failed, ["a"]);
    }

    #[test]
    fn finds_what_another_built_while_it_waited() {
        let world = Fake::new(&echo);
        let graph = graph("1", &["a: ", "b: a"]);
        let keys = crate::derivation::resolve::keys(graph.0.iter().next().expect("a").1, &[]);
        let held = world.lock(&keys.action, &|| {}).expect("it is free");
        let heard = Heard::default();
        let cancel = Cancel::new().expect("an eventfd");
        let options = options(2, false);
        let report = thread::scope(|scope| {
            let running =
                scope.spawn(|| execute(&graph.0, &[graph.1], &world, &options, &heard, &cancel));
            let waiting = || {
                heard
                    .0
                    .lock()
                    .expect("no panic")
                    .contains(&"waiting a".to_owned())
            };
            while !waiting() {
                thread::sleep(Duration::from_millis(1));
            }
            // Whoever holds the lock builds it, and says so before letting go.
            let mut known = world.known.lock().expect("no panic");
            known.insert(keys.action, out("made elsewhere"));
            drop(known);
            drop(held);
            running.join().expect("no panic").expect("no failure")
        });
        assert!(report.is_success());
        assert_eq!(counts(&report), [1, 0, 1, 0, 0]);
        assert_eq!(world.take_built(), ["b"]);
        let heard = heard.0.into_inner().expect("no panic");
        assert!(!heard.contains(&"started a".to_owned()), "{heard:?}");
    }

    #[test]
    fn two_at_once_build_each_once() {
        let slow = |job: &Job<'_>| {
            thread::sleep(Duration::from_millis(5));
            echo(job)
        };
        let world = Fake::new(&slow);
        let graph = graph("1", &DIAMOND);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert!(run(&world, &graph, &options(2, false)).is_success()));
            }
        });
        assert_eq!(world.take_built(), ["aside", "get", "left", "right", "top"]);
    }
}
