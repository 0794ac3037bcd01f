//! One run of kiln, and what it said.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;
use serde_json::Value;

use crate::events::Events;
use crate::scratch::Scratch;
use crate::{UNUSED_ID, is_root, program};

/// A run to be: kiln on a store, in a project's directory.
pub struct Kiln {
    command: Command,
    args: Vec<OsString>,
    stdin: Vec<u8>,
    events: Option<PathBuf>,
    ways: Ways,
    /// Holds the event log and, for another user, the binary.
    scratch: Scratch,
}

/// How the process differs from that of the checks.
#[derive(Clone, Copy, Default)]
struct Ways {
    umask: Option<u32>,
    host_name: Option<&'static str>,
    is_user: bool,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status, or 128 and the signal that ended it.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// What it wrote to its event log.
    pub events: Events,
    /// CPU time of kiln and of what it ran and waited for.
    pub cpu: Duration,
    /// Wall time.
    pub wall: Duration,
}

impl Kiln {
    /// kiln in `directory`, on `store`. No setting of whoever runs the checks
    /// gets to it.
    pub fn new(directory: &Path, store: &Path) -> Self {
        Self::with(program::kiln(), Scratch::new(), directory, store)
    }

    /// The same as an ordinary user, whose home is `directory`: as
    /// [`UNUSED_ID`] where the checks run as root.
    pub fn as_user(directory: &Path, store: &Path) -> Self {
        if !is_root() {
            return Self::new(directory, store);
        }
        let scratch = Scratch::of_user();
        // The user may not be able to get to where the binary was built.
        let binary = scratch.join("kiln");
        if fs::hard_link(program::kiln(), &binary).is_err() {
            fs::copy(program::kiln(), &binary).expect("kiln can be copied");
        }
        let mut kiln = Self::with(&binary, scratch, directory, store);
        kiln.ways.is_user = true;
        kiln.command.env("HOME", directory);
        kiln
    }

    /// The same in surroundings as unlike the usual ones as can be: umask, time
    /// zone, language and host name differ too.
    pub fn elsewhere(directory: &Path, store: &Path) -> Self {
        Self::as_user(directory, store)
            .env("TZ", "Pacific/Kiritimati")
            .env("LC_ALL", "tr_TR.UTF-8")
            .env("HOSTNAME", "elsewhere")
            .env("SOURCE_DATE_EPOCH", "1")
            .host_name("elsewhere")
            .umask(0o077)
    }

    fn with(binary: &Path, scratch: Scratch, directory: &Path, store: &Path) -> Self {
        let mut command = Command::new(binary);
        command.current_dir(directory);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("KILN_") || name.starts_with("CARGO") {
                command.env_remove(name);
            }
        }
        command.env("KILN_STORE", store);
        // Nobody's own caches and trust get to the checks.
        command.env("KILN_CONFIG", scratch.join("no-configuration"));
        Self {
            command,
            args: Vec::new(),
            stdin: Vec::new(),
            events: None,
            ways: Ways::default(),
            scratch,
        }
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let args = args.into_iter();
        self.args.extend(args.map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives a file to the user that kiln will run as.
    pub fn own(&self, path: &Path) {
        if self.ways.is_user {
            std::os::unix::fs::chown(path, Some(UNUSED_ID), Some(UNUSED_ID)).expect("root may");
        }
    }

    /// What is piped to stdin; nothing if it is not said.
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.as_bytes().to_vec();
        self
    }

    /// Another umask than the checks have.
    pub fn umask(mut self, mask: u32) -> Self {
        self.ways.umask = Some(mask);
        self
    }

    /// Another host name than the machine has. Takes effect only where the
    /// checks run as root: an ordinary user cannot name a machine.
    pub fn host_name(mut self, name: &'static str) -> Self {
        self.ways.host_name = is_root().then_some(name);
        self
    }

    /// Appends the events to this file, which stays. Else they go to a file
    /// that only the outcome shows.
    pub fn events(mut self, path: &Path) -> Self {
        self.events = Some(path.to_owned());
        self
    }

    /// The command, for those who start and watch it themselves. Its event log
    /// is the returned path.
    pub fn command(&mut self) -> (&mut Command, PathBuf) {
        let path = match &self.events {
            Some(path) => path.clone(),
            None => self.scratch.join("events"),
        };
        // Before the arguments, which may hold words for a sandbox after `--`.
        self.command.arg("--events").arg(&path).args(&self.args);
        let ways = self.ways;
        // SAFETY: only system calls, which are async-signal-safe.
        unsafe { self.command.pre_exec(move || ways.enter()) };
        (&mut self.command, path)
    }

    /// Runs it to its end.
    #[expect(clippy::zombie_processes, reason = "`wait` waits for it")]
    pub fn run(mut self) -> Outcome {
        let stdin = std::mem::take(&mut self.stdin);
        let (command, log) = self.command();
        let before = fs::metadata(&log).map_or(0, |found| found.len());
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().expect("kiln starts");
        let mut input = child.stdin.take().expect("it is piped");
        let feed = thread::spawn(move || {
            // Who does not read its input is judged by what it says.
            let _ = input.write_all(&stdin);
        });
        let stdout = reader(child.stdout.take().expect("it is piped"));
        let stderr = reader(child.stderr.take().expect("it is piped"));
        let (stdout, stderr) = (text(stdout), text(stderr));
        feed.join().expect("feeding does not panic");
        let (status, cpu) = wait(&child);
        Outcome {
            status,
            stdout,
            stderr,
            events: appended(&log, before),
            cpu,
            wall: start.elapsed(),
        }
    }

    /// Runs it, and panics with all it said if its exit status is not 0.
    pub fn succeed(self) -> Outcome {
        self.run().expect_status(0)
    }

    /// Runs it with `--json`, and parses what it prints.
    pub fn json(mut self) -> Value {
        self.args.insert(0, "--json".into());
        self.succeed().json()
    }
}

impl Ways {
    /// Called in the child, between fork and exec. The name of the machine
    /// comes first, since an ordinary user could not set it.
    fn enter(self) -> std::io::Result<()> {
        if let Some(name) = self.host_name {
            // SAFETY: no other thread shares what is unshared: there is none.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUTS) }?;
            rustix::system::sethostname(name.as_bytes())?;
        }
        if let Some(mask) = self.umask {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
        }
        if self.is_user {
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_gid(Gid::from_raw(UNUSED_ID))?;
            rustix::thread::set_thread_uid(Uid::from_raw(UNUSED_ID))?;
        }
        Ok(())
    }
}

impl Outcome {
    /// Panics with all that kiln said if its exit status is another.
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "exit status\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Stdout as one JSON document, which has a version.
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}; {}", self.stdout, self.stderr));
        assert!(value["version"].is_u64(), "a version in {}", self.stdout);
        value
    }
}

fn reader(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

fn text(reader: thread::JoinHandle<Vec<u8>>) -> String {
    let bytes = reader.join().expect("reading does not panic");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn appended(log: &Path, before: u64) -> Events {
    let bytes = fs::read(log).unwrap_or_default();
    let new = &bytes[usize::try_from(before).expect("a log is not that large")..];
    Events::parse(&String::from_utf8_lossy(new))
}

/// Waits for the child, and asks what it used; `std` does not tell.
fn wait(child: &Child) -> (i32, Duration) {
    let pid = libc::pid_t::try_from(child.id()).expect("a pid fits");
    let mut status = 0;
    // SAFETY: an all-zero `rusage` is a valid one.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both point to live values, and nobody else waits for this child.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(waited, pid, "kiln can be waited for");
    let time = |part: libc::timeval| {
        Duration::from_micros(part.tv_sec as u64 * 1_000_000 + part.tv_usec as u64)
    };
    let code = match libc::WIFEXITED(status) {
        true => libc::WEXITSTATUS(status),
        false => 128 + libc::WTERMSIG(status),
    };
    (code, time(usage.ru_utime) + time(usage.ru_stime))
}
