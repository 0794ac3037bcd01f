//! Which bubblewrap, and how a missing one is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln_derivations::sandbox::probe::{Lack, check};
use kiln_derivations::sandbox::{Bwrap, CancelToken, Exit, run};

use crate::support::{Kiln, bwrap, pinned_root};

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

#[test]
fn a_pinned_one_runs_through_its_own_loader() {
    let kiln = Kiln::script("echo pinned; tr '\\0' ' ' < /proc/1/cmdline | sed 's/ .*//'");
    let root = pinned_root(&kiln);
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
