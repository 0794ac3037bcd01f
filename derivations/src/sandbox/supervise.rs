//! Runs one sandbox: starts it, listens, holds the limits, ends it.
//!
//! 1. bubblewrap is started ([`super::spawn`]) with `--block-fd`, so it makes
//!    everything ready and waits before it starts the builder.
//! 2. It reports the pid of its pid 1. A pidfd is taken while that process is
//!    certainly there, the limit on processes is set on it (only within the new
//!    user namespace does it count the sandbox alone), and the builder may go.
//! 3. One thread polls output, status, cancellation and the limits. Nothing
//!    sleeps: a short build ends as soon as bubblewrap does.
//! 4. Whatever ended the loop, pid 1 and bubblewrap are killed, which kills
//!    every process of their namespaces, and waited for until they are gone.
//!    Only then is the rest of the output read, without waiting for its end,
//!    and the outcome given.
//!
//! The thread that calls [`run`] starts bubblewrap and stays in here until the
//! end: the parent-death signal is that of the thread. Should kiln be killed
//! before step 2, pid 1 never starts the builder, since it holds a write end of
//! the pipe that it waits for: there is no end of file.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::bwrap::Bwrap;
use super::cancel::CancelToken;
use super::command;
use super::emulation;
use super::error::{Doing, SandboxError};
use super::launch::{Go, Job};
use super::limits::Monitor;
use super::log::Log;
use super::process::{Process, Used, innermost_pid, timespec};
use super::report::Reports;
use super::request::{Exit, HostUser, Limit, Limits, Outcome, SandboxRequest};
use super::rlimits;
use super::spawn::Started;
use super::terminal::Session;

/// Where a build's output goes, as it comes.
pub trait Output {
    /// Takes some bytes of standard output and error. An error ends the build.
    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Output for F {
    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self(bytes)
    }
}

/// Runs a sandbox to its end. When this returns, no process of it is left.
///
/// Where the host lets only bubblewrap make namespaces, this makes the process
/// a subreaper, so that the sandbox's pid 1 can be waited for also after
/// bubblewrap has left.
pub fn run(
    bwrap: &Bwrap,
    request: &SandboxRequest,
    output: &mut dyn Output,
    cancel: &CancelToken,
) -> Result<Outcome, SandboxError> {
    request.check(rustix::process::geteuid().as_raw())?;
    let limits = request.limits_in_force();
    let job = Job {
        bwrap,
        options: command::nul_terminated(command::options(request)),
        argv: &command::words(request),
        limits: &limits,
        user: request.host_user,
        terminal: request.terminal,
        variation: &request.variation,
        emulator: request.emulator.as_ref(),
        resident: emulation::resident_heads(request),
        directories: &[&request.build_dir, &request.out_dir],
    };
    supervise(&job, output, cancel)
}

/// [`run`], for a sandbox of which only the options are known.
pub(super) fn supervise(
    job: &Job<'_>,
    output: &mut dyn Output,
    cancel: &CancelToken,
) -> Result<Outcome, SandboxError> {
    let mut running = job.launch()?;
    let heard = running.listen(output, cancel);
    let used = running.end()?;
    let wall = running.start.elapsed();
    // Nobody writes any more, so this ends.
    let rest = running.pump(output, usize::MAX);
    running.outcome(heard?.or(rest.err()), &used, wall)
}

/// What ends a sandbox before its own end.
pub(super) enum Cause {
    Limit(Limit),
    Cancelled,
    LogFailed(io::Error),
}

/// A sandbox between its start and its end.
pub(super) struct Running<'a> {
    pub(super) limits: &'a Limits,
    pub(super) user: Option<HostUser>,
    pub(super) start: Instant,
    pub(super) bwrap: Started,
    /// Known from bubblewrap's first report on.
    pub(super) pid_one: Option<Process>,
    pub(super) go: Go,
    pub(super) reports: Reports,
    pub(super) exit_code: Option<i32>,
    /// CPU time of what lived until it was killed with pid 1.
    pub(super) living: Duration,
    pub(super) log: Log,
    pub(super) session: Option<Session>,
    pub(super) keys_open: bool,
    pub(super) monitor: Monitor,
}

/// How long bubblewrap may take to name pid 1 once the sandbox is to end.
const NAMING: Duration = Duration::from_secs(5);
/// How often the size of the user's window is looked at.
const RESIZE_PAUSE: Duration = Duration::from_millis(200);
/// How much output is passed on before the limits are looked at again.
const PUMP_TURNS: usize = 16;

/// What of the descriptors is ready.
struct Ready {
    bwrap: bool,
    pid_one: bool,
    cancel: bool,
    log: bool,
    report: bool,
    keys: bool,
}

impl Running<'_> {
    /// Until bubblewrap has left, or something else is to end the sandbox.
    fn listen(
        &mut self,
        output: &mut dyn Output,
        cancel: &CancelToken,
    ) -> Result<Option<Cause>, SandboxError> {
        let mut cause: Option<Cause> = None;
        let mut give_up = None;
        loop {
            if cause.is_some() {
                let until = *give_up.get_or_insert(Instant::now() + NAMING);
                if self.can_be_killed() || Instant::now() >= until {
                    return Ok(cause);
                }
            }
            let ready = self.wait(cancel, cause.is_some())?;
            // Before the reports are read, which gives the builder its go.
            if ready.cancel {
                cause.get_or_insert(Cause::Cancelled);
            }
            if ready.report {
                self.read_reports(cause.is_none())?;
            }
            if ready.log
                && let Err(failed) = self.pump(output, PUMP_TURNS)
            {
                cause.get_or_insert(failed);
            }
            if ready.bwrap {
                return Ok(cause);
            }
            if ready.pid_one {
                self.reports.release();
            }
            if ready.keys
                && let Some(session) = &self.session
            {
                self.keys_open = session.pass_keys();
            }
            if let Some(limit) = self.passed_limit() {
                cause.get_or_insert(Cause::Limit(limit));
            }
        }
    }

    /// Killing a bubblewrap that is not contained kills pid 1 only if that has
    /// come far enough to ask for it. It will be named soon.
    fn can_be_killed(&self) -> bool {
        self.bwrap.contained || self.pid_one.is_some()
    }

    fn wait(&self, cancel: &CancelToken, ending: bool) -> Result<Ready, SandboxError> {
        let held = self.reports.is_held();
        let sources = [
            Some(self.bwrap.process.readable()),
            self.pid_one
                .as_ref()
                .filter(|_| held)
                .map(Process::readable),
            (!ending).then(|| cancel.readable()),
            self.log.readable(),
            self.reports.readable(),
            self.session
                .as_ref()
                .filter(|_| self.keys_open)
                .map(Session::input),
        ];
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = sources.iter().copied().flatten().map(watch).collect();
        let pause = self.next_event().saturating_duration_since(Instant::now());
        match poll(&mut fds, Some(&timespec(pause))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing("waiting for the sandbox"),
        }
        let mut states = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = sources
            .iter()
            .map(|source| source.is_some() && states.next() == Some(true));
        let mut next = || next.next() == Some(true);
        Ok(Ready {
            bwrap: next(),
            pid_one: next(),
            cancel: next(),
            log: next(),
            report: next(),
            keys: next(),
        })
    }

    /// When something has to be looked at although nothing happened.
    fn next_event(&self) -> Instant {
        let wall = self
            .start
            .checked_add(Duration::from_secs(self.limits.wall_s));
        let silence = match self.limits.silence_s {
            0 => None,
            silence_s => self
                .log
                .last_output
                .checked_add(Duration::from_secs(silence_s)),
        };
        let sample = self.pid_one.as_ref().map(|_| self.monitor.due());
        let resize = self.session.as_ref().map(|_| Instant::now() + RESIZE_PAUSE);
        let events = [wall, silence, sample, resize].into_iter().flatten();
        events
            .min()
            .unwrap_or(self.start + Duration::from_secs(3600))
    }

    fn passed_limit(&mut self) -> Option<Limit> {
        let now = Instant::now();
        if let Some(session) = &mut self.session {
            session.resize();
        }
        let (wall_s, silence_s) = (self.limits.wall_s, self.limits.silence_s);
        if now.duration_since(self.start).as_secs() >= wall_s {
            return Some(Limit::Wall);
        }
        if silence_s > 0 && now.duration_since(self.log.last_output).as_secs() >= silence_s {
            return Some(Limit::Silence);
        }
        if now < self.monitor.due() {
            return None;
        }
        let pid_one = self.pid_one.as_ref()?;
        let (pid, set_up) = (pid_one.pid, self.go.was_taken());
        if set_up && self.reports.is_held() && builder_has_left(pid_one) {
            self.kill_pid_one();
        }
        self.monitor.sample(set_up.then_some(pid))
    }

    /// False when there is nothing more at present.
    fn read_reports(&mut self, may_go: bool) -> Result<bool, SandboxError> {
        let Some(reports) = self.reports.read().doing("reading bubblewrap's report")? else {
            return Ok(false);
        };
        for report in reports {
            self.exit_code = report.exit_code.or(self.exit_code);
            if let (Some(pid), None) = (report.child_pid, &self.pid_one) {
                self.take_pid_one(pid, may_go)?;
            }
        }
        Ok(true)
    }

    fn take_pid_one(&mut self, reported: i32, may_go: bool) -> Result<(), SandboxError> {
        let pid = if self.bwrap.contained {
            // The report is in the pids of a namespace that kiln is not in.
            let children = self.bwrap.process.children();
            children
                .doing("finding pid 1 of the sandbox (CONFIG_PROC_CHILDREN)")?
                .first()
                .copied()
        } else {
            Some(reported)
        };
        // It waits for `go`, so the pid still means it. If the setup failed it
        // may be gone, and then there is nothing to be killed.
        let Some(pid_one) = pid.and_then(Process::open) else {
            return Ok(());
        };
        if may_go {
            let processes = u64::from(self.limits.processes);
            rlimits::limit_processes(pid_one.pid, processes, self.user)
                .doing("setting the limit on processes")?;
            self.reports.hold().doing("holding bubblewrap's report")?;
            self.go.give();
        }
        self.pid_one = Some(pid_one);
        Ok(())
    }

    /// Passes output on, to the user's screen as well if there is one.
    fn pump(&mut self, output: &mut dyn Output, turns: usize) -> Result<(), Cause> {
        let session = self.session.as_ref();
        let mut both = |bytes: &[u8]| {
            if let Some(session) = session {
                session.show(bytes);
            }
            output.chunk(bytes)
        };
        self.log.pump(&mut both, turns)
    }

    /// Kills everything and waits until it is gone. Pid 1 comes first, so that
    /// what it used is in bubblewrap's account.
    fn end(&mut self) -> Result<Used, SandboxError> {
        self.kill_pid_one();
        if let Some(pid_one) = &self.pid_one {
            pid_one.wait_gone()?;
        }
        self.bwrap.process.kill();
        self.bwrap.process.wait_gone()?;
        let mut used = self.bwrap.process.reap().doing("waiting for bubblewrap")?;
        used.cpu += self.living;
        // One that is not contained may have left without waiting for pid 1.
        if let Some(rest) = self
            .pid_one
            .as_ref()
            .and_then(|pid_one| pid_one.reap().ok())
        {
            used.cpu += rest.cpu;
            used.peak_rss_bytes = used.peak_rss_bytes.max(rest.peak_rss_bytes);
        }
        self.reports.release();
        while self.read_reports(false)? {}
        Ok(used)
    }

    /// Kills the sandbox's processes, once it is noted what they used.
    fn kill_pid_one(&mut self) {
        let Some(pid_one) = &self.pid_one else {
            return;
        };
        if self.go.was_taken() {
            let living = self.monitor.cpu_of_the_living(pid_one.pid);
            self.living = self.living.max(living);
        }
        pid_one.kill();
    }

    fn outcome(
        self,
        cause: Option<Cause>,
        used: &Used,
        wall: Duration,
    ) -> Result<Outcome, SandboxError> {
        let exit = match cause {
            Some(Cause::LogFailed(error)) => return Err(SandboxError::Log(error)),
            Some(Cause::Limit(limit)) => Exit::Limit(limit),
            Some(Cause::Cancelled) => Exit::Cancelled,
            None if self.exit_code == Some(0) => Exit::Success,
            None => match self.monitor.passed_in_kernel() {
                Some(limit) => Exit::Limit(limit),
                None => self.own_exit(used),
            },
        };
        Ok(Outcome {
            exit,
            wall,
            cpu: used.cpu,
            peak_rss_bytes: used.peak_rss_bytes,
            log_bytes: self.log.bytes,
            tier: self.monitor.tier(),
        })
    }

    fn own_exit(&self, used: &Used) -> Exit {
        match (self.exit_code, used.signal) {
            (Some(code @ 129..=192), _) => Exit::Signal(code - 128),
            (Some(code), _) => Exit::Code(code),
            // It was killed from outside, as by the host's out-of-memory killer.
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Setup(self.log.head()),
        }
    }
}

/// Whether only others are left of the sandbox. The builder is its second
/// process; those that it left behind, pid 1 has adopted. Pid 1 sleeps only to
/// wait for its children, so when it does after the builder was waited for,
/// it has told bubblewrap the builder's end.
fn builder_has_left(pid_one: &Process) -> bool {
    let is_other = |pid| innermost_pid(pid).is_some_and(|inside| inside != 2);
    let children = pid_one.children().unwrap_or_default();
    !children.is_empty() && children.into_iter().all(is_other) && pid_one.is_asleep()
}
