//! Builders of both platforms make the same bytes, and their claims meet.
//!
//! This is the part that takes minutes: musl's headers, by a shell, sed and
//! make of either platform. The other platform's run in the pinned emulator,
//! which needs Linux 6.7 or later; `kiln doctor` says what else.

use std::env::consts::ARCH;

use kiln_checks::program::repository;
use kiln_checks::{Events, Kiln, Project, Scratch};
use serde_json::Value;

/// Where root runs the tests, the other platform's builders are an ordinary
/// user's: nothing of that is in a claim either. (Root's own are in the tests of
/// the sandbox.)
#[test]
fn both_build_platforms_come_to_the_same_claim() {
    let scratch = Scratch::of_user();
    let project = Project::copy_to(&scratch.join("project"));
    let there = Kiln::as_user(project.directory(), &scratch.join("there"));
    let here = Kiln::new(repository(), &scratch.join("here"));
    let foreign = match ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    };
    let (native, emulated) = (headers(here, ARCH), headers(there, foreign));
    assert_eq!(native["outputs"], emulated["outputs"]);
    assert_eq!(native["recipe"], emulated["recipe"], "C is the same");
    let action = |event: &Value| event["derivation"]["action"].clone();
    assert_ne!(action(&native), action(&emulated), "K is not");
}

/// The event of building musl's headers for one target on a build platform.
fn headers(kiln: Kiln, build_platform: &str) -> Value {
    let words = [
        "build",
        "musl-headers",
        "--no-result",
        "--target",
        "aarch64",
    ];
    let kiln = kiln.args(words).args(["--build-platform", build_platform]);
    let Events(events) = kiln.succeed().events;
    let is_it =
        |event: &&Value| event["event"] == "built" && event["derivation"]["name"] == "musl-headers";
    let built = events.iter().find(is_it);
    built.expect("an empty store has to build it").clone()
}
