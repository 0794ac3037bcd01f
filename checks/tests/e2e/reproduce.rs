//! The same derivations give the same digests, whoever builds them and where;
//! and an ordinary user builds.
//!
//! This is the part that takes minutes: busybox with all that it is built with,
//! and the root file system. `matrix` compares the whole.

use kiln_checks::{Events, Kiln, Project, Scratch};

use crate::shared;

#[test]
fn an_ordinary_user_elsewhere_builds_the_same_bytes() {
    let here = shared().events().outputs();
    let there = built_elsewhere().outputs();
    let (scripts, all) = (
        there.keys().filter(|(name, ..)| name == "busybox"),
        there.len(),
    );
    assert_eq!(
        scripts.count(),
        1,
        "busybox is among the {all} that were built"
    );
    let differs = |built: &_| here.get(built) != there.get(built);
    let different: Vec<_> = there.keys().filter(|built| differs(built)).collect();
    assert!(
        different.is_empty(),
        "{} of {all} differ: {different:#?}",
        different.len()
    );
}

/// Builds as unlike the shared store as can be: by another user, in another
/// store and project, with other job counts, umask, time zone, language and
/// host name.
fn built_elsewhere() -> Events {
    let scratch = Scratch::of_user();
    let project = Project::copy_to(&scratch.join("a project of another name"));
    let run = Kiln::as_user(scratch.path(), &scratch.join("other-store"))
        .env("KILN_MANIFEST", project.directory())
        .args(["build", "busybox", "rootfs.minsys", "--no-result"])
        .args(["--cores", "1", "--jobs", "2", "--downloads", "3"])
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("HOSTNAME", "elsewhere")
        .env("SOURCE_DATE_EPOCH", "1")
        .host_name("elsewhere")
        .umask(0o077);
    run.succeed().events
}
