//! Processes as `/proc` shows them, and kiln as a process among them.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kiln_checks::{Events, Kiln};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long something that must happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// A kiln that runs, in a process group of its own as on a terminal.
pub struct Running {
    child: Child,
    stderr: Option<JoinHandle<String>>,
    log: PathBuf,
    /// Holds what the run needs.
    _kiln: Kiln,
}

/// How a kiln ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status, if it was no signal that ended it.
    pub status: Option<i32>,
    /// What it wrote to stderr.
    pub stderr: String,
    /// What it wrote to its event log.
    pub events: Events,
}

impl Running {
    /// Starts it.
    pub fn start(mut kiln: Kiln) -> Self {
        let (command, log) = kiln.command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("kiln starts");
        let mut pipe = child.stderr.take().expect("it is piped");
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).expect("a pipe can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self {
            child,
            stderr: Some(stderr),
            log,
            _kiln: kiln,
        }
    }

    /// The events so far.
    pub fn events(&self) -> Events {
        // The last line may be half-written.
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        Events::parse(&text[..whole])
    }

    /// Waits until a builder has started.
    pub fn until_started(&self, name: &str) {
        until(&format!("`{name}` starts"), || {
            let events = self.events();
            events
                .of_kind("started")
                .any(|event| event["derivation"]["name"] == name)
        });
    }

    /// Sends a signal to kiln alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("kiln runs");
    }

    /// Sends a signal to kiln and all that it started in its group, as a
    /// terminal does.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).expect("kiln runs");
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        while self.is_running() && start.elapsed() < SOON {
            thread::sleep(Duration::from_millis(2));
        }
        if self.is_running() {
            let _ = self.child.kill();
            panic!("kiln does not end: {:?}", self.events());
        }
        let status = self.child.wait().expect("it is our child");
        let reader = self.stderr.take().expect("it is waited for once");
        Ended {
            status: status.code(),
            stderr: reader.join().expect("reading does not panic"),
            events: self.events(),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// Waits until something is so, and panics if that takes too long.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that kiln started on a store: each as pid and command line.
/// Bubblewrap is called by a path in it, and the processes of a sandbox have
/// its directories mounted.
pub fn of_store(store: &Path) -> Vec<String> {
    let store = store.to_str().expect("checks choose plain names");
    let pids = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok());
    let mut found = Vec::new();
    for pid in pids {
        let pid: u32 = pid;
        let read = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let command = read("cmdline");
        if command.contains(store) || read("mountinfo").contains(store) {
            found.push(format!("{pid} {}", command.trim_end()));
        }
    }
    found
}

/// The pid of a process of [`of_store`].
pub fn pid_of(line: &str) -> Pid {
    let pid = line.split(' ').next().and_then(|pid| pid.parse().ok());
    pid.and_then(Pid::from_raw).expect("it begins with a pid")
}
