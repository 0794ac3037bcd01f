//! Which engine runs the guest: KVM only where a probe boots with it.
//!
//! An openable `/dev/kvm` says little: some hosts offer one that runs no stock
//! kernel, and a guest then hangs without a word. So the very kernel that is
//! to boot is started alone, and has to say something within a moment.

use std::fs::{File, OpenOptions};
use std::time::{Duration, Instant};

use super::Cancel;
use super::command::Part;
use super::error::BootError;
use super::guest::Guest;
use super::machine::{Accel, Engine, Machine};
use super::session::{self, Driver, End, Turn};
use crate::derivation::Target;

/// The engine for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The engine.
    pub engine: Engine,
    /// Why this one, in a line.
    pub why: String,
}

/// How long a kernel may take to its first word. With an accelerator that
/// works, it takes tenths of a second.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Chooses the engine for `machine`; nothing is remembered.
pub fn choose(machine: &Machine, cancel: Cancel<'_>) -> Result<Choice, BootError> {
    if machine.accel == Accel::Tcg {
        return Ok(Choice {
            engine: Engine::Tcg,
            why: "as asked for".into(),
        });
    }
    match (obstacle(machine, cancel)?, machine.accel) {
        (None, _) => Ok(Choice {
            engine: Engine::Kvm,
            why: "the kernel starts with it".into(),
        }),
        (Some(why), Accel::Kvm) => Err(BootError::NoKvm(why)),
        (Some(why), _) => Ok(Choice {
            engine: Engine::Tcg,
            why: format!("no KVM: {why}"),
        }),
    }
}

/// Opens KVM for the emulator, whose user may not be allowed to.
pub(super) fn open_kvm() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm")
}

/// Why KVM is not used; `None` if nothing speaks against it.
fn obstacle(machine: &Machine, cancel: Cancel<'_>) -> Result<Option<String>, BootError> {
    if Target::host() != Some(machine.target) {
        return Ok(Some(format!(
            "this machine's processor is no {}",
            machine.target
        )));
    }
    if let Err(error) = open_kvm() {
        return Ok(Some(format!("/dev/kvm: {error}")));
    }
    probe(
        super::start(machine, Engine::Kvm, Part::Kernel)?,
        PROBE_LIMIT,
        cancel,
    )
}

fn probe(guest: Guest, limit: Duration, cancel: Cancel<'_>) -> Result<Option<String>, BootError> {
    let mut listener = Listener {
        until: Instant::now() + limit,
        limit,
        heard: false,
    };
    let end = session::run(guest, &mut listener, cancel)?;
    Ok((!listener.heard).then(|| match end {
        End::TimedOut(limit) => {
            let limit_s = limit.as_secs_f64();
            format!("a kernel started with it said nothing for {limit_s} s")
        }
        End::EmulatorFailed { said, .. } => said.lines().next().unwrap_or("it fails").to_owned(),
        other => other.to_string(),
    }))
}

struct Listener {
    until: Instant,
    limit: Duration,
    heard: bool,
}

impl Driver for Listener {
    fn shown(&mut self, bytes: &[u8], _now: Instant) -> Result<(), BootError> {
        self.heard |= !bytes.is_empty();
        Ok(())
    }

    fn turn(&mut self, now: Instant) -> Turn {
        match self.heard {
            true => Turn::Stop(End::Left),
            false if now >= self.until => Turn::Stop(End::TimedOut(self.limit)),
            false => Turn::Type(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::shell;

    fn check(script: &str, limit_s: u64, expected: Option<&str>) {
        let limit = Duration::from_secs(limit_s);
        let found = probe(shell(script), limit, &|| false).unwrap();
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn a_kernel_that_speaks_is_enough() {
        check("echo Linux version; sleep 60", 60, None);
    }

    #[test]
    fn silence_and_failure_are_obstacles() {
        let silent = "a kernel started with it said nothing for 1 s";
        check("sleep 60", 1, Some(silent));
        check(
            "echo 'no such device' >&2; exit 1",
            60,
            Some("no such device"),
        );
    }
}
