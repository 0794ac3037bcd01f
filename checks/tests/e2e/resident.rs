//! Programs that stay in memory under the emulator do what they do alone, and
//! what they make is what the machine's own make.
//!
//! Needs Linux 6.7 or later, as all emulated builders; `kiln doctor` says what else.

use std::env::consts::ARCH;

use kiln_checks::Scratch;

use crate::shared;

fn foreign() -> &'static str {
    match ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    }
}

#[test]
fn a_resident_compiler_does_what_it_does_alone() {
    let scratch = Scratch::new();
    let words = ["shell", "builtins", "--target", "x86_64"];
    let run = shared()
        .own(scratch.path())
        .args(words)
        .args(["--build-platform", foreign()])
        .args(["--", "/bin/bash", "-uc", include_str!("resident.sh")])
        .succeed();
    assert!(run.stdout.contains("resident: ok"), "{}", run.stdout);
}

/// The C library with the compiler's runtime and all headers: two thousand seven
/// hundred compilations. What takes hours has a command of its own, `proof`.
#[test]
fn compilers_of_both_platforms_make_the_same() {
    let build = |platform: &str| {
        let scratch = Scratch::new();
        let words = ["build", "builtins", "musl", "--no-result", "--json"];
        let kiln = shared().own(scratch.path()).args(words);
        let kiln = kiln.args(["--target", ARCH, "--build-platform", platform]);
        kiln.succeed().json()["outputs"].clone()
    };
    let native = build(ARCH);
    assert_eq!(native.as_array().map(Vec::len), Some(2));
    assert_eq!(native, build(foreign()));
}
