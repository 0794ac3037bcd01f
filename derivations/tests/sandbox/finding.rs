//! Which bubblewrap, and how a missing one is told.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use kiln_derivations::sandbox::probe::{Lack, check};
use kiln_derivations::sandbox::{Bwrap, CancelToken, Exit, run};

use crate::support::{Kiln, bwrap, bwrap_path};

#[test]
fn the_one_here_works() {
    let works = check(&bwrap(), Kiln::script("true").request.host_user).unwrap();
    assert!(works.version.starts_with("bubblewrap "), "{works:?}");
}

#[test]
fn one_without_the_options_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("bwrap");
    fs::write(
        &program,
        "#!/bin/sh\necho '  --args FD  --ro-bind SRC DEST'\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let found = Bwrap::in_path(directory.path().as_os_str()).unwrap();
    match check(&found, None) {
        Err(Lack::Options { missing, .. }) => {
            assert!(missing.contains(&"--disable-userns") && !missing.contains(&"--args"));
        }
        other => panic!("{other:?}"),
    }
}

/// A root as composed from a distribution's packages: only files, and links
/// that stay within.
#[test]
fn a_pinned_one_runs_through_its_own_loader() {
    let kiln = Kiln::script("echo pinned; tr '\\0' ' ' < /proc/1/cmdline | sed 's/ .*//'");
    let root = kiln.directory.path().join("pinned");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::copy(bwrap_path(), root.join("usr/bin/bwrap")).unwrap();
    let ldd = Command::new("ldd").arg(bwrap_path()).output().unwrap();
    let text = String::from_utf8(ldd.stdout).unwrap();
    let multiarch = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    fs::create_dir_all(root.join(&multiarch)).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let name = Path::new(library).file_name().unwrap();
        fs::copy(library, root.join(&multiarch).join(name)).unwrap();
    }
    kiln.hand_over(&root);

    let pinned = Bwrap::pinned(&root).unwrap();
    check(&pinned, kiln.request.host_user).unwrap();
    let mut log = Vec::new();
    let mut output = |bytes: &[u8]| {
        log.extend_from_slice(bytes);
        Ok(())
    };
    let outcome = run(
        &pinned,
        &kiln.request,
        &mut output,
        &CancelToken::new().unwrap(),
    )
    .unwrap();
    let log = String::from_utf8(log).unwrap();
    assert_eq!(
        (outcome.exit, log.as_str()),
        (Exit::Success, "pinned\nbwrap")
    );
}

#[test]
fn an_incomplete_pinned_root_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let error = Bwrap::pinned(empty.path()).unwrap_err().to_string();
    assert!(error.contains("ld-linux"), "{error}");
}
