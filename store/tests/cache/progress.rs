//! Whoever watches a transfer knows how much is left.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_store::cache::pull::Pull;
use kiln_store::cache::push::Push;
use kiln_store::cache::remembered::Remembered;
use kiln_store::cache::watch::Watch;
use kiln_store::hash::TreeId;

use super::support::Fixture;
use super::wrapped::Wrapped;
use super::{noise, sample};

#[derive(Default)]
struct Counting {
    expected: AtomicU64,
    moved: AtomicU64,
}

impl Watch for Counting {
    fn expect(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        let moved = self.moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        assert!(moved <= self.expected.load(Ordering::Relaxed), "too many");
    }
}

impl Counting {
    /// What was expected and moved in all.
    fn total(&self) -> u64 {
        let moved = self.moved.load(Ordering::Relaxed);
        assert_eq!(moved, self.expected.load(Ordering::Relaxed));
        moved
    }
}

fn push(cache: &Wrapped, from: &Fixture, trees: &[TreeId], base: &[TreeId]) -> u64 {
    let watch = Counting::default();
    let push = Push {
        backend: cache,
        objects: &from.store,
        base,
        remembered: &Remembered::nowhere(),
        watch: &watch,
    };
    push.run(trees).expect("to push");
    watch.total()
}

#[test]
fn what_is_expected_is_what_is_moved() {
    let (here, there, cache) = (Fixture::new(), Fixture::new(), Wrapped::default());
    let first = sample(&here);
    let root = here.path("sample");
    let sub = here.import(&root.join("many")).tree;
    // Some of it in several trees, some of it changed in one place.
    let mut large = fs::read(root.join("large")).expect("it is there");
    let size = large.len() as u64;
    assert!(push(&cache, &here, &[sub, first, sub], &[]) > size);
    large[3 << 20] ^= 1;
    fs::write(root.join("large"), large).expect("to write");
    fs::write(root.join("new"), noise(100_000, 99)).expect("to write");
    let second = here.import(&root).tree;
    let moved = push(&cache, &here, &[second], &[first]);
    assert!(moved >= size + 100_000, "{moved}");
    let watch = Counting::default();
    let pull = Pull {
        backend: &cache,
        store: &there.store,
        remembered: &Remembered::nowhere(),
        watch: &watch,
    };
    pull.run(&[first, second]).expect("to pull");
    assert!(watch.total() > size);
}
