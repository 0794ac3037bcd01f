//! What is pushed can be pulled, by whoever, in whatever order.

use std::fs;

use kiln_store::cache::error::CacheError;
use kiln_store::hash::{Digest, TreeId};
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::Directory;

use super::support::{Fixture, import};
use super::wrapped::Wrapped;
use super::{assert_whole, pull, push, sample, try_pull, try_push};

#[test]
fn a_tree_comes_back_as_it_was() {
    let (here, there, cache) = (Fixture::new(), Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    let pushed = push(&cache, &here.store, &[tree], &[]);
    assert_eq!((pushed.trees, pushed.indexes, pushed.packs), (1, 1, 1));
    assert_whole(&cache);
    pull(&cache, &there.store, &[tree]);
    let out = there.path("out");
    there.store.export(&tree, &out, false).expect("to export");
    assert_eq!(import(&here.store, &out).tree, tree);
}

#[test]
fn the_empty_tree_comes_back() {
    let (here, there, cache) = (Fixture::new(), Fixture::new(), Wrapped::default());
    let tree = here
        .store
        .put_directory(&Directory::default())
        .expect("to put");
    push(&cache, &here.store, &[tree], &[]);
    assert_whole(&cache);
    pull(&cache, &there.store, &[tree]);
}

#[test]
fn a_tree_with_an_empty_file_alone_comes_back() {
    let (here, there, cache) = (Fixture::new(), Fixture::new(), Wrapped::default());
    let root = here.dir("root");
    fs::write(root.join("empty"), b"").expect("to write");
    let tree = here.import(&root).tree;
    push(&cache, &here.store, &[tree], &[]);
    pull(&cache, &there.store, &[tree]);
}

#[test]
fn objects_of_any_kind_can_be_pushed() {
    let (there, cache, objects) = (Fixture::new(), Wrapped::default(), Memory::default());
    let tree = objects
        .put_directory(&Directory::default())
        .expect("memory");
    push(&cache, &objects, &[tree], &[]);
    pull(&cache, &there.store, &[tree]);
}

#[test]
fn what_a_cache_does_not_have_is_said() {
    let (there, cache) = (Fixture::new(), Wrapped::default());
    let tree = TreeId(Digest::of(b"nothing"));
    let error = try_pull(&cache, &there.store, &[tree]).expect_err("nothing");
    assert!(matches!(error, CacheError::NoTree { .. }), "{error}");
}

#[test]
fn several_trees_come_back_one_by_one_and_together() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let first = sample(&here);
    let root = here.path("sample");
    fs::write(root.join("large"), super::noise(5 << 20, 9)).expect("to write");
    let second = here.import(&root).tree;
    let sub = here.import(&root.join("many")).tree;
    push(&cache, &here.store, &[first, second, sub, first], &[]);
    assert_whole(&cache);
    for trees in [&[first][..], &[second], &[sub], &[sub, second, first]] {
        let there = Fixture::new();
        pull(&cache, &there.store, trees);
        pull(&cache, &there.store, &[first, sub]);
    }
}

#[test]
fn what_is_damaged_in_the_store_is_not_pushed() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let root = here.dir("root");
    fs::write(root.join("file"), super::noise(100_000, 1)).expect("to write");
    let tree = here.import(&root).tree;
    let digest = Digest::of(&super::noise(100_000, 1)).to_string();
    let blob = here.path(&format!("store/blobs/{}/{digest}", &digest[..2]));
    fs::remove_file(&blob).expect("to remove");
    fs::write(&blob, super::noise(100_000, 2)).expect("to write");
    let error = try_push(&cache, &here.store, &[tree], &[]).expect_err("damaged");
    assert!(matches!(error, CacheError::Source { .. }), "{error}");
    assert!(cache.files("trees").is_empty() && cache.files("indexes").is_empty());
}

#[test]
fn two_who_push_at_once_do_not_disturb_each_other() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    let root = here.path("sample");
    fs::write(root.join("other"), super::noise(1 << 20, 7)).expect("to write");
    let other = here.import(&root).tree;
    std::thread::scope(|scope| {
        for trees in [[tree, other], [other, tree], [tree, tree]] {
            let (cache, store) = (&cache, &here.store);
            scope.spawn(move || push(cache, store, &trees, &[]));
        }
    });
    assert_whole(&cache);
    pull(&cache, &Fixture::new().store, &[other, tree]);
}
