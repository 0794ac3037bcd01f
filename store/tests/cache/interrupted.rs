//! What breaks off leaves nothing wrong, and is not done a second time.

use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kiln_store::cache::backend::Backend;
use kiln_store::cache::directory::Directory;
use kiln_store::cache::error::CacheError;
use kiln_store::cache::pull::Pull;
use kiln_store::cache::push::Push;
use kiln_store::cache::remembered::Remembered;
use kiln_store::cache::watch::Watch;
use kiln_store::hash::TreeId;

use super::support::Fixture;
use super::wrapped::Wrapped;
use super::{assert_sound, assert_whole, noise, pull, push, sample, try_pull, try_push};

/// Trees that need several packs together.
fn several(here: &Fixture) -> Vec<TreeId> {
    let mut trees = Vec::new();
    for number in 0..3 {
        let root = here.dir(&format!("{number}"));
        fs::write(root.join("file"), noise(17 << 20, number)).expect("to write");
        trees.push(here.import(&root).tree);
    }
    trees
}

#[test]
fn a_push_that_ends_at_any_write_leaves_a_whole_cache_and_goes_on() {
    let here = Fixture::new();
    let trees = several(&here);
    let all = Wrapped::default();
    let writes = push(&all, &here.store, &trees, &[]);
    let writes = (writes.packs + writes.indexes + writes.trees) as i64;
    assert!(writes >= 8, "{writes}");
    for count in 0..writes {
        let cache = Wrapped::default().failing("write", count);
        let directory = tempfile::tempdir().expect("a directory");
        let remembered = Remembered::in_directory(directory.path()).expect("a directory");
        let push = Push {
            backend: &cache,
            objects: &here.store,
            base: &[],
            remembered: &remembered,
            watch: &(),
        };
        let error = push.run(&trees).expect_err("the cache is gone");
        assert!(matches!(error, CacheError::Backend(_)), "{error}");
        assert_whole(&cache);
        let complete = cache.files("indexes").len();
        cache.left.store(i64::MAX, Ordering::Relaxed);
        cache.reset();
        push.run(&trees).expect("the cache is back");
        assert_whole(&cache);
        let is_pack = |(kind, name): &(&str, String)| *kind == "write" && name.starts_with("packs");
        let again = cache.requests().iter().filter(|r| is_pack(r)).count();
        // What an index was complete for is not sent again.
        let most = ((3 - complete) * 17).div_ceil(32);
        assert!(again <= most, "{count}: {again} of {most}");
    }
}

#[test]
fn a_pull_that_breaks_off_goes_on_with_the_rest() {
    let here = Fixture::new();
    let trees = several(&here);
    let mut cache = Wrapped::default();
    push(&cache, &here.store, &trees, &[]);
    let there = Fixture::new();
    cache.reset();
    pull(&cache, &Fixture::new().store, &trees);
    let all_bytes = cache.read_bytes();
    // Trees, indexes, and some of the packs' parts.
    cache = cache.failing("read", 3 + 3 + 3);
    cache.reset();
    let error = try_pull(&cache, &there.store, &trees).expect_err("the cache is gone");
    assert!(matches!(error, CacheError::Backend(_)), "{error}");
    assert_sound(&there.store);
    cache.left.store(i64::MAX, Ordering::Relaxed);
    cache.reset();
    pull(&cache, &there.store, &trees);
    assert!(cache.read_bytes() <= all_bytes);
}

#[test]
fn small_files_that_came_are_not_fetched_again() {
    let here = Fixture::new();
    let root = here.dir("root");
    for number in 0..900 {
        fs::write(root.join(format!("{number}")), noise(30_000, number)).expect("to write");
    }
    let tree = here.import(&root).tree;
    let mut cache = Wrapped::default();
    push(&cache, &here.store, &[tree], &[]);
    let there = Fixture::new();
    cache = cache.failing("read", 2 + 2);
    try_pull(&cache, &there.store, &[tree]).expect_err("the cache is gone");
    assert_sound(&there.store);
    cache.left.store(i64::MAX, Ordering::Relaxed);
    cache.reset();
    pull(&cache, &there.store, &[tree]);
    let again = cache.read_bytes();
    assert!(again < 900 * 30_000 * 2 / 3, "{again}");
}

#[test]
fn bodies_that_break_off_are_asked_for_from_where_they_did() {
    let (here, there) = (Fixture::new(), Fixture::new());
    let mut cache = Wrapped::default();
    let tree = sample(&here);
    push(&cache, &here.store, &[tree], &[]);
    // More than a frame, less than all.
    cache.body_limit = Some(5 << 20);
    pull(&cache, &there.store, &[tree]);
    // Less than a frame: it never goes further.
    cache.body_limit = Some(1 << 20);
    let other = Fixture::new();
    let error = try_pull(&cache, &other.store, &[tree]).expect_err("it never goes further");
    assert!(matches!(error, CacheError::Io { .. }), "{error}");
    assert_sound(&other.store);
}

/// Cancels after some questions.
struct Patience(AtomicI64);

impl Watch for Patience {
    fn is_cancelled(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) <= 0
    }
}

#[test]
fn whoever_watches_can_end_it() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    for count in [0, 1, 2, 4] {
        let watch = Patience(AtomicI64::new(count));
        let push = Push {
            backend: &cache,
            objects: &here.store,
            base: &[],
            remembered: &Remembered::nowhere(),
            watch: &watch,
        };
        let error = push.run(&[tree]).expect_err("it is cancelled");
        assert!(matches!(error, CacheError::Cancelled), "{error}");
        assert!(cache.files("trees").is_empty());
        assert_whole(&cache);
    }
    try_push(&cache, &here.store, &[tree], &[]).expect("nobody ends it");
    let there = Fixture::new();
    for count in 0..4 {
        let pull = Pull {
            backend: &cache,
            store: &there.store,
            remembered: &Remembered::nowhere(),
            watch: &Patience(AtomicI64::new(count)),
        };
        let error = pull.run(&[tree]).expect_err("it is cancelled");
        assert!(matches!(error, CacheError::Cancelled), "{error}");
        assert_sound(&there.store);
    }
}

/// Watches until so many bytes were moved.
struct Until(AtomicI64);

impl Watch for Until {
    fn moved(&self, bytes: u64) {
        self.0.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }
}

/// Not only between two of them: on a slow line one takes minutes.
#[test]
fn a_push_ends_in_the_middle_of_a_pack() {
    let here = Fixture::new();
    let root = here.dir("one");
    fs::write(root.join("large"), noise(4 << 20, 5)).expect("to write");
    let tree = here.import(&root).tree;
    let directory = tempfile::tempdir().expect("a directory");
    let cache = Directory::new(directory.path());
    let push = Push {
        backend: &cache,
        objects: &here.store,
        base: &[],
        remembered: &Remembered::nowhere(),
        watch: &Until(AtomicI64::new(1 << 20)),
    };
    let error = push.run(&[tree]).expect_err("it is cancelled");
    assert!(matches!(error, CacheError::Cancelled), "{error}");
    let files = cache.list("").expect("it lists").expect("a directory does");
    assert!(files.is_empty(), "{files:?}");
    assert_eq!(
        cache.sweep(Duration::ZERO).expect("it sweeps"),
        0,
        "half a pack"
    );
}

#[test]
fn what_is_remembered_is_not_read_again_and_not_believed() {
    let (here, cache) = (Fixture::new(), Wrapped::default());
    let tree = sample(&here);
    let directory = tempfile::tempdir().expect("a directory");
    let remembered = Remembered::in_directory(directory.path()).expect("a directory");
    let push = Push {
        backend: &cache,
        objects: &here.store,
        base: &[],
        remembered: &remembered,
        watch: &(),
    };
    push.run(&[tree]).expect("to push");
    let indexes = |cache: &Wrapped| {
        let requests = cache.requests();
        let read = requests
            .iter()
            .filter(|(kind, name)| *kind == "read" && name.starts_with("indexes"));
        read.count()
    };
    for damaged in [false, true] {
        for entry in fs::read_dir(directory.path())
            .expect("a directory")
            .filter(|_| damaged)
        {
            fs::write(entry.expect("an entry").path(), b"nonsense").expect("to write");
        }
        cache.reset();
        let there = Fixture::new();
        let pull = Pull {
            backend: &cache,
            store: &there.store,
            remembered: &remembered,
            watch: &(),
        };
        pull.run(&[tree]).expect("to pull");
        assert_sound(&there.store);
        assert_eq!(indexes(&cache), usize::from(damaged));
    }
}
