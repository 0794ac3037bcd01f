//! From ten lines of manifest to an image of one's own.

use kiln_checks::Scratch;
use kiln_checks::program::repository;

use crate::shared;

#[test]
fn a_new_project_locks_builds_and_boots() {
    let shared = shared();
    let scratch = Scratch::new();
    let directory = scratch.join("mine");
    let init = shared.kiln(scratch.path()).args(["init", "mine", "--from"]);
    init.args([repository()]).succeed();
    shared.kiln(&directory).args(["lock"]).succeed();
    shared.kiln(&directory).args(["lock", "--check"]).succeed();
    let built = shared.kiln(&directory).args(["build"]).succeed();
    assert!(
        built.events.built().contains("rootfs.mine") && !built.events.built().contains("linux"),
        "only what is its own is built: {:?}",
        built.events.built()
    );
    assert!(directory.join("result/initramfs.cpio.gz").is_file());
    let tested = shared.kiln(&directory).args(["test"]).json();
    assert_eq!(tested["checks"][0]["passed"], true, "{tested}");
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let scratch = Scratch::new();
    let mine = scratch.join("flake-like.toml");
    std::fs::write(&mine, "# mine\n").expect("it can be written");
    let init = kiln_checks::Kiln::new(scratch.path(), &scratch.join("store"));
    let init = init.args(["init", "--from"]).args([repository()]);
    let outcome = init.run().expect_status(2);
    assert!(
        outcome.stderr.contains("flake-like.toml"),
        "{}",
        outcome.stderr
    );
    assert_eq!(
        std::fs::read_to_string(&mine).expect("it stays"),
        "# mine\n"
    );
    assert!(!scratch.join("init").exists(), "nothing is half done");
}
