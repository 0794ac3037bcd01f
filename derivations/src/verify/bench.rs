//! Builds one derivation again, as often as asked, and keeps what came of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_store::realisation::OutputMap;

use super::cause::{Builds, Seen};
use super::factor::Factor;
use super::overlay::Overlay;
use super::site::{Pressure, Site};
use crate::build::error::{BuildError, FailureClass};
use crate::build::{Built, Job, exec};
use crate::derivation::Builder;
use crate::explain::Window;
use crate::realise::world::Machine;
use crate::sandbox::variation::MOVING_THE_CLOCKS;

/// One derivation, ready to be built again.
pub(super) struct Bench<'a> {
    pub(super) machine: &'a Machine<'a>,
    pub(super) site: &'a Site,
    pub(super) job: &'a Job<'a>,
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
        self.attempts.push(Attempt {
            varied: varied.to_vec(),
            held: held.to_vec(),
            seen: seen.clone(),
            window: Window {
                start_s,
                end_s: now_s(),
            },
            wall_s: start.elapsed().as_secs_f64(),
            cpu_s,
        });
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
