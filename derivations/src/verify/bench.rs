//! Builds one derivation again, as often as asked, and keeps what came of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_store::realisation::OutputMap;
use serde::{Serialize, Serializer};

use super::cause::{Builds, Seen};
use super::factor::Factor;
use super::overlay::Overlay;
use super::site::{Pressure, Site};
use crate::build::error::{BuildError, FailureClass};
use crate::build::{Built, Job, exec};
use crate::derivation::Builder;
use crate::event::{Event, Listener};
use crate::explain::Window;
use crate::realise::world::Machine;
use crate::sandbox::variation::MOVING_THE_CLOCKS;

/// What came of one build again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Made {
    /// It made what was made before.
    Same,
    /// It made something else.
    Differs,
    /// Its builder failed.
    Failed,
}

impl Made {
    /// Its name for machines.
    pub fn name(self) -> &'static str {
        match self {
            Made::Same => "same",
            Made::Differs => "differs",
            Made::Failed => "failed",
        }
    }
}

impl Serialize for Made {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One build again.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Trial {
    /// What was unlike an ordinary build.
    pub varied: Vec<Factor>,
    /// What was held still.
    pub held: Vec<Factor>,
    /// What came of it, beside what is in the store.
    pub result: Made,
    /// Wall time in seconds.
    pub wall_s: f64,
    /// CPU time of the builder in seconds.
    pub cpu_s: f64,
}

/// One derivation, ready to be built again.
pub(super) struct Bench<'a> {
    pub(super) machine: &'a Machine<'a>,
    pub(super) site: &'a Site,
    /// What to build; its own listener hears of nothing.
    pub(super) job: &'a Job<'a>,
    /// Who hears what came of every build.
    pub(super) listener: &'a dyn Listener,
    /// What is in the store.
    pub(super) expected: &'a OutputMap,
    /// Every build so far.
    pub(super) attempts: Vec<Attempt>,
}

/// One build.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) varied: Vec<Factor>,
    pub(super) held: Vec<Factor>,
    pub(super) seen: Seen<OutputMap>,
    pub(super) window: Window,
    pub(super) wall_s: f64,
    pub(super) cpu_s: f64,
}

impl Bench<'_> {
    fn run(&self, varied: &[Factor], held: &[Factor]) -> Result<Built, BuildError> {
        let Builder::Exec(exec) = &self.job.derivation.builder else {
            let overlay = Overlay {
                upper: self.site.store(),
                lower: self.machine.store,
            };
            return self
                .machine
                .build_without_script(self.job, &overlay, self.site.store());
        };
        let host = self.machine.host(exec.platform)?;
        let _pressure = Pressure::start(varied);
        let build = || {
            let setting = self.site.setting(exec, host.cores, varied, held);
            exec::build_in(&host, self.job, exec, &setting)
        };
        match build() {
            Err(error) if error.message.contains(MOVING_THE_CLOCKS) => {
                self.site.cannot_move_clocks();
                build()
            }
            built => built,
        }
    }

    /// An attempt, judged.
    pub(super) fn trial(&self, attempt: &Attempt) -> Trial {
        Trial {
            varied: attempt.varied.clone(),
            held: attempt.held.clone(),
            result: match &attempt.seen {
                Seen::Made(made) if made == self.expected => Made::Same,
                Seen::Made(_) => Made::Differs,
                Seen::Failed(_) => Made::Failed,
            },
            wall_s: attempt.wall_s,
            cpu_s: attempt.cpu_s,
        }
    }

    fn tell(&self, attempt: &Attempt) {
        let trial = self.trial(attempt);
        let names = |factors: Vec<Factor>| factors.into_iter().map(Factor::name).collect();
        self.listener.event(&Event::BuiltAgain {
            derivation: self.job.subject.clone(),
            varied: names(trial.varied),
            held: names(trial.held),
            result: trial.result.name(),
            wall_s: trial.wall_s,
            cpu_s: trial.cpu_s,
        });
    }
}

impl Builds for Bench<'_> {
    type Output = OutputMap;
    type Error = BuildError;

    fn build(&mut self, varied: &[Factor], held: &[Factor]) -> Result<Seen<OutputMap>, BuildError> {
        // What is varied is compared with something older than the last.
        if varied.is_empty() {
            let last = self.attempts.last().map(|last| last.window.end_s);
            wait_until_after(last.unwrap_or(self.site.opened_s()));
        }
        let (start, start_s) = (Instant::now(), now_s());
        let built = self.run(varied, held);
        let cpu_s = built.as_ref().map_or(0.0, |built| built.cpu_s);
        let seen = match built {
            Ok(built) => Seen::Made(built.outputs),
            Err(error) if is_builders_own(error.class) => Seen::Failed(error.message),
            Err(error) => return Err(error),
        };
        let attempt = Attempt {
            varied: varied.to_vec(),
            held: held.to_vec(),
            seen: seen.clone(),
            window: Window {
                start_s,
                end_s: now_s(),
            },
            wall_s: start.elapsed().as_secs_f64(),
            cpu_s,
        };
        self.tell(&attempt);
        self.attempts.push(attempt);
        Ok(seen)
    }
}

/// Whether the builder, and not the machine, is to blame.
fn is_builders_own(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::Exit | FailureClass::Limit | FailureClass::Output
    )
}

/// So that no two builds share a second: what they tell of the time differs.
fn wait_until_after(second: i64) {
    while now_s() <= second {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds of UNIX time.
pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}
