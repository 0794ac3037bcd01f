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

use super::others::{Others, Pull, PullError, Pulled, pulled};
use super::plan::{Asked, Claim, Oracle, Plan, State};
use super::running::{Place, Running};
use crate::build::error::{BuildError, FailureClass};
use crate::build::{Built, Job};
use crate::cancel::Cancel;
use crate::derivation::Derivation;
use crate::derivation::resolve::Keys;
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

    /// What others built, if anybody is asked.
    fn others(&self) -> Option<&dyn Others> {
        None
    }
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
    /// How many were claimed by others, and not built.
    pub claimed: usize,
    /// How many of those were pulled.
    pub pulled: usize,
    /// Bytes that were pulled.
    pub pulled_bytes: u64,
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
    /// A pull is over.
    Pulled(DerivationId, Result<Pulled, PullError>),
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

    fn asks_others(&self) -> bool {
        self.0.others().is_some()
    }

    fn claimed(&self, asked: &[Asked<'_>]) -> Result<Vec<Option<Claim>>, BuildError> {
        match self.0.others() {
            Some(others) => others.claimed(asked),
            None => Ok(vec![None; asked.len()]),
        }
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
            let place = self.place(id);
            if !self.running.take(place, self.options) {
                continue;
            }
            match self.plan.state(id) {
                State::Absent(..) => self.start_pull(scope, sender.clone(), id),
                _ => self.start(scope, sender.clone(), id),
            }
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

    fn start_pull<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: Sender<Message>,
        id: DerivationId,
    ) where
        'e: 'scope,
    {
        self.plan.start(id);
        let State::Pulling(keys, outputs) = self.plan.state(id).clone() else {
            unreachable!("the plan said that it can be pulled")
        };
        let Some(others) = self.world.others() else {
            unreachable!("the plan asked them")
        };
        let subject = subject(self.graph.get(id), &keys);
        let (listener, cancel) = (self.listener, self.cancel);
        scope.spawn(move || {
            let pull = Pull {
                subject,
                outputs: &outputs,
                listener,
                cancel,
            };
            let _ = sender.send(Message::Pulled(id, pulled(others, &pull)));
        });
    }

    /// Where a derivation takes place while it runs.
    fn place(&self, id: DerivationId) -> Place {
        match self.plan.state(id) {
            State::Absent(..) | State::Pulling(..) => Place::Download,
            _ => Place::of(self.graph.get(id)),
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Outputs(id, outputs) => {
                self.running.leave(self.place(id));
                if let Some(error) = self.differs(id, &outputs) {
                    return self.fail(id, error);
                }
                self.plan.finish(id, outputs);
            }
            Message::Over(id, result) => {
                self.running.threads -= 1;
                if matches!(self.plan.state(id), State::Running(_)) {
                    self.running.leave(self.place(id));
                }
                match result {
                    Ok(built) => self.count(id, &built),
                    Err(error) => self.fail(id, error),
                }
            }
            Message::Pulled(id, result) => {
                self.running.threads -= 1;
                self.running.leave(Place::Download);
                self.take_pulled(id, result);
            }
        }
    }

    fn take_pulled(&mut self, id: DerivationId, result: Result<Pulled, PullError>) {
        match result {
            Ok(pulled) => {
                self.report.pulled += 1;
                self.report.pulled_bytes += pulled.bytes;
                if let Some((_, outputs)) = self.plan.state(id).outputs() {
                    let outputs = outputs.clone();
                    self.plan.finish(id, outputs);
                }
            }
            Err(PullError::Gone(_)) => self.plan.refuse(id),
            Err(PullError::Own(error)) => self.fail(id, error),
        }
    }

    /// What others claimed and could not give was the basis of what was resolved
    /// since: a build of one's own has to agree.
    fn differs(&self, id: DerivationId, outputs: &OutputMap) -> Option<BuildError> {
        let claimed = self.plan.refused(id)?;
        (claimed != outputs).then(|| {
            let text = "a cache claims other outputs than were built here, and could not give \
                        them; `kiln verify --caches` shows both";
            BuildError::new(FailureClass::Untrusted, text)
        })
    }

    fn count(&mut self, id: DerivationId, built: &Built) {
        if built.found {
            self.report.reused += 1;
            return;
        }
        self.report.built += 1;
        if Place::of(self.graph.get(id)) == Place::Download {
            self.report.fetched += 1;
            self.report.fetched_bytes += built.fetched_bytes;
        }
    }

    fn fail(&mut self, id: DerivationId, error: BuildError) {
        let keys = match self.plan.state(id) {
            State::Running(keys) | State::Done(keys, _) | State::Pulling(keys, _) => *keys,
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
            let (claimed, keys) = match state {
                State::Known(keys, _) => (false, keys),
                State::Claimed(keys, _) | State::Absent(keys, _) => (true, keys),
                _ => continue,
            };
            if self.reported[id.index()] {
                continue;
            }
            self.reported[id.index()] = true;
            let derivation = subject(self.graph.get(id), keys);
            self.listener.event(&match claimed {
                true => Event::Claimed { derivation },
                false => Event::Reused { derivation },
            });
            match claimed {
                true => self.report.claimed += 1,
                false => self.report.reused += 1,
            }
        }
    }

    fn finish(mut self) -> Result<Report, BuildError> {
        if let Some(others) = self.world.others() {
            others.keep_claims()?;
        }
        for (id, state) in self.plan.states() {
            if let Some((keys, outputs)) = state.outputs() {
                self.report.realised.push((id, *keys, outputs.clone()));
            }
        }
        let failed = |id: &DerivationId| *self.plan.state(*id) == State::Failed;
        let unfinished = self.plan.unfinished();
        self.report.skipped += unfinished.iter().filter(|id| !failed(id)).count();
        let outputs = |id: &DerivationId| match self.plan.state(*id) {
            State::Known(keys, outputs)
            | State::Claimed(keys, outputs)
            | State::Done(keys, outputs) => Some((*keys, outputs.clone())),
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
            claimed: self.report.claimed,
            pulled: self.report.pulled,
            pulled_bytes: self.report.pulled_bytes,
        });
        Ok(self.report)
    }
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
mod tests;
