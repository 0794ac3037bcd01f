//! What is sent and fetched is what is needed, in few requests.

use std::collections::HashSet;
use std::fs;

use kiln_store::cache::description::Description;
use kiln_store::cache::id::tree_name;
use kiln_store::hash::TreeId;

use super::support::Fixture;
use super::wrapped::Wrapped;
use super::{assert_whole, noise, pull, push, sample};

fn description(cache: &Wrapped, tree: &TreeId) -> Description {
    Description::decode(tree, &cache.get(&tree_name(tree))).expect("a description")
}

#[test]
fn a_small_change_sends_little() {
    let (here, there, cache) = (Fixture::new(), Fixture::new(), Wrapped::default());
    let root = here.dir("root");
    let mut large = noise(8 << 20, 1);
    fs::write(root.join("large"), &large).expect("to write");
    fs::write(root.join("small"), noise(5000, 2)).expect("to write");
    let before = here.import(&root).tree;
    push(&cache, &here.store, &[before], &[]);
    large[4 << 20..][..64].fill(0x55);
    fs::write(root.join("large"), &large).expect("to write");
    let after = here.import(&root).tree;
    let pushed = push(&cache, &here.store, &[after], &[before]);
    assert!(pushed.bytes < 70_000, "{pushed:?}");
    assert_whole(&cache);
    pull(&cache, &there.store, &[after]);
}

#[test]
fn what_the_cache_has_is_not_sent_again() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    push(&cache, &here.store, &[tree], &[]);
    let again = push(&cache, &here.store, &[tree], &[]);
    assert_eq!((again.bytes, again.trees), (0, 0));
    // What is only named otherwise needs its directories alone.
    fs::rename(here.path("sample/large"), here.path("sample/renamed")).expect("to rename");
    let renamed = here.import(&here.path("sample")).tree;
    let pushed = push(&cache, &here.store, &[renamed], &[tree]);
    assert_eq!(pushed.packs, 0);
    assert!(pushed.bytes < 2000, "{pushed:?}");
    // A part of a tree is there with it; small ones are cheaper sent again.
    let part = here.import(&here.path("sample/a")).tree;
    let pushed = push(&cache, &here.store, &[part], &[tree]);
    assert_eq!((pushed.packs, pushed.indexes), (0, 0));
    pull(&cache, &Fixture::new().store, &[part, renamed]);
}

#[test]
fn requests_before_the_content_go_in_three_rounds() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let mut trees = Vec::new();
    for number in 0..12 {
        let root = here.dir(&format!("{number}"));
        fs::write(root.join("file"), noise(200_000, number)).expect("to write");
        trees.push(here.import(&root).tree);
    }
    push(&cache, &here.store, &trees, &[]);
    cache.reset();
    pull(&cache, &Fixture::new().store, &trees);
    let kind = |(_, name): &(_, String)| name.split('/').next().map(str::to_owned);
    let kinds: Vec<_> = cache.requests().iter().filter_map(kind).collect();
    // Within a round nothing waits for anything else of it.
    let rounds: Vec<_> = kinds
        .chunk_by(|a, b| a == b)
        .map(|round| &round[0])
        .collect();
    assert_eq!(rounds, ["trees", "indexes", "packs"]);
    let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
    assert_eq!((count("trees"), count("indexes")), (12, 12));
    assert_eq!(count("packs"), 1, "neighbours are asked for at once");
}

#[test]
fn a_tree_among_others_costs_its_own_bytes() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let mut trees = Vec::new();
    for number in 0..3 {
        let root = here.dir(&format!("{number}"));
        fs::write(root.join("file"), noise(300_000, number)).expect("to write");
        fs::write(root.join("same"), b"in all of them").expect("to write");
        trees.push(here.import(&root).tree);
    }
    push(&cache, &here.store, &trees, &[]);
    for tree in &trees {
        cache.reset();
        pull(&cache, &Fixture::new().store, &[*tree]);
        let bytes = cache.read_bytes();
        assert!((300_000..303_000).contains(&bytes), "{bytes}");
    }
}

#[test]
fn what_the_store_has_is_not_fetched() {
    let (here, there, cache) = (Fixture::new(), Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    push(&cache, &here.store, &[tree], &[]);
    pull(&cache, &there.store, &[tree]);
    cache.reset();
    pull(&cache, &there.store, &[tree]);
    assert!(cache.requests().is_empty());
    fs::write(here.path("sample/a/new"), noise(50_000, 77)).expect("to write");
    let changed = here.import(&here.path("sample")).tree;
    push(&cache, &here.store, &[changed], &[tree]);
    cache.reset();
    pull(&cache, &there.store, &[changed]);
    assert!(cache.read_bytes() < 80_000, "{}", cache.read_bytes());
}

#[test]
fn after_many_small_changes_a_tree_still_needs_few_indexes() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let root = here.dir("root");
    for number in 0..60 {
        let path = root.join(format!("{number}"));
        fs::write(path, noise(3000, number)).expect("to write");
    }
    let mut trees: Vec<TreeId> = Vec::new();
    for number in 0..60 {
        let path = root.join(format!("{number}"));
        fs::write(path, noise(3000, 1000 + number)).expect("to write");
        let tree = here.import(&root).tree;
        push(&cache, &here.store, &[tree], &trees);
        let description = description(&cache, &tree);
        assert!(description.indexes.len() <= 25, "{description:?}");
        trees.push(tree);
    }
    assert_whole(&cache);
    pull(&cache, &Fixture::new().store, &[trees[59]]);
    let names: HashSet<_> = trees.iter().map(tree_name).collect();
    assert_eq!(names.len(), cache.files("trees").len());
}
