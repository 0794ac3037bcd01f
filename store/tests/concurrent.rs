//! Many threads, and several handles on a store as several processes have.

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kiln_store::gc::GcOptions;
use kiln_store::hash::{ActionKey, Digest};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::store::{OpenOptions, Store};
use kiln_store::tree::Directory;
use support::{Fixture, write_tree};

#[test]
fn an_action_is_built_by_one_at_a_time() {
    let fixture = Fixture::new();
    let other = fixture.reopen();
    let action = ActionKey(Digest::of(b"action"));
    let building = AtomicUsize::new(0);
    let build = |store: &Store| {
        for _ in 0..50 {
            let _lock = store.lock_build(&action).expect("to lock");
            assert_eq!(building.fetch_add(1, Ordering::SeqCst), 0);
            std::thread::yield_now();
            building.fetch_sub(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        for store in [&fixture.store, &fixture.store, &other, &other] {
            scope.spawn(|| build(store));
        }
    });
    let lock = fixture.store.try_lock_build(&action).expect("to lock");
    assert!(lock.is_some());
    assert!(other.try_lock_build(&action).expect("to try").is_none());
    let another = ActionKey(Digest::of(b"another"));
    assert!(other.try_lock_build(&another).expect("to try").is_some());
    drop(lock);
    let left = fs::read_dir(fixture.store.path().join("locks")).expect("a directory");
    assert_eq!(left.count(), 0);
}

#[test]
fn a_store_is_made_once_by_whoever_comes_first() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/store");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| Store::open(&path, &OpenOptions::default()).expect("to open"));
            }
        });
    }
}

#[test]
fn everyone_may_write_and_show_the_same_tree_at_once() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let other = fixture.reopen();
    std::thread::scope(|scope| {
        for (number, store) in [&fixture.store, &other]
            .into_iter()
            .cycle()
            .take(8)
            .enumerate()
        {
            let source = &source;
            scope.spawn(move || {
                let tree = support::import(store, source).tree;
                let shown = store.checkout(&tree).expect("to check out");
                assert_eq!(support::import(store, shown.path()).tree, tree);
                let claim = support::claim(number as u8, tree);
                store.register(&[claim]).expect("to register");
            });
        }
    });
    assert_eq!(fixture.store.verify().expect("to verify").damage, []);
    assert_eq!(fixture.store.verify().expect("to verify").realisations, 8);
}

/// gc runs over and over while another session puts trees together; whatever
/// that session has in hand stays whole.
#[test]
fn gc_beside_a_session_takes_nothing_of_its() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    // Old content, to be found present.
    support::import(&fixture.reopen(), &source);
    let mut collector = fixture.reopen();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let options = GcOptions {
                keep: Duration::ZERO,
                ..GcOptions::default()
            };
            while !done.load(Ordering::SeqCst) {
                collector.gc(&options).expect("to collect");
            }
        });
        for round in 0..20 {
            fs::write(source.join("round"), round.to_string()).expect("to write");
            let tree = fixture.import(&source).tree;
            let report = fixture.store.verify_tree(&tree).expect("to verify");
            assert_eq!(report.damage, []);
            let shown = fixture.store.checkout(&tree).expect("to check out");
            assert_eq!(fixture.import(shown.path()).tree, tree);
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    fixture.import(&source);
    // A process that is killed drops nothing; its locks go all the same.
    let dir = fixture.store.new_build_dir("killed").expect("a directory");
    let path = fixture.store.path().to_owned();
    let lease = fs::read_dir(path.join("leases")).expect("a directory");
    let lease = lease.flatten().next().expect("a lease").path();
    let text = fs::read_to_string(&lease).expect("to read");
    let dead = path.join("leases/00000000deadbeef");
    fs::write(&dead, text).expect("to write");
    fs::create_dir_all(path.join("tmp/00000000deadbeef/half")).expect("to create");
    fs::create_dir_all(path.join("build/00000000deadbeef-0-x/y")).expect("to create");
    let store = fixture.reopen();
    assert!(!dead.exists());
    assert!(!path.join("tmp/00000000deadbeef").exists());
    assert!(!path.join("build/00000000deadbeef-0-x").exists());
    assert!(
        lease.exists() && dir.path().exists(),
        "the living are spared"
    );
    assert_eq!(store.verify().expect("to verify").damage, []);
}

#[test]
fn what_is_missing_is_told_by_its_address() {
    let fixture = Fixture::new();
    let tree = Directory::default().id();
    assert!(!fixture.store.has_tree(&tree).expect("to look"));
    let missing = |error: &ObjectError| matches!(error, ObjectError::Missing { .. });
    assert!(missing(
        &fixture.store.directory(&tree).expect_err("nothing")
    ));
    assert!(fixture.store.lease(&tree).is_err());
    assert!(fixture.store.checkout(&tree).is_err());
    assert!(
        fixture
            .store
            .export(&tree, &fixture.path("out"), false)
            .is_err()
    );
    assert!(!fixture.path("out").exists());
}

#[test]
fn a_store_is_made_only_if_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = OpenOptions {
        create: false,
        ..OpenOptions::default()
    };
    let path = dir.path().join("store");
    assert!(Store::open(&path, &options).is_err());
    assert!(!path.exists());
}

#[test]
fn an_index_that_cannot_be_used_says_what_helps() {
    let fixture = Fixture::new();
    let tree = fixture.import(&fixture.dir("empty")).tree;
    let claim = support::claim(1, tree);
    fixture
        .store
        .register(std::slice::from_ref(&claim))
        .expect("to register");
    let Fixture { store, dir } = fixture;
    let path = store.path().to_owned();
    drop(store);
    let index = path.join("kiln.db");
    let whole = fs::read(&index).expect("to read");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&index, bytes).expect("to write");
        let error = Store::open(&path, &OpenOptions::default()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("kiln store rebuild"), "{error}");
    };
    check(&b"not a database ".repeat(100), "is damaged");
    // The schema number stands at offset 60 of the header.
    let mut newer = whole;
    newer[63] = 99;
    check(&newer, "schema 99");
    let rebuild = OpenOptions {
        rebuild_index: true,
        ..OpenOptions::default()
    };
    let store = Store::open(&path, &rebuild).expect("to rebuild");
    let found = store.realisations_of_action(&claim.realisation.action);
    assert_eq!(found.expect("to look up"), [claim]);
    drop((store, dir));
}
