//! From a sandbox's description to a bubblewrap that was started for it.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::bwrap::{Bwrap, c_string, memory_file};
use super::command;
use super::emulation::{self, Handler};
use super::error::{Doing, SandboxError};
use super::limits::Monitor;
use super::limits::cgroup::Cgroup;
use super::log::Log;
use super::process::become_subreaper;
use super::report::Reports;
use super::request::{Emulator, HostUser, Limits, Terminal};
use super::resident::Head;
use super::rlimits;
use super::seccomp::{self, Architecture};
use super::spawn::{Child, NotStarted};
use super::supervise::Running;
use super::terminal::Session;
use super::variation::Variation;

/// A sandbox as options for bubblewrap.
pub(super) struct Job<'a> {
    pub(super) bwrap: &'a Bwrap,
    pub(super) options: Vec<u8>,
    pub(super) argv: &'a [OsString],
    pub(super) limits: &'a Limits,
    pub(super) user: Option<HostUser>,
    pub(super) terminal: Option<Terminal>,
    pub(super) variation: &'a Variation,
    pub(super) emulator: Option<&'a Emulator>,
    /// How the emulator's resident programs start.
    pub(super) resident: Vec<Head>,
    /// What counts as output on disk.
    pub(super) directories: &'a [&'a Path],
}

/// What bubblewrap waits for before it starts the builder.
pub(super) struct Go {
    pipe: OwnedFd,
    given: bool,
}

impl Go {
    /// The giving side, and the waiting one, which is open for writing too: so
    /// there is never an end of file, which would be taken for a go.
    fn new() -> io::Result<(Go, OwnedFd)> {
        let (end, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        let path = format!("/proc/self/fd/{}", end.as_raw_fd());
        let waiting = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok((Go { pipe, given: false }, waiting))
    }

    pub(super) fn give(&mut self) {
        self.given = true;
        // A setup that failed meanwhile no longer reads; it is reported as such.
        let _ = rustix::io::write(&self.pipe, b"!");
    }

    /// Whether the setup is done: only then is the root of pid 1 the sandbox's
    /// and not still the host's.
    pub(super) fn was_taken(&self) -> bool {
        self.given && rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|bytes| bytes == 0)
    }
}

/// Descriptors 0 and 1 (which is 2 as well) of the sandbox, and kiln's side.
struct Ends {
    input: OwnedFd,
    output: OwnedFd,
    source: OwnedFd,
    session: Option<Session>,
}

impl Job<'_> {
    /// Starts bubblewrap. The calling thread MUST live as long as the sandbox.
    pub(super) fn launch(&self) -> Result<Running<'_>, SandboxError> {
        let cgroup = match Cgroup::create(self.limits) {
            Err(error) if self.limits.hard => {
                return Err(SandboxError::NoHardLimits(error.to_string()));
            }
            made => made.ok(),
        };
        let monitor = Monitor::new(self.limits.clone(), cgroup, self.directories);
        let arguments = memory_file("arguments", &self.options).doing("passing the options")?;
        let filter = filter(self.variation)?;
        let (mut reports, status) = Reports::new().doing("making a pipe")?;
        let (go, waiting) = Go::new().doing("making a pipe")?;
        let ends = self.ends().doing("making the builder's input and output")?;
        let program = self.bwrap.open().doing("opening bubblewrap")?;
        let rlimits = rlimits::all();
        let handlers = match self.emulator {
            Some(emulator) => Handler::all(emulator, &self.resident),
            None => Ok(Vec::new()),
        };
        let handlers = handlers.doing("opening the emulator")?;
        let child = Child {
            program: program.as_fd(),
            arguments: self.words().doing("passing the command")?,
            descriptors: vec![
                ends.input.as_fd(),
                ends.output.as_fd(),
                ends.output.as_fd(),
                arguments.as_fd(),
                filter.as_fd(),
                status.as_fd(),
                waiting.as_fd(),
            ],
            user: self.user,
            rlimits: &rlimits,
            cgroup: monitor.to_join(),
            variation: self.variation,
            emulators: &handlers,
        };
        let start = Instant::now();
        let bwrap = child.start().map_err(|failure| self.not_started(failure))?;
        if !bwrap.contained {
            become_subreaper();
            reports.release();
        }
        let log_bytes = self.terminal.is_none().then_some(self.limits.log_bytes);
        Ok(Running {
            limits: self.limits,
            user: self.user,
            start,
            bwrap,
            pid_one: None,
            go,
            reports,
            exit_code: None,
            living: Duration::ZERO,
            log: Log::new(ends.source, log_bytes).doing("making a pipe")?,
            keys_open: ends.session.is_some(),
            session: ends.session,
            monitor,
        })
    }

    fn ends(&self) -> io::Result<Ends> {
        if let Some(user) = self.terminal {
            let (session, output) = Session::open(user, self.user)?;
            let (input, source) = (output.try_clone()?, session.master().try_clone()?);
            return Ok(Ends {
                input,
                output,
                source,
                session: Some(session),
            });
        }
        let (source, output) = pipe_with(PipeFlags::CLOEXEC)?;
        let nothing = OFlags::RDONLY | OFlags::CLOEXEC;
        let input = rustix::fs::open("/dev/null", nothing, Mode::empty())?;
        Ok(Ends {
            input,
            output,
            source,
            session: None,
        })
    }

    fn not_started(&self, failure: NotStarted) -> SandboxError {
        let lack = self
            .emulator
            .and_then(|_| emulation::explain(failure.step, &failure.source));
        match lack {
            Some(lack) => SandboxError::Emulation(lack),
            None => not_started(failure),
        }
    }

    /// bubblewrap's command line. The options go through a descriptor: a
    /// command line can be read in `/proc/1/cmdline`.
    fn words(&self) -> io::Result<Vec<CString>> {
        let arguments = command::fd::ARGUMENTS.to_string();
        let options = ["--args".into(), arguments.into(), "--".into()];
        let words = self.bwrap.prefix().iter().chain(&options).chain(self.argv);
        words.map(|word| c_string(word)).collect()
    }
}

fn filter(variation: &Variation) -> Result<OwnedFd, SandboxError> {
    let unsupported = || {
        let message = "kiln builds on x86_64 and aarch64 only";
        io::Error::new(io::ErrorKind::Unsupported, message)
    };
    let native = Architecture::NATIVE
        .ok_or_else(unsupported)
        .doing("choosing a filter")?;
    let further = match variation.random {
        Some(_) => seccomp::table::NO_RANDOM,
        None => &[],
    };
    let program = seccomp::bpf::to_bytes(&seccomp::filter_with(native, further));
    memory_file("filter", &program).doing("passing the seccomp filter")
}

fn not_started(failure: NotStarted) -> SandboxError {
    if failure.step == "setrlimit"
        && let Some((limit, host)) = rlimits::unreachable()
    {
        return SandboxError::HostLimit {
            name: limit.name,
            host,
            wanted: limit.hard,
        };
    }
    SandboxError::System {
        doing: failure.step,
        source: failure.source,
    }
}
