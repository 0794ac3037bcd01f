//! Sweeping takes what nothing uses, and nothing else, whoever pushes meanwhile.

use std::fs;
use std::time::{Duration, SystemTime};

use kiln_store::cache::error::CacheError;
use kiln_store::cache::id::tree_name;
use kiln_store::cache::sweep::{SHORTEST_GRACE, Swept, sweep};
use kiln_store::hash::TreeId;

use super::support::Fixture;
use super::wrapped::Wrapped;
use super::{assert_whole, noise, pull, push, sample};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Sweeps some hours from now.
fn after(cache: &Wrapped, hours: u32) -> Swept {
    let now = SystemTime::now() + hours * HOUR;
    sweep(cache, SHORTEST_GRACE, now, &()).expect("to sweep")
}

fn tree(here: &Fixture, name: &str, seed: u64) -> TreeId {
    let root = here.dir(name);
    fs::write(root.join("file"), noise(100_000, seed)).expect("to write");
    here.import(&root).tree
}

#[test]
fn what_trees_name_stays_for_ever() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    push(&cache, &here.store, &[tree], &[]);
    for hours in [0, 1, 100, 1000] {
        assert_eq!(after(&cache, hours), Swept::default());
    }
    pull(&cache, &Fixture::new().store, &[tree]);
}

#[test]
fn what_nothing_names_goes_when_it_was_seen_so_twice() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let (kept, gone) = (tree(&here, "kept", 1), tree(&here, "gone", 2));
    push(&cache, &here.store, &[kept], &[]);
    push(&cache, &here.store, &[gone], &[]);
    cache.delete(&tree_name(&gone));
    // A killed push looks like that, and it may be one that is not over.
    assert_eq!(after(&cache, 7), Swept::default());
    let first = after(&cache, 9);
    assert_eq!((first.unused, first.removed.len()), (2, 0));
    assert_eq!(cache.files("gc").len(), 1);
    let early = after(&cache, 16);
    assert_eq!((early.unused, early.removed.len()), (2, 0));
    let swept = after(&cache, 18);
    assert_eq!((swept.unused, swept.removed.len()), (0, 2));
    assert!(swept.removed_bytes > 100_000);
    assert!(cache.files("gc").is_empty());
    assert_eq!(cache.files("packs").len(), 1);
    assert_whole(&cache);
    pull(&cache, &Fixture::new().store, &[kept]);
}

/// A push begins when a tree is there, which is taken away meanwhile.
#[test]
fn what_a_pusher_relies_on_stays_until_it_is_done() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let first = sample(&here);
    push(&cache, &here.store, &[first], &[]);
    fs::write(here.path("sample/new"), noise(60_000, 5)).expect("to write");
    let second = here.import(&here.path("sample")).tree;
    // What the pusher read before the tree was gone, it has written after two
    // sweeps: here, in between, by hand.
    push(&cache, &here.store, &[second], &[first]);
    let description = cache.get(&tree_name(&second));
    cache.delete(&tree_name(&first));
    cache.delete(&tree_name(&second));
    assert!(after(&cache, 9).unused > 0);
    cache.set(&tree_name(&second), &description);
    let swept = after(&cache, 18);
    assert_eq!((swept.unused, swept.removed.len()), (0, 0));
    assert_whole(&cache);
    pull(&cache, &Fixture::new().store, &[second]);
    // And that it was unused once counts for nothing later.
    cache.delete(&tree_name(&second));
    assert!(after(&cache, 19).removed.is_empty());
}

#[test]
fn a_description_that_cannot_be_read_stops_it() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let (kept, gone) = (tree(&here, "kept", 1), tree(&here, "gone", 2));
    push(&cache, &here.store, &[kept], &[]);
    push(&cache, &here.store, &[gone], &[]);
    cache.delete(&tree_name(&gone));
    after(&cache, 9);
    cache.set(&tree_name(&kept), b"\x01nonsense");
    let now = SystemTime::now() + 30 * HOUR;
    let error = sweep(&cache, SHORTEST_GRACE, now, &()).expect_err("what it needs is not known");
    assert!(matches!(error, CacheError::Damaged { .. }), "{error}");
    assert_eq!(cache.files("packs").len(), 2);
}

#[test]
fn files_of_others_stay() {
    let cache = Wrapped::default();
    for name in ["packs/readme", "indexes/00/x", "gc/readme"] {
        let name = kiln_store::cache::name::Name::new(name).expect("a name");
        cache.set(&name, b"not ours");
    }
    after(&cache, 9);
    after(&cache, 18);
    assert_eq!(cache.files("packs").len() + cache.files("indexes").len(), 2);
    assert_eq!(cache.files("gc").len(), 1);
}
