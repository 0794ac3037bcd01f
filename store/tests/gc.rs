//! What gc takes, and what it must not.

mod support;

use std::fs;
use std::time::Duration;

use kiln_store::gc::GcOptions;
use kiln_store::hash::TreeId;
use kiln_store::objects::Objects;
use kiln_store::roots::Root;
use kiln_store::store::{OpenOptions, Store};
use support::{Fixture, write_tree};

/// Everything goes that is not held.
const NOTHING_KEPT: GcOptions = GcOptions {
    keep: Duration::ZERO,
    keep_logs: Duration::MAX,
    dry_run: false,
};

fn root(name: &str, tree: TreeId) -> Root {
    Root {
        name: name.to_owned(),
        realisation: None,
        trees: vec![tree],
    }
}

/// A store with one tree, and the tree.
fn with_tree() -> (Fixture, TreeId) {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let tree = fixture.import(&source).tree;
    (fixture, tree)
}

/// That a tree is here with all its content.
fn assert_whole(store: &Store, tree: &TreeId) {
    let report = store.verify_tree(tree).expect("to verify");
    assert_eq!(report.damage, []);
    assert!(store.has_tree(tree).expect("to look"));
}

#[test]
fn what_nobody_holds_goes_entirely() {
    let (mut fixture, tree) = with_tree();
    drop(fixture.store.checkout(&tree).expect("to check out"));
    let report = fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert!(report.files > 0 && report.directories > 0);
    assert_eq!(report.kept_bytes, 0);
    assert!(!fixture.store.has_tree(&tree).expect("to look"));
    let left = |directory: &str| support::files(&fixture.store.path().join(directory));
    assert_eq!(
        left("blobs").len() + left("trees").len() + left("mat").len(),
        0
    );
}

#[test]
fn a_dry_run_tells_the_same_and_takes_nothing() {
    let (mut fixture, tree) = with_tree();
    let dry = GcOptions {
        dry_run: true,
        ..NOTHING_KEPT
    };
    let told = fixture.store.gc(&dry).expect("to collect");
    assert_whole(&fixture.store, &tree);
    assert_eq!(fixture.store.gc(&NOTHING_KEPT).expect("to collect"), told);
}

#[test]
fn roots_keep_their_trees_until_they_are_removed() {
    let (mut fixture, tree) = with_tree();
    let roots = [root("/flake-like.toml#image", tree)];
    fixture.store.add_roots(&roots).expect("to add a root");
    fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert_whole(&fixture.store, &tree);
    assert_eq!(fixture.store.roots().expect("to list"), roots);
    assert!(
        fixture
            .store
            .remove_root(&roots[0].name)
            .expect("to remove")
    );
    assert!(
        !fixture
            .store
            .remove_root(&roots[0].name)
            .expect("to remove")
    );
    fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert!(!fixture.store.has_tree(&tree).expect("to look"));
}

#[test]
fn a_lease_of_this_or_another_session_keeps_a_tree() {
    let (mut fixture, tree) = with_tree();
    let lease = fixture.store.lease(&tree).expect("to lease");
    fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert_whole(&fixture.store, &tree);
    let mut other = fixture.reopen();
    other.gc(&NOTHING_KEPT).expect("to collect");
    assert_whole(&other, &tree);
    drop(lease);
    fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert!(fixture.store.lease(&tree).is_err());
}

#[test]
fn a_checkout_stays_as_long_as_it_is_held() {
    let (mut fixture, tree) = with_tree();
    let checkout = fixture.store.checkout(&tree).expect("to check out");
    fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert_eq!(fixture.import(checkout.path()).tree, tree);
    let path = checkout.path().to_owned();
    drop(checkout);
    fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert!(!path.exists());
}

/// The attack on dedup: another session finds old content present, does not
/// write it, and gc takes it before the session has made anything of it.
#[test]
fn what_a_living_session_found_present_stays() {
    let (fixture, tree) = with_tree();
    let source = fixture.path("source");
    let Fixture { store, dir } = fixture;
    let path = store.path().to_owned();
    drop(store);
    let mut collector = Store::open(&path, &OpenOptions::default()).expect("to open");
    let user = Fixture {
        store: Store::open(&path, &OpenOptions::default()).expect("to open"),
        dir,
    };
    assert_eq!(user.import(&source).tree, tree);
    collector.gc(&NOTHING_KEPT).expect("to collect");
    assert_whole(&user.store, &tree);
    let content = user.store.put_file(&mut &b"plain"[..], false);
    assert!(content.is_ok());
}

#[test]
fn trees_stay_within_the_keep_window() {
    let (mut fixture, tree) = with_tree();
    fixture.store.note_use(&[tree]).expect("to note");
    let report = fixture.store.gc(&GcOptions::default()).expect("to collect");
    assert_eq!(report.files + report.directories, 0);
    assert_whole(&fixture.store, &tree);
}

#[test]
fn a_damaged_root_stops_gc() {
    let (mut fixture, tree) = with_tree();
    fixture.store.add_roots(&[root("x", tree)]).expect("to add");
    let file = &support::files(&fixture.store.path().join("roots"))[0];
    fs::write(file, "garbage").expect("to write");
    assert!(fixture.store.gc(&NOTHING_KEPT).is_err());
    assert_whole(&fixture.store, &tree);
}

#[test]
fn downloads_and_compared_trees_go_when_they_are_old() {
    let mut fixture = Fixture::new();
    let compared = fixture.store.compared().join("busybox");
    fs::create_dir_all(&compared).expect("to create");
    fs::create_dir_all(fixture.store.downloads()).expect("to create");
    let (old, new) = (
        fixture.store.downloads().join("old.part"),
        fixture.store.downloads().join("new.part"),
    );
    for path in [&old, &new] {
        fs::write(path, "half").expect("to write");
    }
    let days_ago = std::time::SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    for path in [&old, &compared] {
        let file = fs::File::open(path).expect("to open");
        file.set_modified(days_ago).expect("to set the time");
    }
    let report = fixture.store.gc(&NOTHING_KEPT).expect("to collect");
    assert_eq!(report.leftovers, 2);
    assert!(!old.exists() && !compared.exists() && new.exists());
}
