//! The `kiln` binary that is judged.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The repository's top directory.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The binary: the one named by `KILN_CHECKS_BIN`, else the one of the same
/// profile as this program, brought up to date once a process.
pub fn kiln() -> &'static Path {
    static KILN: OnceLock<PathBuf> = OnceLock::new();
    KILN.get_or_init(|| match env::var_os("KILN_CHECKS_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

/// A test depends on no other package's binary, so cargo does not promise that
/// it is there, nor that it is newer than its source.
fn build() -> PathBuf {
    let directory = profile_directory();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "test",
        Some(other) => other,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = directory
        .parent()
        .expect("a profile is in a target directory");
    let mut build = Command::new(cargo);
    // What cargo says about this package is for this package: build scripts
    // look at it, and would make dependencies be built anew each time.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    // The whole workspace with its tests, as it was built to get here: a part of
    // it would have other features, and so other dependencies to build.
    let status = build
        .args(["test", "--workspace", "--no-run", "--quiet"])
        .args(["--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(repository())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "kiln does not build");
    directory.join("kiln")
}

/// `target/debug`, from `target/debug/deps/e2e-…` or `target/debug/matrix`.
fn profile_directory() -> PathBuf {
    let this = env::current_exe().expect("this program has a path");
    let directory = this.parent().expect("a program is in a directory");
    match directory.ends_with("deps") {
        true => directory.parent().expect("deps is in a profile").to_owned(),
        false => directory.to_owned(),
    }
}
