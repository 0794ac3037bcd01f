//! Runs one sandbox: starts it, listens, holds the limits, ends it.
//!
//! 1. bubblewrap is started ([`super::spawn`]) with `--block-fd`, so it makes
//!    everything ready and waits before it starts the builder.
//! 2. It reports the pid of its pid 1. A pidfd is taken while that process is
//!    certainly there, the limit on processes is set on it (only within the new
//!    user namespace does it count the sandbox alone), and the builder may go.
//! 3. One thread polls output, status, cancellation and the limits. Nothing
//!    sleeps: a short build ends as soon as bubblewrap does.
//! 4. Whatever ended the loop, pid 1 is killed, which kills every process of
//!    its namespace, and waited for until it is gone. Only then is the rest of
//!    the output read, without waiting for its end, and the outcome given.
//!
//! The thread that calls [`run`] starts bubblewrap and stays in here until the
//! end: the parent-death signal is that of the thread. Should kiln be killed
//! before step 2, pid 1 keeps waiting and never starts the builder: it holds a
//! write end of the pipe that it waits for, so there is no end of file.

use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::bwrap::{Bwrap, c_string, memory_file};
use super::cancel::CancelToken;
use super::command;
use super::error::{Doing, SandboxError};
use super::limits::Monitor;
use super::limits::cgroup::Cgroup;
use super::request::{Exit, HostUser, Limit, Limits, Outcome, SandboxRequest, Terminal};
use super::rlimits;
use super::seccomp::{self, Architecture};
use super::spawn::{Child, NotStarted, Started};
use super::terminal::{self, Session};

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
/// Makes this process a subreaper, so that the sandbox's pid 1 can be waited
/// for also after bubblewrap has left.
pub fn run(
    bwrap: &Bwrap,
    request: &SandboxRequest,
    output: &mut dyn Output,
    cancel: &CancelToken,
) -> Result<Outcome, SandboxError> {
    request.check(rustix::process::geteuid().as_raw())?;
    let job = Job {
        bwrap,
        options: command::nul_terminated(command::options(request)),
        argv: &request.argv,
        limits: &request.limits,
        user: request.host_user,
        terminal: request.terminal,
        directories: &[&request.build_dir, &request.out_dir],
    };
    job.run(output, cancel)
}

/// A sandbox as options for bubblewrap.
pub(super) struct Job<'a> {
    pub(super) bwrap: &'a Bwrap,
    pub(super) options: Vec<u8>,
    pub(super) argv: &'a [OsString],
    pub(super) limits: &'a Limits,
    pub(super) user: Option<HostUser>,
    pub(super) terminal: Option<Terminal>,
    pub(super) directories: &'a [&'a Path],
}

/// What ended a sandbox before its own end.
enum Cause {
    Limit(Limit),
    Cancelled,
    LogFailed(io::Error),
}

struct PidOne {
    pid: i32,
    pidfd: OwnedFd,
}

/// What bubblewrap waits for before it starts the builder.
struct Go {
    pipe: OwnedFd,
    given: bool,
}

impl Go {
    fn give(&mut self) {
        self.given = true;
        // A setup that failed meanwhile no longer reads; it is reported as such.
        let _ = rustix::io::write(&self.pipe, b"!");
    }

    /// Whether the setup is done: only then is the root of pid 1 the sandbox's
    /// and not still the host's.
    fn was_taken(&self) -> bool {
        self.given && rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|bytes| bytes == 0)
    }
}

struct Running<'a> {
    limits: &'a Limits,
    user: Option<HostUser>,
    start: Instant,
    bwrap: Started,
    pid_one: Option<PidOne>,
    go: Go,
    status: Option<OwnedFd>,
    status_text: Vec<u8>,
    exit_code: Option<i32>,
    log: Option<OwnedFd>,
    log_bytes: u64,
    log_head: Vec<u8>,
    last_output: Instant,
    session: Option<Session>,
    keys_open: bool,
    monitor: Monitor,
}

/// How long bubblewrap may take to name pid 1 once the sandbox is to end.
const NAMING: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone.
const DYING: Duration = Duration::from_secs(60);
/// How often the size of the user's window is looked at.
const RESIZE_PAUSE: Duration = Duration::from_millis(200);
/// How much of the output is kept for the message of a failed setup.
const HEAD_BYTES: usize = 4096;

impl Job<'_> {
    pub(super) fn run(
        &self,
        output: &mut dyn Output,
        cancel: &CancelToken,
    ) -> Result<Outcome, SandboxError> {
        become_subreaper();
        let mut running = self.launch()?;
        let cause = running.listen(output, cancel);
        let cause = match cause {
            Ok(cause) => cause,
            Err(error) => {
                running.end()?;
                return Err(error);
            }
        };
        let used = running.end()?;
        let cause = cause.or(running.drain(output).err());
        running.outcome(cause, used)
    }

    fn launch(&self) -> Result<Running<'_>, SandboxError> {
        let cgroup = match Cgroup::create(self.limits) {
            Err(error) if self.limits.hard => {
                return Err(SandboxError::NoHardLimits(error.to_string()));
            }
            made => made.ok(),
        };
        let monitor = Monitor::new(self.limits.clone(), cgroup, self.directories);
        let native = Architecture::NATIVE.ok_or_else(|| SandboxError::System {
            doing: "choosing a seccomp filter",
            source: unsupported(),
        })?;
        let filter = seccomp::bpf::to_bytes(&seccomp::filter(native));
        let arguments = memory_file("arguments", &self.options).doing("passing the options")?;
        let filter = memory_file("filter", &filter).doing("passing the seccomp filter")?;
        let (status, status_end) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
        let (go_end, go) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
        let waiting = open(
            &format!("/proc/self/fd/{}", go_end.as_raw_fd()),
            OFlags::RDWR,
        )?;
        let mut session = None;
        let (log, stdin, log_end);
        if let Some(user) = self.terminal {
            let (opened, slave) = Session::open(user).doing("making a terminal")?;
            log = opened.master().try_clone().doing("making a terminal")?;
            stdin = slave.try_clone().doing("making a terminal")?;
            log_end = slave;
            session = Some(opened);
        } else {
            (log, log_end) = pipe_with(PipeFlags::CLOEXEC).doing("making a pipe")?;
            stdin = open("/dev/null", OFlags::RDONLY)?;
        }
        for fd in [&log, &status] {
            rustix::io::ioctl_fionbio(fd, true).doing("making a pipe")?;
        }
        let program = self.bwrap.open().doing("opening bubblewrap")?;
        let rlimits = rlimits::all();
        let child = Child {
            program: program.as_fd(),
            arguments: self.words()?,
            descriptors: vec![
                stdin.as_fd(),
                log_end.as_fd(),
                log_end.as_fd(),
                arguments.as_fd(),
                filter.as_fd(),
                status_end.as_fd(),
                waiting.as_fd(),
            ],
            user: self.user,
            rlimits: &rlimits,
            controlling_terminal: session.is_some(),
            cgroup: monitor.to_join(),
        };
        let start = Instant::now();
        let bwrap = child.start().map_err(not_started)?;
        Ok(Running {
            limits: self.limits,
            user: self.user,
            start,
            bwrap,
            pid_one: None,
            go: Go {
                pipe: go,
                given: false,
            },
            status: Some(status),
            status_text: Vec::new(),
            exit_code: None,
            log: Some(log),
            log_bytes: 0,
            log_head: Vec::new(),
            last_output: start,
            keys_open: session.is_some(),
            session,
            monitor,
        })
    }

    /// bubblewrap's command line. The options go through a descriptor: a
    /// command line can be read in `/proc/1/cmdline`.
    fn words(&self) -> Result<Vec<std::ffi::CString>, SandboxError> {
        let options = [
            "--args".into(),
            command::fd::ARGUMENTS.to_string().into(),
            "--".into(),
        ];
        let words = self.bwrap.prefix().iter().chain(&options).chain(self.argv);
        words
            .map(|word| c_string(word))
            .collect::<io::Result<_>>()
            .doing("passing the command")
    }
}

/// What of the descriptors is ready.
#[derive(Default)]
struct Ready {
    bwrap: bool,
    cancel: bool,
    log: bool,
    status: bool,
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
                // Without its pid, pid 1 could not be killed; it is named soon.
                let until = *give_up.get_or_insert(Instant::now() + NAMING);
                if self.pid_one.is_some() || Instant::now() >= until {
                    return Ok(cause);
                }
            }
            let ready = self.wait(cancel, cause.is_some())?;
            if ready.status {
                self.read_status(cause.is_none())?;
            }
            if ready.log
                && let Err(failed) = self.pump(output, 16)
            {
                cause.get_or_insert(failed);
            }
            if ready.bwrap {
                return Ok(cause);
            }
            if ready.keys
                && let Some(session) = &self.session
            {
                self.keys_open = session.pass_keys();
            }
            if ready.cancel {
                cause.get_or_insert(Cause::Cancelled);
            }
            if let Some(limit) = self.passed_limit() {
                cause.get_or_insert(Cause::Limit(limit));
            }
        }
    }

    fn wait(&self, cancel: &CancelToken, ending: bool) -> Result<Ready, SandboxError> {
        let sources = [
            Some(self.bwrap.pidfd.as_fd()),
            (!ending).then(|| cancel.readable()),
            self.log.as_ref().map(AsFd::as_fd),
            self.status.as_ref().map(AsFd::as_fd),
            self.session
                .as_ref()
                .filter(|_| self.keys_open)
                .map(Session::input),
        ];
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = sources.iter().copied().flatten().map(watch).collect();
        let pause = self.next_event().saturating_duration_since(Instant::now());
        let pause = Timespec {
            tv_sec: pause.as_secs().min(3600) as i64,
            tv_nsec: pause.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&pause)) {
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
            cancel: next(),
            log: next(),
            status: next(),
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
            silence_s => self.last_output.checked_add(Duration::from_secs(silence_s)),
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
        if silence_s > 0 && now.duration_since(self.last_output).as_secs() >= silence_s {
            return Some(Limit::Silence);
        }
        match &self.pid_one {
            Some(pid_one) if now >= self.monitor.due() => self
                .monitor
                .sample(self.go.was_taken().then_some(pid_one.pid)),
            _ => None,
        }
    }

    /// Reads what bubblewrap reports: one JSON object a line. False when
    /// there is nothing more at present.
    fn read_status(&mut self, may_go: bool) -> Result<bool, SandboxError> {
        let Some(status) = &self.status else {
            return Ok(false);
        };
        let mut bytes = [0; 1024];
        match rustix::io::read(status, &mut bytes) {
            Ok(0) => self.status = None,
            Ok(count) => self.status_text.extend_from_slice(&bytes[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error).doing("reading bubblewrap's report"),
        }
        while let Some(end) = self.status_text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.status_text.drain(..=end).collect();
            let Ok(report) = serde_json::from_slice::<Report>(&line) else {
                continue;
            };
            if let Some(code) = report.exit_code {
                self.exit_code = Some(code);
            }
            if let (Some(pid), None) = (report.child_pid, &self.pid_one) {
                self.take_pid_one(pid, may_go)?;
            }
        }
        Ok(true)
    }

    fn take_pid_one(&mut self, pid: i32, may_go: bool) -> Result<(), SandboxError> {
        let Some(known) = Pid::from_raw(pid) else {
            return Ok(());
        };
        // It waits for `go`, so the pid still means it. If the setup failed it
        // may be gone, and then there is nothing to be killed.
        let Ok(pidfd) = pidfd_open(known, PidfdFlags::empty()) else {
            return Ok(());
        };
        self.pid_one = Some(PidOne { pid, pidfd });
        if may_go {
            let processes = u64::from(self.limits.processes);
            rlimits::limit_processes(pid, processes, self.user)
                .doing("setting the limit on processes")?;
            self.go.give();
        }
        Ok(())
    }

    /// Passes output on, at most `turns` buffers of it.
    fn pump(&mut self, output: &mut dyn Output, turns: usize) -> Result<(), Cause> {
        let mut buffer = [0; 64 * 1024];
        for _ in 0..turns {
            let Some(log) = &self.log else { return Ok(()) };
            match rustix::io::read(log, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::IO) => self.log = None,
                Ok(count) => self.pass_on(output, &buffer[..count])?,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(Cause::LogFailed(error.into())),
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, output: &mut dyn Output, bytes: &[u8]) -> Result<(), Cause> {
        self.last_output = Instant::now();
        if let Some(session) = &self.session {
            // A screen that is gone does not end the work behind it.
            let _ = terminal::write_all(session.output(), bytes);
        }
        let left = self.limits.log_bytes - self.log_bytes;
        let kept = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let head = (HEAD_BYTES - self.log_head.len()).min(kept);
        self.log_head.extend_from_slice(&bytes[..head]);
        output.chunk(&bytes[..kept]).map_err(Cause::LogFailed)?;
        self.log_bytes += kept as u64;
        // A session by hand may scroll as much as it likes.
        if kept < bytes.len() && self.session.is_none() {
            return Err(Cause::Limit(Limit::Log));
        }
        Ok(())
    }

    /// Kills everything and waits until it is gone.
    fn end(&mut self) -> Result<Used, SandboxError> {
        if let Some(pid_one) = &self.pid_one {
            kill(&pid_one.pidfd);
        }
        kill(&self.bwrap.pidfd);
        if let Some(pid_one) = &self.pid_one {
            wait_gone(&pid_one.pidfd, pid_one.pid)?;
        }
        wait_gone(&self.bwrap.pidfd, self.bwrap.pid)?;
        let mut used = reap(&self.bwrap.pidfd).doing("waiting for bubblewrap")?;
        // bubblewrap's own account holds pid 1's if it waited for it.
        if let Some(rest) = self.pid_one.as_ref().and_then(|one| reap(&one.pidfd).ok()) {
            used.cpu += rest.cpu;
            used.peak_rss_bytes = used.peak_rss_bytes.max(rest.peak_rss_bytes);
        }
        used.wall = self.start.elapsed();
        while self.read_status(false)? {}
        Ok(used)
    }

    /// Reads what is still in the pipe. Nobody writes any more.
    fn drain(&mut self, output: &mut dyn Output) -> Result<(), Cause> {
        self.pump(output, usize::MAX)
    }

    fn outcome(mut self, cause: Option<Cause>, used: Used) -> Result<Outcome, SandboxError> {
        let exit = match cause {
            Some(Cause::LogFailed(error)) => return Err(SandboxError::Log(error)),
            Some(Cause::Limit(limit)) => Exit::Limit(limit),
            Some(Cause::Cancelled) => Exit::Cancelled,
            None if self.exit_code == Some(0) => Exit::Success,
            None => match self.monitor.at_the_end() {
                Some(limit) => Exit::Limit(limit),
                None => self.own_exit(&used),
            },
        };
        Ok(Outcome {
            exit,
            wall: used.wall,
            cpu: used.cpu,
            peak_rss_bytes: used.peak_rss_bytes,
            log_bytes: self.log_bytes,
            tier: self.monitor.tier(),
        })
    }

    fn own_exit(&self, used: &Used) -> Exit {
        match (self.exit_code, used.signal) {
            (Some(code @ 129..=192), _) => Exit::Signal(code - 128),
            (Some(code), _) => Exit::Code(code),
            // It was killed from outside, as by the host's out-of-memory killer.
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Setup(String::from_utf8_lossy(&self.log_head).trim().into()),
        }
    }
}

/// One line of `--json-status-fd`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    child_pid: Option<i32>,
    exit_code: Option<i32>,
}

/// What the processes used, and the signal that ended the first.
#[derive(Default)]
struct Used {
    wall: Duration,
    cpu: Duration,
    peak_rss_bytes: u64,
    signal: Option<i32>,
}

fn kill(pidfd: &OwnedFd) {
    // It can only fail because the process is gone.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}

fn wait_gone(pidfd: &OwnedFd, pid: i32) -> Result<(), SandboxError> {
    let until = Instant::now() + DYING;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => {
                return Err(SandboxError::Undying {
                    pid,
                    waited_s: DYING.as_secs(),
                });
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing("waiting for the sandbox's end"),
        }
    }
}

/// Waits for a process that is gone and gives what it and its children used.
fn reap(pidfd: &OwnedFd) -> io::Result<Used> {
    // SAFETY: both are plain data for the kernel to fill in.
    let (mut info, mut usage) = unsafe { mem::zeroed::<(libc::siginfo_t, libc::rusage)>() };
    // The C library's waitid does not give the usage.
    // SAFETY: the pointers are to structures of ours of the right type.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            &raw mut info,
            libc::WEXITED | libc::WNOHANG,
            &raw mut usage,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let killed = matches!(info.si_code, libc::CLD_KILLED | libc::CLD_DUMPED);
    // SAFETY: waitid has filled in a child's status.
    let status = unsafe { info.si_status() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(Used {
        wall: Duration::ZERO,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
        signal: killed.then_some(status),
    })
}

fn become_subreaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Cannot fail on any kernel that has what else is needed; without it
        // only the numbers of the outcome would be missing.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    });
}

fn open(path: &str, access: OFlags) -> Result<OwnedFd, SandboxError> {
    rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty()).doing("opening a descriptor")
}

fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "kiln builds on x86_64 and aarch64 only",
    )
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
