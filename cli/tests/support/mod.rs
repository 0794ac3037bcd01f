//! A small project that needs neither network nor sandbox, and a store of its own.

#![allow(dead_code, reason = "each program needs a part of it")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The project's directory, which builders of another user can get to.
pub struct Project(TempDir);

impl Project {
    /// A project of this manifest, in which `WORDS` stands for a file, with a
    /// folder `folder`.
    pub fn new(manifest: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("it is ours");
        let project = Self(directory);
        let words = project.path("words");
        project.write("flake-like.toml", &manifest.replace("WORDS", &words));
        project.write("words", "words\n");
        for folder in ["folder", "config"] {
            fs::create_dir(project.path(folder)).expect("writable");
        }
        project.write("folder/file", "file\n");
        project
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.into_os_string().into_string().expect("it is text")
    }

    /// Writes a file of it.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("writable");
    }

    /// Kiln on this project, with the store called `store` and no configuration
    /// but the project's own `config`.
    pub fn kiln(&self, store: &str, args: &[&str]) -> Command {
        let mut kiln = Command::new(env!("CARGO_BIN_EXE_kiln"));
        kiln.args(["--store", &self.path(store)]).args(args);
        kiln.env_remove("KILN_MANIFEST").env_remove("KILN_KEY");
        kiln.env("KILN_CONFIG", self.path("config"));
        kiln.current_dir(self.0.path());
        kiln
    }

    /// Runs kiln, and wants this status and these words on its two streams.
    pub fn check_in(
        &self,
        store: &str,
        args: &[&str],
        status: i32,
        stdout: &[&str],
        stderr: &[&str],
    ) -> Output {
        let output = self.kiln(store, args).output().expect("kiln starts");
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        for (stream, words) in [(&output.stdout, stdout), (&output.stderr, stderr)] {
            let said = String::from_utf8_lossy(stream);
            for word in words {
                assert!(said.contains(word), "{args:?}: no `{word}` in {said}");
            }
        }
        output
    }

    /// The same in the store called `store`.
    pub fn check(&self, args: &[&str], status: i32, stdout: &[&str], stderr: &[&str]) -> Output {
        self.check_in("store", args, status, stdout, stderr)
    }
}
