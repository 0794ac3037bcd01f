//! Trees on their way to a cache and back, whatever the cache does.

#[path = "../support/mod.rs"]
mod support;

mod economy;
mod formats;
mod hostile;
mod interrupted;
mod progress;
mod roundtrip;
mod sweep;
mod wrapped;

use std::fs;
use std::path::Path;

use kiln_store::cache::backend::Backend;
use kiln_store::cache::check::check;
use kiln_store::cache::error::CacheError;
use kiln_store::cache::pull::Pull;
use kiln_store::cache::push::{Push, Pushed};
use kiln_store::cache::remembered::Remembered;
use kiln_store::hash::TreeId;
use kiln_store::lease::Lease;
use kiln_store::objects::Objects;
use kiln_store::store::Store;
use support::Fixture;

/// Bytes without a pattern, the same for the same seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A tree of something of everything: content of many chunks, of one, of none;
/// the same content twice; and chunks that come back.
fn write_tree(root: &Path) {
    support::write_tree(root);
    let large = noise(6 << 20, 1);
    fs::write(root.join("large"), &large).expect("to write");
    let twice = [&large[1 << 20..3 << 20], &large[1 << 20..3 << 20]].concat();
    fs::write(root.join("a/twice"), twice).expect("to write");
    for number in 0..40 {
        fs::create_dir_all(root.join(format!("many/{}", number % 7))).expect("to create");
        let path = root.join(format!("many/{}/{number}", number % 7));
        fs::write(path, noise(1000 * number, number as u64)).expect("to write");
    }
}

fn sample(fixture: &Fixture) -> TreeId {
    let root = fixture.dir("sample");
    write_tree(&root);
    fixture.import(&root).tree
}

fn try_push(
    cache: &dyn Backend,
    objects: &dyn Objects,
    trees: &[TreeId],
    base: &[TreeId],
) -> Result<Pushed, CacheError> {
    let push = Push {
        backend: cache,
        objects,
        base,
        remembered: &Remembered::nowhere(),
        watch: &(),
    };
    push.run(trees)
}

fn push(cache: &dyn Backend, objects: &dyn Objects, trees: &[TreeId], base: &[TreeId]) -> Pushed {
    try_push(cache, objects, trees, base).expect("to push")
}

fn try_pull(
    cache: &dyn Backend,
    store: &Store,
    trees: &[TreeId],
) -> Result<Vec<Lease>, CacheError> {
    let pull = Pull {
        backend: cache,
        store,
        remembered: &Remembered::nowhere(),
        watch: &(),
    };
    pull.run(trees)
}

/// Pulls into a store, where everything has to be right.
fn pull(cache: &dyn Backend, store: &Store, trees: &[TreeId]) {
    let leases = try_pull(cache, store, trees).expect("to pull");
    store.flush().expect("to sync");
    assert_eq!(leases.iter().map(Lease::tree).collect::<Vec<_>>(), trees);
    assert_sound(store);
    for tree in trees {
        assert!(store.has_tree(tree).expect("to look"));
    }
}

/// Nothing in a store is wrong.
fn assert_sound(store: &Store) {
    let report = store.verify().expect("to verify");
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

/// Everything in a cache is right.
fn assert_whole(cache: &dyn Backend) {
    let checked = check(cache, &()).expect("to check");
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
}
