//! The same derivations give the same digests, whoever builds them and where;
//! and an ordinary user builds.
//!
//! This is the part that takes minutes: busybox with all that it is built with,
//! and the root file system. `matrix` compares the whole.

use kiln_checks::{Events, Kiln, Project, Scratch};

use crate::shared;

#[test]
fn an_ordinary_user_elsewhere_builds_the_same_bytes() {
    let here = shared().events();
    let there = built_elsewhere();
    assert!(there.built_by("exec").contains("busybox"), "it is compared");
    let different = there.differences(&here);
    assert!(
        different.is_empty(),
        "{} differ: {different:#?}",
        different.len()
    );
}

/// Another user builds in another store and project, with other job counts.
fn built_elsewhere() -> Events {
    let scratch = Scratch::of_user();
    let project = Project::copy_to(&scratch.join("a project of another name"));
    let run = Kiln::elsewhere(scratch.path(), &scratch.join("other-store"))
        .env("KILN_MANIFEST", project.directory())
        .args(["build", "busybox", "rootfs.minsys", "--no-result"])
        .args(["--cores", "1", "--jobs", "2", "--downloads", "3"]);
    run.succeed().events
}
