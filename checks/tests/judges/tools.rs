//! The judges' own programs, run through their own loader.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use kiln_checks::{Kiln, Scratch, program};

/// A copy of `project/`, a store, and the programs that were built from it.
pub struct Tools {
    scratch: Scratch,
}

impl Tools {
    /// Builds the seed `tools` of a copy of the project.
    pub fn build() -> Self {
        let tools = Self {
            scratch: Scratch::new(),
        };
        fs::create_dir(tools.project()).expect("it is new");
        let from = program::repository().join("checks/tests/judges/project");
        let manifest = fs::read_to_string(from.join("flake-like.toml")).expect("it is there");
        let relative = "path = \"../../../..\"";
        assert!(manifest.contains(relative), "it imports kiln's own flake");
        let own = program::repository().canonicalize().expect("it is there");
        let manifest = manifest.replace(relative, &format!("path = {own:?}"));
        fs::write(tools.project().join("flake-like.toml"), manifest).expect("writable");
        fs::write(tools.project().join("big"), big()).expect("writable");
        let lock = "flake-like.lock";
        fs::copy(from.join(lock), tools.project().join(lock)).expect("it is there");
        tools.kiln("seed.tools", "tools");
        tools
    }

    /// Builds `name`, copies its output to `to`, and returns where that is.
    pub fn kiln(&self, name: &str, to: &str) -> PathBuf {
        let directory = self.scratch.join(to);
        Kiln::new(&self.project(), &self.scratch.join("store"))
            .args(["build", "--quiet", name, "--out"])
            .args([&directory])
            .succeed();
        directory
    }

    /// A path in the directory that goes with the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn project(&self) -> PathBuf {
        self.scratch.join("project")
    }

    /// A program of the seed, with its arguments.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let root = self.scratch.join("tools");
        let (loader, libraries) = match std::env::consts::ARCH {
            "x86_64" => ("ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
            _ => ("ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
        };
        let found = ["usr/bin", "usr/sbin"].map(|directory| root.join(directory).join(program));
        let found = found.iter().find(|path| path.exists());
        let mut command = Command::new(root.join(libraries).join(loader));
        command.arg("--library-path").arg(root.join(libraries));
        command.arg(found.unwrap_or_else(|| panic!("the seed has {program}")));
        command.args(args).env_clear();
        command.env("LC_ALL", "C").env("TZ", "UTC");
        command
    }

    /// What a program of the seed makes of `input`.
    pub fn run(&self, program: &str, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(program, args);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
        let mut stdin = child.stdin.take().expect("it is piped");
        thread::scope(|scope| {
            // A program that reads only the beginning is judged by its status.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("it can be waited for")
        })
    }

    /// The same for one that must succeed: its stdout.
    pub fn stdout(&self, program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(program, args, input);
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        output.stdout
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are text")
}

/// Three megabytes that no compression makes small.
pub fn big() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..3 << 17).flat_map(|_| next()).collect()
}
