//! Scratch directories: they are gone afterwards, whatever a builder left.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::Fixture;

#[test]
fn trees_deeper_than_any_path_are_removed() {
    let fixture = Fixture::new();
    let dir = fixture.store.new_build_dir("deep").expect("a directory");
    support::nest(&dir.path(), 5000);
    let path = dir.path();
    dir.remove().expect("to remove");
    assert!(!path.exists());
}

#[test]
fn directories_that_deny_everything_are_removed() {
    let fixture = Fixture::new();
    let dir = fixture.store.new_build_dir("denied").expect("a directory");
    let path = dir.path();
    fs::create_dir_all(path.join("a/b")).expect("to create");
    fs::write(path.join("a/b/file"), "x").expect("to write");
    for denied in ["a/b", "a", "."] {
        let denied = path.join(denied);
        fs::set_permissions(denied, fs::Permissions::from_mode(0o000)).expect("to chmod");
    }
    dir.remove().expect("to remove");
    assert!(!path.exists());
}

#[test]
fn a_failed_one_is_kept_in_place_of_the_last() {
    let fixture = Fixture::new();
    for content in ["first", "second"] {
        let dir = fixture.store.new_build_dir("musl").expect("a directory");
        fs::write(dir.path().join("file"), content).expect("to write");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).expect("to chmod");
        let kept = dir.keep_failed("musl").expect("to keep");
        assert_eq!(kept, fixture.store.path().join("failed/musl"));
        assert_eq!(
            fs::read_to_string(kept.join("file")).expect("a file"),
            content
        );
    }
    assert_eq!(
        fs::read_dir(fixture.store.path().join("build"))
            .expect("a directory")
            .count(),
        0
    );
}

#[test]
fn one_that_is_forgotten_is_removed_when_dropped() {
    let fixture = Fixture::new();
    let dir = fixture.store.new_build_dir("x").expect("a directory");
    let path = dir.path();
    assert!(path.exists());
    drop(dir);
    assert!(!path.exists());
}
