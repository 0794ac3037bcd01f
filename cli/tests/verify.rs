//! `kiln verify --rebuild` where no sandbox is needed: what it refuses, what it
//! counts, and what it leaves.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use tempfile::TempDir;

const MANIFEST: &str = r#"
[flake]
name    = "paper"
targets = ["x86_64", "aarch64"]

[source.folder]
path = "folder"

[rootfs.small]
files = { "/etc/motd" = { text = "hello\n" } }
"#;

/// A project and a store that builders of another user can get to.
struct Project(TempDir);

impl Project {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("it is ours");
        let project = Self(directory);
        fs::write(project.0.path().join("flake-like.toml"), MANIFEST).expect("writable");
        fs::create_dir(project.0.path().join("folder")).expect("writable");
        fs::write(project.0.path().join("folder/file"), "file\n").expect("writable");
        project
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut kiln = Command::new(env!("CARGO_BIN_EXE_kiln"));
        kiln.arg("--store").arg(self.0.path().join("store"));
        kiln.env_remove("KILN_MANIFEST").current_dir(self.0.path());
        kiln.args(args).output().expect("kiln starts")
    }

    /// Runs kiln, and wants this status and these words on its two streams.
    fn check(&self, args: &[&str], status: i32, stdout: &[&str], stderr: &[&str]) {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        for (stream, words) in [(&output.stdout, stdout), (&output.stderr, stderr)] {
            let said = String::from_utf8_lossy(stream);
            for word in words {
                assert!(said.contains(word), "{args:?}: no `{word}` in {said}");
            }
        }
    }
}

#[test]
fn what_cannot_be_built_again_is_said() {
    let project = Project::new();
    project.check(&["lock"], 0, &[], &[]);
    let small = "rootfs.small";
    project.check(&["verify", "--rebuild"], 2, &[], &["NAME"]);
    project.check(
        &["verify", "--rebuild", small],
        2,
        &[],
        &["not built here", "kiln build rootfs.small"],
    );
    project.check(&["build", "--no-result", small], 0, &[], &[]);
    project.check(
        &["verify", small, "--factor", "humask"],
        2,
        &[],
        &["humask", "umask"],
    );
    project.check(
        &["verify", small, "--rebuild", "--only", "x"],
        2,
        &[],
        &["--closure"],
    );
    project.check(
        &["verify", small, "--rebuild", "--closure", "--only", "linux"],
        2,
        &[],
        &["`linux`", "kiln graph"],
    );
    project.check(
        &["verify", "folder", "--against", small, "--rebuild"],
        2,
        &[],
        &["--against"],
    );
}

#[test]
fn what_kiln_builds_itself_is_built_again_and_nothing_is_left() {
    let project = Project::new();
    project.check(&["lock"], 0, &[], &[]);
    let names = ["rootfs.small", "source.folder"];
    project.check(
        &[&["build", "--no-result"], &names[..]].concat(),
        0,
        &[],
        &[],
    );
    project.check(
        &[&["verify", "--perturb"], &names[..]].concat(),
        0,
        &["same", "0 differ", "0 not built again"],
        &[],
    );
    let verify = project.0.path().join("store/verify");
    let left = fs::read_dir(verify).expect("it was made");
    assert_eq!(left.count(), 0, "the scratch store is gone");
}
