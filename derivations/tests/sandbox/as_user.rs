//! All tests again as an ordinary user, when root runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::pinned::emulation;
use crate::support::{bwrap_place, is_root};

/// Not that of the sandboxes: this one owns the tests' own files.
const USER_ID: u32 = 61_234;

#[test]
fn the_same_holds_for_an_ordinary_user() {
    if !is_root() {
        // Then everything else in this program was just run as one.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = directory.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new(&program)
        .args(["--test-threads=2"])
        .env("TMPDIR", directory.path())
        .env("KILN_TEST_BWRAP", bwrap_place())
        .env("KILN_TEST_EMULATION", emulation())
        .current_dir(directory.path())
        .uid(USER_ID)
        .gid(USER_ID)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains(" 0 ignored") && text.contains(" 0 filtered out"),
        "{text}"
    );
}
