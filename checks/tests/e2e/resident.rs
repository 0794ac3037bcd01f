//! Programs that stay in memory under the emulator do what they do alone, and
//! what they make is what the machine's own make.
//!
//! Needs Linux 6.7 or later, as all emulated builders; `kiln doctor` says what else.

use std::collections::BTreeSet;
use std::env::consts::ARCH;

use kiln_checks::{Kiln, Scratch};

use crate::{project, shared};

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
    let packages = ["builtins", "musl"];
    same_from_both_platforms(|scratch| shared().own(scratch.path()), &packages);
}

/// What a program is made with beside a compiler: kconfig, scripts of the shell,
/// awk and sed, a program that the build runs itself, the linker and strip. It is
/// busybox with a shell and as little more as there can be.
#[test]
fn a_small_busybox_of_both_platforms_is_the_same() {
    let (_scratch, project) = project();
    let folder = "derivations/recipes/busybox";
    let script = format!("{folder}/build.sh");
    project.replace(
        &script,
        "busybox_make defconfig\n",
        "busybox_make allnoconfig\n",
    );
    project.write(
        &format!("{folder}/busybox.config"),
        include_str!("resident-busybox.config"),
    );
    let kiln = |_: &Scratch| shared().kiln(project.directory());
    same_from_both_platforms(kiln, &["busybox"]);
}

/// What a kernel is configured to follows from probes: of the compiler, and of what
/// the compiler finds. A whole kernel takes hours; this is its first minute.
#[test]
fn a_kernel_is_configured_alike_on_both_platforms() {
    let scratch = Scratch::new();
    let configure = r#"
        sed '/^kernel_make "\$/,$d' /in/recipe/build.sh > /build/configure
        /bin/sh -e /build/configure > /build/log 2>&1 || { cat /build/log; exit 1; }
        cat /build/o/.config"#;
    for target in ["x86_64", "aarch64"] {
        let on = |platform: &str| {
            let words = ["shell", "linux", "--target", target];
            let kiln = shared().own(scratch.path()).args(words);
            let kiln = kiln.args(["--build-platform", platform]);
            let run = kiln.args(["--", "/bin/sh", "-ec", configure]);
            run.succeed().stdout
        };
        let (native, emulated) = (on(ARCH), on(foreign()));
        assert!(native.contains("CONFIG_CC_IS_CLANG=y\n"), "{native}");
        let [lines, others] = [&native, &emulated].map(|it| it.lines().collect::<BTreeSet<_>>());
        let differing: Vec<_> = lines.symmetric_difference(&others).collect();
        assert!(native == emulated, "for {target}: {differing:#?}");
    }
}

/// Builds packages on both platforms for one target.
fn same_from_both_platforms(kiln: impl Fn(&Scratch) -> Kiln, packages: &[&str]) {
    let build = |platform: &str| {
        let scratch = Scratch::new();
        let kiln = kiln(&scratch).args(["build"]).args(packages);
        let kiln = kiln.args(["--no-result", "--json", "--target", ARCH]);
        let kiln = kiln.args(["--build-platform", platform]);
        kiln.succeed().json()["outputs"].clone()
    };
    let native = build(ARCH);
    assert_eq!(native.as_array().map(Vec::len), Some(packages.len()));
    assert_eq!(native, build(foreign()));
}
