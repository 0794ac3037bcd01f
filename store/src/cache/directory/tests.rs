//! What a directory keeps to beyond the contract.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;

use super::*;
use crate::cache::contract;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

#[test]
fn it_keeps_the_contract() {
    let root = tempfile::tempdir().expect("a directory");
    contract::check(&Directory::new(root.path()));
    let linked = root.path().with_extension("link");
    symlink(root.path(), &linked).expect("it is new");
    contract::check(&Directory::new(&linked));
    fs::remove_file(linked).expect("it is ours");
}

#[test]
fn no_link_is_followed() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("secret"), "secret").expect("it can be written");
    let root = tempfile::tempdir().expect("a directory");
    let cache = Directory::new(root.path());
    symlink(outside.path(), root.path().join("out")).expect("it is new");
    symlink(outside.path().join("secret"), root.path().join("file")).expect("it is new");
    for at in ["out/secret", "file"] {
        let error = cache.open(&name(at), None).map(|_| ()).expect_err("a link");
        assert!(matches!(error, Kind::Refused(_)), "{error}");
        cache.size(&name(at)).expect_err("a link");
    }
    let put = cache.put(&name("out/new"), &mut Cursor::new("x"), 1);
    put.expect_err("a link");
    cache.remove(&name("out/secret")).expect_err("a link");
    assert_eq!(cache.list("").expect("it can be listed"), Some(Vec::new()));
    // What is put where a link is replaces the link.
    cache
        .put(&name("file"), &mut Cursor::new("x"), 1)
        .expect("it goes");
    let names: Vec<_> = fs::read_dir(outside.path()).expect("it is there").collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let secret = fs::read_to_string(outside.path().join("secret"));
    assert_eq!(secret.expect("it is there"), "secret");
}

#[test]
fn what_killed_writers_left_is_not_seen_and_can_be_swept() {
    let root = tempfile::tempdir().expect("a directory");
    let cache = Directory::new(root.path());
    cache
        .put(&name("a/b"), &mut Cursor::new("x"), 1)
        .expect("it goes");
    let left = root.path().join("a").join(cache.temporary_name());
    fs::write(&left, "half").expect("it can be written");
    let listed = cache.list("").expect("it can be listed").expect("it lists");
    assert_eq!(listed.len(), 1, "{listed:?}");
    let hour = Duration::from_secs(3600);
    assert_eq!(cache.sweep(hour).expect("it goes"), 0);
    let file = File::options()
        .write(true)
        .open(&left)
        .expect("it is there");
    file.set_modified(SystemTime::now() - 2 * hour)
        .expect("it is ours");
    assert_eq!(cache.sweep(hour).expect("it goes"), 1);
    assert!(!left.exists());
    assert_eq!(cache.size(&name("a/b")).expect("it goes"), Some(1));
}

#[test]
fn a_failed_write_leaves_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let cache = Directory::new(root.path());
    for size in [0, 2, 4] {
        let error = cache.put(&name("a"), &mut Cursor::new("abc"), size);
        let error = error.expect_err("it has another size");
        assert!(matches!(error, Kind::Refused(_)), "{error}");
    }
    assert_eq!(fs::read_dir(root.path()).expect("it is there").count(), 0);
}

#[test]
fn a_missing_root_is_an_error_and_not_an_empty_cache() {
    let root = tempfile::tempdir().expect("a directory");
    let cache = Directory::new(root.path().join("unmounted"));
    let error = cache.size(&name("a")).expect_err("it is not there");
    assert!(error.is_passing(), "{error}");
    cache
        .put(&name("a"), &mut Cursor::new(""), 0)
        .expect_err("it is not there");
    cache.list("").expect_err("it is not there");
}
