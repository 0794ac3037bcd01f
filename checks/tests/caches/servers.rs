//! Servers from a pinned seed, run through their own loader.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use kiln_checks::{Kiln, Scratch, UNUSED_ID, is_root, program};
use rustix::process::{Gid, Signal, Uid};

/// How long a server may take to begin or to end.
const SOON: Duration = Duration::from_secs(30);

/// The programs.
pub struct Programs(Scratch);

impl Programs {
    /// The seed of `project/`; shared by all who have it at the time. What was
    /// fetched is kept in the target directory.
    pub fn get() -> Arc<Self> {
        static PROGRAMS: Mutex<Weak<Programs>> = Mutex::new(Weak::new());
        let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(programs) = programs.upgrade() {
            return programs;
        }
        let made = Arc::new(Self::build());
        *programs = Arc::downgrade(&made);
        made
    }

    fn build() -> Self {
        let scratch = Scratch::new();
        let project = scratch.join("project");
        fs::create_dir(&project).expect("it is new");
        let from = program::repository().join("checks/tests/caches/project");
        for name in ["flake-like.toml", "flake-like.lock"] {
            fs::copy(from.join(name), project.join(name)).expect("it is there");
        }
        let user = rustix::process::getuid().as_raw();
        let store = format!("{}/caches-store-{user}", env!("CARGO_TARGET_TMPDIR"));
        Kiln::new(&project, Path::new(&store))
            .args(["build", "--quiet", "seed.servers", "--out"])
            .args([scratch.join("root")])
            .succeed();
        Self(scratch)
    }

    /// A program of the seed. It runs as an ordinary user, and dies with the
    /// thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        let root = self.0.join("root");
        let (loader, libraries) = match std::env::consts::ARCH {
            "x86_64" => ("ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
            _ => ("ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
        };
        let libraries = root.join(libraries);
        let found = ["usr/bin", "usr/sbin"].map(|directory| root.join(directory).join(program));
        let found = found.iter().find(|path| path.exists());
        let mut command = Command::new(libraries.join(loader));
        command.arg("--library-path");
        // Ceph keeps a library of its own apart.
        let both = [libraries.clone(), libraries.join("ceph")];
        command.arg(std::env::join_paths(both).expect("scratch paths are plain"));
        command.arg(found.unwrap_or_else(|| panic!("the seed has {program}")));
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        command.stdin(Stdio::null());
        // SAFETY: only system calls are made between fork and exec.
        unsafe { command.pre_exec(drop_privileges) };
        command
    }

    /// What a program prints that must succeed, and soon.
    pub fn run(&self, program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
        let printed = self.run_or_give_up(program, arguments, directory);
        printed.unwrap_or_else(|| panic!("{program} {arguments:?} does not end"))
    }

    /// What a program prints that must succeed. None if it did not end soon.
    pub fn run_or_give_up(
        &self,
        program: &str,
        arguments: &[&str],
        directory: &Path,
    ) -> Option<Vec<u8>> {
        let mut command = self.command(program);
        command.args(arguments).current_dir(directory);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
        let start = Instant::now();
        // What it prints fits into a pipe.
        while child.try_wait().expect("it is our child").is_none() {
            if start.elapsed() > SOON {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().expect("it is our child");
        let success = output.status.success();
        assert!(success, "{program} {arguments:?}: {output:?}");
        Some(output.stdout)
    }
}

/// Called between fork and exec. The order matters: a change of user takes back
/// what was said about the parent's death.
fn drop_privileges() -> std::io::Result<()> {
    if is_root() {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_gid(Gid::from_raw(UNUSED_ID))?;
        rustix::thread::set_thread_uid(Uid::from_raw(UNUSED_ID))?;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// A running server, with a directory of its own; both go when it is dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    scratch: Scratch,
    /// What it runs from goes after it.
    _programs: Arc<Programs>,
}

/// What is needed to start a server.
pub struct Start<'a> {
    /// Its program.
    pub program: &'a str,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// The name of its configuration, in its directory, where it is started.
    pub config: &'a str,
}

impl Server {
    /// Starts a server in `scratch`, with what `configure` makes of the address
    /// that it shall have and of its directory.
    pub fn start(
        scratch: Scratch,
        start: &Start<'_>,
        configure: impl Fn(SocketAddr, &Path) -> String,
    ) -> Self {
        let programs = Programs::get();
        // Another program may take the port in between.
        for _ in 0..5 {
            let address = free_address();
            let config = configure(address, scratch.path());
            fs::write(scratch.join(start.config), config).expect("it can be written");
            own(&scratch.join(start.config));
            let log = File::create(scratch.join("log")).expect("it can be written");
            let mut command = programs.command(start.program);
            command.args(start.arguments).current_dir(scratch.path());
            command.stdout(log.try_clone().expect("a file")).stderr(log);
            let mut child = command.spawn().expect("it starts");
            if is_there(&mut child, address) {
                return Self {
                    child,
                    address,
                    scratch,
                    _programs: programs,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = fs::read_to_string(scratch.join("log")).unwrap_or_default();
        panic!("{} does not start: {log}", start.program);
    }

    /// `127.0.0.1` and a port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of who runs the servers, with these in it.
pub fn scratch(directories: &[&str]) -> Scratch {
    let scratch = Scratch::of_user();
    for name in directories {
        fs::create_dir_all(scratch.join(name)).expect("it is new");
        own(&scratch.join(name));
    }
    scratch
}

/// Gives a file to who runs the servers.
pub fn own(path: &Path) {
    if is_root() {
        chown(path, Some(UNUSED_ID), Some(UNUSED_ID)).expect("root may");
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// Waits until it listens. False if it ends before.
fn is_there(child: &mut Child, address: SocketAddr) -> bool {
    let start = Instant::now();
    while start.elapsed() < SOON {
        if child.try_wait().expect("it is our child").is_some() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}
