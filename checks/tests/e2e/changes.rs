//! What a change of the source builds again, and that the guest runs what the
//! source says.

use std::collections::BTreeSet;
use std::fs;

use kiln_checks::program::repository;

use crate::{project, shared};

/// A patch of the checks.
fn patch(name: &str) -> String {
    let path = repository().join("checks/patches").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_comment_rebuilds_busybox_and_nothing_after_it() {
    let shared = shared();
    let (_scratch, project) = project();
    project.patch("busybox", "comment.patch", &patch("busybox-comment.patch"));
    let run = shared.kiln(project.directory()).args(["build", "minsys"]);
    let events = run.succeed().events;
    let expected = ["busybox", "busybox.recipe"].map(str::to_owned);
    assert_eq!(events.built(), BTreeSet::from(expected));
}

#[test]
fn another_description_builds_nothing() {
    let shared = shared();
    let (_scratch, project) = project();
    let recipe = "derivations/recipes/busybox/recipe.toml";
    let text = project.read(recipe);
    let (before, rest) = text.split_once("description = ").expect("it is described");
    let (_, after) = rest.split_once('\n').expect("lines end");
    project.write(
        recipe,
        &format!("{before}description = \"other words\"\n{after}"),
    );
    let run = shared.kiln(project.directory()).args(["build", "minsys"]);
    let events = run.succeed().events;
    assert_eq!(events.built(), BTreeSet::new());
}

#[test]
fn the_guest_prints_a_string_that_was_changed_in_the_source() {
    let shared = shared();
    let (_scratch, project) = project();
    project.patch("busybox", "banner.patch", &patch("busybox-banner.patch"));
    let banner = " multi-call binary, from a patched source.";
    let booted = |directory| {
        let run = shared.kiln(directory).args(["boot", "minsys"]);
        run.stdin("busybox 2>&1 | head -n 1\n").succeed().stdout
    };
    let stdout = booted(project.directory());
    assert!(stdout.contains(banner), "{stdout}");
    // The words come from the patch, and from nowhere else.
    let stdout = booted(repository());
    assert!(
        stdout.contains("multi-call binary") && !stdout.contains(banner),
        "{stdout}"
    );
}
