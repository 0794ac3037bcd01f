//! `kiln verify --rebuild` where no sandbox is needed: what it refuses, what it
//! counts, and what it leaves.

mod support;

use std::fs;

use support::Project;

const MANIFEST: &str = r#"
[flake]
name    = "paper"
targets = ["x86_64", "aarch64"]

[source.folder]
path = "folder"

[rootfs.small]
files = { "/etc/motd" = { text = "hello\n" } }
"#;

#[test]
fn what_cannot_be_built_again_is_said() {
    let project = Project::new(MANIFEST);
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
    let project = Project::new(MANIFEST);
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
        &["again   source.folder: same, in "],
    );
    let verify = project.path("store/verify");
    let left = fs::read_dir(verify).expect("it was made");
    assert_eq!(left.count(), 0, "the scratch store is gone");
}
