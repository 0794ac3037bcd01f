//! Caches that are broken, or lie. Each attack is told first; all of them end
//! with an error that says where and what, and with a store in which everything
//! is what it says.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use kiln_store::cache::description::{Description, Needed};
use kiln_store::cache::error::{CacheError, Flaw, FormatError};
use kiln_store::cache::id::{ChunkId, IndexId, PackId, index_name, pack_name, tree_name};
use kiln_store::cache::index::{Chunk, File, Frame, Index, Run};
use kiln_store::canonical;
use kiln_store::hash::{ContentId, Digest, TreeId};
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::{Directory, Entry, Name, Node};

use super::support::Fixture;
use super::wrapped::Wrapped;
use super::{assert_sound, noise, pull, push, try_pull, try_push};

/// A cache with one tree, to be injured.
struct Victim {
    here: Fixture,
    cache: Wrapped,
    tree: TreeId,
}

impl Victim {
    /// Of little, in several files and chunks.
    fn small() -> Self {
        let here = Fixture::new();
        let root = here.dir("root");
        fs::create_dir(root.join("sub")).expect("to create");
        for (name, length) in [("a", 10), ("b", 20_000), ("sub/c", 200_000)] {
            fs::write(root.join(name), noise(length, length as u64)).expect("to write");
        }
        let tree = here.import(&root).tree;
        Self::pushed(here, tree)
    }

    /// Of one file.
    fn of(content: &[u8]) -> Self {
        let here = Fixture::new();
        let root = here.dir("root");
        fs::write(root.join("file"), content).expect("to write");
        let tree = here.import(&root).tree;
        Self::pushed(here, tree)
    }

    fn pushed(here: Fixture, tree: TreeId) -> Self {
        let cache = Wrapped::default();
        push(&cache, &here.store, &[tree], &[]);
        Self { here, cache, tree }
    }

    fn description(&self) -> Description {
        let bytes = self.cache.get(&tree_name(&self.tree));
        Description::decode(&self.tree, &bytes).expect("a description")
    }

    fn index(&self) -> Index {
        let id = self.description().indexes[0].index;
        let (index, _) = Index::unpack(&self.cache.get(&index_name(&id))).expect("an index");
        index
    }

    /// Names another index, as a cache that lies does it.
    fn lie(&self, index: &Index) {
        self.lie_in_bytes(&index.pack().expect("to pack"), index.packs.clone());
    }

    fn lie_in_bytes(&self, stored: &[u8], packs: Vec<PackId>) {
        let index = IndexId(Digest::of(stored));
        self.cache.set(&index_name(&index), stored);
        let needed = Needed {
            index,
            size_bytes: stored.len() as u64,
        };
        let description = Description::new(self.tree, vec![needed], packs);
        self.cache
            .set(&tree_name(&self.tree), &description.encode());
    }

    /// Pulls into an empty store; returns why that failed.
    fn refused(&self) -> CacheError {
        let there = Fixture::new();
        let error = try_pull(&self.cache, &there.store, &[self.tree]).expect_err("an attack");
        assert!(!there.store.has_tree(&self.tree).expect("to look"));
        assert_sound(&there.store);
        error
    }

    /// What `kiln cache check` will say.
    fn is_found(&self) {
        let checked = kiln_store::cache::check::check(&self.cache, &()).expect("to check");
        assert!(!checked.problems.is_empty());
    }
}

fn flaw(error: CacheError) -> Flaw {
    match error {
        CacheError::Damaged { flaw, .. } => *flaw,
        other => panic!("{other}"),
    }
}

#[test]
fn wrong_bytes_anywhere_are_refused_or_do_not_matter() {
    let victim = Victim::small();
    for directory in ["trees", "indexes", "packs"] {
        for name in victim.cache.files(directory) {
            let right = victim.cache.get(&name);
            for part in 0..12 {
                let mut wrong = right.clone();
                let at = (right.len() - 1) * part / 11;
                wrong[at] ^= 0x10;
                victim.cache.set(&name, &wrong);
                let there = Fixture::new();
                let pulled = try_pull(&victim.cache, &there.store, &[victim.tree]);
                // Frames that are not read need not be right, nor what is told
                // to a sweep; and checksums of zstd are not asked for.
                assert!(pulled.is_err() || directory != "indexes", "{name} at {at}");
                assert_sound(&there.store);
                victim.is_found();
            }
            victim.cache.set(&name, &right);
        }
    }
    pull(&victim.cache, &Fixture::new().store, &[victim.tree]);
}

#[test]
fn what_is_truncated_is_refused() {
    let victim = Victim::small();
    for directory in ["trees", "indexes", "packs"] {
        for name in victim.cache.files(directory) {
            let right = victim.cache.get(&name);
            for length in [0, 1, right.len() / 2, right.len() - 1] {
                victim.cache.set(&name, &right[..length]);
                let error = victim.refused();
                assert!(error.to_string().contains("memory"), "{error}");
                victim.is_found();
            }
            victim.cache.set(&name, &right);
        }
    }
}

#[test]
fn a_pack_that_ends_too_early_is_named_with_both_lengths() {
    let victim = Victim::of(&noise(50_000, 1));
    let name = victim.cache.files("packs").remove(0);
    let right = victim.cache.get(&name);
    victim.cache.set(&name, &right[..right.len() - 1]);
    let length = right.len() as u64;
    match flaw(victim.refused()) {
        Flaw::Length { expected, got } => assert_eq!((expected, got), (length, length - 1)),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_named_and_gone_is_missing_by_name() {
    for directory in ["indexes", "packs"] {
        let victim = Victim::small();
        let gone = victim.cache.files(directory).remove(0);
        victim.cache.delete(&gone);
        match victim.refused() {
            CacheError::Missing { name, .. } => assert_eq!(name, gone),
            other => panic!("{other}"),
        }
        victim.is_found();
        // Who has the tree mends it.
        push(&victim.cache, &victim.here.store, &[victim.tree], &[]);
        pull(&victim.cache, &Fixture::new().store, &[victim.tree]);
    }
}

/// The pack holds another chunk than the index says, of the same length.
#[test]
fn swapped_chunks_are_refused_by_name() {
    let here = Fixture::new();
    let root = here.dir("root");
    let (a, b) = (noise(5000, 1), noise(5000, 2));
    fs::write(root.join("a"), &a).expect("to write");
    fs::write(root.join("b"), &b).expect("to write");
    let tree = here.import(&root).tree;
    let victim = Victim::pushed(here, tree);
    let mut index = victim.index();
    assert_eq!(index.chunks.len(), 2);
    index.chunks.swap(0, 1);
    victim.lie(&index);
    match flaw(victim.refused()) {
        Flaw::Chunk { expected, got, .. } => {
            let chunks = [ChunkId(Digest::of(&a)), ChunkId(Digest::of(&b))];
            assert!(expected != got && chunks.contains(&got) && chunks.contains(&expected));
        }
        other => panic!("{other}"),
    }
    victim.is_found();
}

/// All chunks are right, and put together in another order.
#[test]
fn a_file_put_together_wrongly_is_refused() {
    let victim = Victim::of(&noise(1 << 20, 3));
    let mut index = victim.index();
    let count = index.chunks.len() as u32;
    let (first, rest) = (
        Run {
            from: 0,
            first: 0,
            count: 1,
        },
        Run {
            from: 0,
            first: 1,
            count: count - 1,
        },
    );
    index.files[0].runs = vec![rest, first];
    victim.lie(&index);
    let content = ContentId(Digest::of(&noise(1 << 20, 3)));
    match flaw(victim.refused()) {
        Flaw::Recipe {
            content: named,
            got,
        } => assert!(named == content && got != content.0),
        other => panic!("{other}"),
    }
    victim.is_found();
}

/// A chunk of a large file is another: it is found after all came.
#[test]
fn a_wrong_chunk_of_a_large_file_is_named() {
    let victim = Victim::of(&noise(9 << 20, 3));
    let mut index = victim.index();
    assert!(index.frames.len() > 2);
    let wrong = index.chunks.len() - 1;
    index.chunks[wrong].id = ChunkId(Digest::of(b"another"));
    // The frame still has the right bytes, so the file is right all the same.
    victim.lie(&index);
    pull(&victim.cache, &Fixture::new().store, &[victim.tree]);
    // Now the bytes are wrong: a frame of zeros in place of the last.
    let frame = *index.frames.last().expect("frames");
    let zeros = zstd::bulk::compress(&vec![0; frame.raw as usize], 3).expect("to pack");
    let mut pack = victim.cache.get(&pack_name(&index.packs[0]));
    pack.truncate(frame.offset as usize);
    pack.extend_from_slice(&zeros);
    let id = PackId(Digest::of(&pack));
    victim.cache.set(&pack_name(&id), &pack);
    index.packs = vec![id];
    index.frames.last_mut().expect("frames").packed = zeros.len() as u32;
    victim.lie(&index);
    match flaw(victim.refused()) {
        Flaw::Chunk { offset, .. } => assert_eq!(offset, frame.offset),
        other => panic!("{other}"),
    }
}

/// A frame of some bytes unpacks to as many as one likes.
#[test]
fn a_bomb_in_a_pack_ends_at_once() {
    let victim = Victim::of(&[7; 4000]);
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("to pack");
    for _ in 0..256 {
        bomb.write_all(&vec![7; 1 << 20]).expect("memory");
    }
    let bomb = bomb.finish().expect("memory");
    let id = PackId(Digest::of(&bomb));
    victim.cache.set(&pack_name(&id), &bomb);
    let mut index = victim.index();
    index.packs = vec![id];
    index.frames[0].packed = bomb.len() as u32;
    victim.lie(&index);
    let start = Instant::now();
    match flaw(victim.refused()) {
        Flaw::Frame { expected, .. } => assert_eq!(expected, 4000),
        other => panic!("{other}"),
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// A frame is shorter than the index says: what is left of the frame before
/// must not be taken for its end.
#[test]
fn a_frame_that_is_too_short_is_refused() {
    let victim = Victim::of(&[7; 4000]);
    let short = zstd::bulk::compress(&[7; 3999], 3).expect("to pack");
    let id = PackId(Digest::of(&short));
    victim.cache.set(&pack_name(&id), &short);
    let mut index = victim.index();
    index.packs = vec![id];
    index.frames[0].packed = short.len() as u32;
    victim.lie(&index);
    match flaw(victim.refused()) {
        Flaw::Frame { expected, got, .. } => assert_eq!((expected, &*got), (4000, "3999 bytes")),
        other => panic!("{other}"),
    }
}

/// An index of some bytes unpacks to more than any has.
#[test]
fn a_bomb_in_an_index_ends_at_once() {
    let victim = Victim::of(b"a");
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("to pack");
    bomb.write_all(&[1]).expect("memory");
    for _ in 0..256 {
        bomb.write_all(&vec![0; 1 << 20]).expect("memory");
    }
    victim.lie_in_bytes(&bomb.finish().expect("memory"), Vec::new());
    let start = Instant::now();
    assert!(matches!(flaw(victim.refused()), Flaw::Format(_)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Lists that claim more than there is memory for.
#[test]
fn absurd_lengths_are_refused_before_anything_is_allocated() {
    // v(u64::MAX) packs, frames and so on, after the version.
    let absurd = [1, 253, 255, 255, 255, 255, 255, 255, 255, 255];
    assert!(Index::decode(&absurd).is_err());
    let absurd = [&[1][..], &[7; 32], &absurd[1..]].concat();
    assert!(Description::decode(&TreeId(Digest::from_bytes([7; 32])), &absurd).is_err());
}

/// Every number of an index that leads elsewhere.
#[test]
fn numbers_that_lead_nowhere_are_refused() {
    let victim = Victim::of(&noise(1 << 20, 3));
    let good = victim.index();
    assert!(Index::decode(&good.encode()).is_ok());
    let check = |change: &dyn Fn(&mut Index)| {
        let mut bad = good.clone();
        change(&mut bad);
        match Index::decode(&bad.encode()) {
            Err(FormatError::Rule(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    let run = |first, count| Run {
        from: 0,
        first,
        count,
    };
    check(&|index| index.files[0].runs = vec![run(0, 0)]);
    check(&|index| index.files[0].runs = vec![run(u32::MAX, 1)]);
    check(&|index| index.files[0].runs = vec![run(1, u32::MAX)]);
    check(&|index| index.files[0].runs = vec![run(0, 1_000_000)]);
    check(&|index| index.files[0].runs = Vec::new());
    check(&|index| index.files[0].runs[0].from = 1);
    check(&|index| index.files.push(index.files[0].clone()));
    check(&|index| index.others = vec![IndexId(Digest::of(b"")); 2]);
    check(&|index| index.frames[0].pack = 1);
    check(&|index| index.frames[0].offset = u64::MAX);
    check(&|index| index.frames[0].packed = 0);
    check(&|index| index.frames[0].raw = u32::MAX);
    check(&|index| index.frames[0].raw += 1);
    check(&|index| index.frames[0].chunks += 1);
    check(&|index| index.frames[0].chunks = 0);
    check(&|index| index.frames.push(index.frames[0]));
    check(&|index| index.frames.clear());
    check(&|index| index.packs.clear());
    check(&|index| index.packs.push(PackId(Digest::of(b""))));
    check(&|index| index.chunks[0].length = 0);
    check(&|index| index.chunks[0].length += 1);
    check(&|index| {
        index.chunks.pop();
    });
}

/// A file that needs an index which the tree does not name, or chunks that it
/// does not have.
#[test]
fn chunks_of_indexes_that_are_not_named_are_lacking() {
    let victim = Victim::of(&noise(1 << 20, 3));
    let good = victim.index();
    let other = IndexId(Digest::of(b"elsewhere"));
    let from_other = |first| {
        let mut index = good.clone();
        index.others = vec![other];
        index.files[0].runs[0] = Run {
            from: 1,
            first,
            count: 1,
        };
        index
    };
    victim.lie(&from_other(0));
    assert!(matches!(
        flaw(victim.refused()),
        Flaw::Lacks { kind: "file", .. }
    ));
    victim.is_found();
}

/// A run that stands again and again makes a file of petabytes of a few bytes.
#[test]
fn a_file_that_repeats_its_chunks_for_ever_is_refused() {
    let victim = Victim::of(&noise(1 << 20, 3));
    let mut index = victim.index();
    let run = index.files[0].runs[0];
    index.files[0].runs = vec![run; 100_000];
    victim.lie(&index);
    assert!(matches!(
        flaw(victim.refused()),
        Flaw::Lacks { kind: "file", .. }
    ));
}

fn entry(name: &str, node: Node) -> Entry {
    Entry {
        name: Name::try_from(name).expect("a name"),
        node,
    }
}

/// A tree whose directory a cache made up: nothing but its address is right.
fn made_up(encoded: Vec<Vec<u8>>) -> Victim {
    let victim = Victim::of(b"a");
    let mut index = victim.index();
    let tree = Directory::id_of(&encoded[0]);
    index.directories = encoded;
    let victim = Victim { tree, ..victim };
    victim.lie(&index);
    victim
}

/// Directories as no store writes them.
#[test]
fn directories_that_break_the_rules_are_refused() {
    let file = |name: &[u8]| (name.to_vec(), 1_u32, b"target".to_vec());
    let check = |entries: Vec<(Vec<u8>, u32, Vec<u8>)>| {
        let encoded = canonical::encode(&entries);
        match flaw(made_up(vec![encoded]).refused()) {
            Flaw::Directory { .. } => {}
            other => panic!("{other}"),
        }
    };
    check(vec![file(b"a"), file(b"a")]);
    check(vec![file(b"b"), file(b"a")]);
    for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0", &[b'a'; 256]] {
        check(vec![file(name)]);
    }
    check(vec![(b"link".to_vec(), 1, Vec::new())]);
    // Names that differ in case alone are two names: Linux's file systems can
    // hold both, and so can a tree.
    let objects = Memory::default();
    let link = || Node::Symlink {
        target: b"x".to_vec(),
    };
    let both = Directory::new(vec![entry("A", link()), entry("a", link())]);
    let tree = objects.put_directory(&both.expect("two names"));
    let tree = tree.expect("memory");
    let cache = Wrapped::default();
    try_push(&cache, &objects, &[tree], &[]).expect("to push");
    pull(&cache, &Fixture::new().store, &[tree]);
}

#[test]
fn a_directory_that_none_of_the_indexes_has_is_said() {
    let gone = TreeId(Digest::of(b"gone"));
    let root = Directory::new(vec![entry("sub", Node::Directory { tree: gone })]);
    let victim = made_up(vec![root.expect("one entry").encode()]);
    match flaw(victim.refused()) {
        Flaw::Lacks { kind, digest } => assert_eq!((kind, digest), ("directory", gone.0)),
        other => panic!("{other}"),
    }
}

/// Deeper than any kiln reads; a cycle would need a directory that holds its
/// own digest.
#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let mut encoded = vec![Directory::default().encode()];
    for _ in 0..300 {
        let tree = Directory::id_of(&encoded[encoded.len() - 1]);
        let next = Directory::new(vec![entry("deeper", Node::Directory { tree })]);
        encoded.push(next.expect("one entry").encode());
    }
    encoded.reverse();
    assert!(matches!(flaw(made_up(encoded).refused()), Flaw::TooDeep));
}

/// The directory names a file with a size that it does not have.
#[test]
fn a_size_that_is_not_the_files_is_refused() {
    let content = ContentId(Digest::of(b"a"));
    let file = |size| Node::File {
        content,
        size,
        executable: false,
    };
    let one = |size| Directory::new(vec![entry("file", file(size))]).expect("one entry");
    let victim = made_up(vec![one(2).encode()]);
    assert!(matches!(flaw(victim.refused()), Flaw::Lacks { .. }));
    // The store has the file: there, too, it has one byte.
    let there = Fixture::new();
    let stored = there.store.put_file(&mut &b"a"[..], false);
    stored.expect("to put");
    let error = try_pull(&victim.cache, &there.store, &[victim.tree]).expect_err("a lie");
    let size = flaw(error);
    assert!(
        matches!(
            size,
            Flaw::Size {
                expected: 2,
                got: 1,
                ..
            }
        ),
        "{size}"
    );
    // Empty it is not, whatever the directory says.
    let victim = made_up(vec![one(0).encode()]);
    assert!(matches!(flaw(victim.refused()), Flaw::Recipe { .. }));
    // And not of two sizes at once.
    let both = Directory::new(vec![entry("file", file(1)), entry("other", file(2))]);
    let victim = made_up(vec![both.expect("two entries").encode()]);
    assert!(matches!(flaw(victim.refused()), Flaw::Size { .. }));
}

/// Another tree's description, and an index that is another's.
#[test]
fn what_belongs_to_another_is_refused() {
    let (victim, other) = (Victim::of(b"a"), Victim::of(b"b"));
    let right = victim.cache.get(&tree_name(&victim.tree));
    let wrong = other.cache.get(&tree_name(&other.tree));
    victim.cache.set(&tree_name(&victim.tree), &wrong);
    assert!(matches!(
        flaw(victim.refused()),
        Flaw::Format(FormatError::Rule(_))
    ));
    victim.cache.set(&tree_name(&victim.tree), &right);
    let (name, others) = (
        victim.cache.files("indexes").remove(0),
        other.cache.files("indexes").remove(0),
    );
    victim.cache.set(&name, &other.cache.get(&others));
    let refused = flaw(victim.refused());
    assert!(
        matches!(
            refused,
            Flaw::Hash { .. } | Flaw::TooLarge { .. } | Flaw::Length { .. }
        ),
        "{refused}"
    );
}

#[test]
fn what_a_newer_kiln_wrote_is_refused_as_such() {
    let victim = Victim::of(b"a");
    let name = tree_name(&victim.tree);
    let mut bytes = victim.cache.get(&name);
    bytes[0] = 2;
    victim.cache.set(&name, &bytes);
    let newer = |flaw| matches!(flaw, Flaw::Format(FormatError::Newer { found: 2, .. }));
    assert!(newer(flaw(victim.refused())));
    let mut encoded = victim.index_bytes();
    encoded[0] = 2;
    let stored = zstd::bulk::compress(&encoded, 3).expect("to pack");
    victim.lie_in_bytes(&stored, Vec::new());
    assert!(newer(flaw(victim.refused())));
}

impl Victim {
    /// The index, unpacked.
    fn index_bytes(&self) -> Vec<u8> {
        let name = self.cache.files("indexes").remove(0);
        zstd::stream::decode_all(&*self.cache.get(&name)).expect("to unpack")
    }
}

/// Bodies that never end.
#[test]
fn endless_bodies_end() {
    let mut victim = Victim::of(&noise(100_000, 1));
    victim.cache.endless = true;
    let start = Instant::now();
    let refused = flaw(victim.refused());
    assert!(matches!(refused, Flaw::TooLarge { .. }), "{refused}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Frames of two indexes that lie over one another in one pack.
#[test]
fn frames_that_overlap_are_read_as_they_are_named() {
    let victim = Victim::of(&noise(1 << 20, 1));
    let mut twin = victim.index();
    twin.files.clear();
    twin.directories.clear();
    twin.frames.truncate(1);
    let count = twin.frames[0].chunks as usize;
    twin.chunks.truncate(count);
    let stored = twin.pack().expect("to pack");
    let mut needed = victim.description().indexes;
    needed.push(Needed {
        index: IndexId(Digest::of(&stored)),
        size_bytes: stored.len() as u64,
    });
    victim
        .cache
        .set(&index_name(&IndexId(Digest::of(&stored))), &stored);
    let description = Description::new(victim.tree, needed, twin.packs);
    let name = tree_name(&victim.tree);
    victim.cache.set(&name, &description.encode());
    pull(&victim.cache, &Fixture::new().store, &[victim.tree]);
}

#[test]
fn parts_of_an_index_are_what_they_are_called() {
    // So that the tests above change what they mean to change.
    let index = Victim::of(&noise(1 << 20, 3)).index();
    let [file] = &index.files[..] else {
        panic!("{:?}", index.files)
    };
    let File { content, runs } = file;
    assert_eq!(*content, ContentId(Digest::of(&noise(1 << 20, 3))));
    let chunks = index.chunks.len() as u32;
    assert_eq!(
        *runs,
        [Run {
            from: 0,
            first: 0,
            count: chunks
        }]
    );
    let lengths: u32 = index.chunks.iter().map(|Chunk { length, .. }| length).sum();
    assert_eq!(lengths, 1 << 20);
    let [Frame { offset, raw, .. }] = index.frames[..] else {
        panic!("{:?}", index.frames)
    };
    assert_eq!((offset, raw), (0, 1 << 20));
}
