//! What every backend has to do, as one check that each is put to.
//!
//! It is in the library because checks of real servers, elsewhere, run it too.
//! It panics where a promise is broken. It writes below `contract/`, and
//! removes what it wrote.

use std::io::{Cursor, Read};
use std::thread;
use std::time::{Duration, SystemTime};

use super::backend::{Backend, ByteRange, Kind};
use super::name::Name;

const LARGE_BYTES: usize = 8 << 20;
const THREADS: u8 = 8;
/// How far a server's clock may be from ours.
const CLOCKS: Duration = Duration::from_secs(120);

/// Puts a backend to all of it.
pub fn check(backend: &dyn Backend) {
    check_whole_files(backend);
    check_races(backend);
    check_parts(backend);
}

/// What is said of files as a whole.
pub fn check_whole_files(backend: &dyn Backend) {
    files_are_as_they_were_written(backend);
    what_is_not_there_is_none(backend);
    wrong_sizes_are_refused(backend);
    the_later_of_two_files_is_kept(backend);
    large_files_arrive(backend);
    many_threads_do_not_mix_things_up(backend);
    listings_are_complete(backend);
    what_is_removed_is_gone(backend);
}

/// What is said of one file that is read and written at one time.
pub fn check_races(backend: &dyn Backend) {
    of_two_writers_one_wins(backend);
}

/// What is said of parts of files.
pub fn check_parts(backend: &dyn Backend) {
    parts_are_those_of_the_whole(backend);
    parts_are_of_the_file_that_is_there(backend);
    parts_of_large_files_arrive(backend);
    many_threads_read_parts(backend);
}

fn name(text: &str) -> Name {
    Name::new(format!("contract/{text}")).expect("a name")
}

/// Writes a file.
fn put(backend: &dyn Backend, at: &str, content: &[u8]) {
    let size = content.len() as u64;
    let put = backend.put(&name(at), &mut Cursor::new(content), size);
    put.unwrap_or_else(|error| panic!("{error}"));
}

/// Reads a file or a part of it.
fn get(backend: &dyn Backend, at: &str, range: Option<(u64, u64)>) -> Option<Vec<u8>> {
    let range = range.map(|(start, length)| ByteRange { start, length });
    let body = backend.open(&name(at), range);
    let mut body = body.unwrap_or_else(|error| panic!("{error}"))?;
    let mut content = Vec::new();
    let read = body.content.read_to_end(&mut content);
    read.unwrap_or_else(|error| panic!("{at}: {error}"));
    if let Some(length) = body.length {
        assert_eq!(length, content.len() as u64, "the length of `{at}`");
    }
    Some(content)
}

fn remove(backend: &dyn Backend, at: &str) {
    let removed = backend.remove(&name(at));
    removed.unwrap_or_else(|error| panic!("{error}"));
}

/// Bytes that differ by `seed` and do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn files_are_as_they_were_written(backend: &dyn Backend) {
    let long = format!("{}/{}", "d".repeat(100), "f".repeat(110));
    for at in ["a", "deep/er/and/deeper/b.c", "-_.x", long.as_str()] {
        for content in [&b""[..], b"x", &noise(1, 100_000)] {
            put(backend, at, content);
            assert_eq!(get(backend, at, None).as_deref(), Some(content), "{at}");
            let size = backend.size(&name(at)).expect("it is there");
            assert_eq!(size, Some(content.len() as u64), "{at}");
        }
        remove(backend, at);
    }
}

fn parts_are_those_of_the_whole(backend: &dyn Backend) {
    let content = noise(2, 1000);
    put(backend, "part", &content);
    for (start, length) in [(0, 1), (0, 1000), (1, 998), (999, 1), (500, 100)] {
        let expected = &content[start as usize..(start + length) as usize];
        let got = get(backend, "part", Some((start, length)));
        assert_eq!(
            got.as_deref(),
            Some(expected),
            "{length} bytes from {start} on"
        );
    }
    for (start, length) in [(990, 100), (0, 5000), (1, u64::MAX)] {
        let got = get(backend, "part", Some((start, length)));
        assert_eq!(
            got.as_deref(),
            Some(&content[start as usize..]),
            "from {start} on"
        );
    }
    for start in [1000, 1001, u64::MAX - 1] {
        is_refused(backend, "part", start);
    }
    put(backend, "part", b"");
    is_refused(backend, "part", 0);
    remove(backend, "part");
}

fn is_refused(backend: &dyn Backend, at: &str, start: u64) {
    let range = ByteRange { start, length: 1 };
    match backend.open(&name(at), Some(range)) {
        Err(error) => assert!(matches!(error.kind, Kind::Refused(_)), "{error}"),
        Ok(_) => panic!("{}: a part from {start} on of `{at}`", backend.place()),
    }
}

fn what_is_not_there_is_none(backend: &dyn Backend) {
    put(backend, "there/is", b"x");
    for at in [
        "missing",
        "there/missing",
        "not/even/a/directory",
        "there/is/below",
    ] {
        assert_eq!(get(backend, at, None), None, "{at}");
        assert_eq!(get(backend, at, Some((3, 4))), None, "{at}");
        assert_eq!(backend.size(&name(at)).expect("no error"), None, "{at}");
    }
    remove(backend, "missing");
    remove(backend, "not/even/a/directory");
    remove(backend, "there/is");
}

fn wrong_sizes_are_refused(backend: &dyn Backend) {
    for size in [0, 2, 4] {
        let put = backend.put(&name("wrong"), &mut Cursor::new("abc"), size);
        let error = put.expect_err("it has another size");
        assert!(matches!(error.kind, Kind::Refused(_)), "{error}");
    }
    assert_eq!(get(backend, "wrong", None), None);
}

fn the_later_of_two_files_is_kept(backend: &dyn Backend) {
    for content in [&b"first"[..], b"second, longer", b"third"] {
        // From its start, wherever it was read up to.
        let mut source = Cursor::new(content);
        source.set_position(3);
        let put = backend.put(&name("over"), &mut source, content.len() as u64);
        put.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(get(backend, "over", None).as_deref(), Some(content));
    }
    remove(backend, "over");
}

fn large_files_arrive(backend: &dyn Backend) {
    let content = noise(3, LARGE_BYTES);
    put(backend, "large", &content);
    assert!(get(backend, "large", None).as_ref() == Some(&content));
    remove(backend, "large");
}

fn parts_of_large_files_arrive(backend: &dyn Backend) {
    let content = noise(7, LARGE_BYTES);
    put(backend, "large", &content);
    let (start, length) = (LARGE_BYTES as u64 / 2 - 1, 1 << 20);
    let part = get(backend, "large", Some((start, length))).expect("it is there");
    assert!(part == content[start as usize..(start + length) as usize]);
    remove(backend, "large");
}

/// Who looks at the size sees the file that is there, and parts of it after.
fn parts_are_of_the_file_that_is_there(backend: &dyn Backend) {
    for content in [&b"first"[..], b"second, longer", b"third"] {
        put(backend, "over", content);
        let part = get(backend, "over", Some((1, 3)));
        assert_eq!(part.as_deref(), Some(&content[1..4]));
    }
    remove(backend, "over");
}

fn many_threads_read_parts(backend: &dyn Backend) {
    let content = noise(8, 50_000);
    put(backend, "shared", &content);
    thread::scope(|scope| {
        for thread in 0..u64::from(THREADS) {
            let content = &content;
            scope.spawn(move || {
                for start in (thread..40_000).step_by(9000) {
                    let part = get(backend, "shared", Some((start, 10_000)));
                    let expected = &content[start as usize..start as usize + 10_000];
                    assert!(part.as_deref() == Some(expected));
                }
            });
        }
    });
    remove(backend, "shared");
}

fn many_threads_do_not_mix_things_up(backend: &dyn Backend) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let at = format!("threads/{thread}/file");
                for turn in 0..4 {
                    let content = noise(u64::from(thread) * 100 + turn, 50_000);
                    put(backend, &at, &content);
                    assert!(get(backend, &at, None).as_ref() == Some(&content));
                }
                remove(backend, &at);
            });
        }
    });
}

fn of_two_writers_one_wins(backend: &dyn Backend) {
    let contents = [noise(4, 300_000), noise(5, 200_000)];
    for _ in 0..3 {
        thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| put(backend, "race", content));
            }
            scope.spawn(|| {
                let seen = get(backend, "race", None);
                assert!(
                    seen.is_none_or(|seen| contents.contains(&seen)),
                    "half a file"
                );
            });
        });
        let kept = get(backend, "race", None).expect("it is there");
        assert!(contents.contains(&kept));
        remove(backend, "race");
    }
}

fn listings_are_complete(backend: &dyn Backend) {
    let long = format!("list/{}", "l".repeat(200));
    let files = [
        "list/a",
        "list/ab",
        "list/b/c",
        "list/b/d",
        "list-not",
        long.as_str(),
    ];
    for (length, at) in files.iter().enumerate() {
        put(backend, at, &noise(6, length));
    }
    let list = |prefix: &str| {
        let listed = backend.list(&format!("contract/{prefix}"));
        let listed = listed.unwrap_or_else(|error| panic!("{error}"))?;
        for file in &listed {
            let apart = file.modified.duration_since(SystemTime::now());
            let apart = apart.unwrap_or_else(|error| error.duration());
            assert!(apart < CLOCKS, "{file:?} was written {apart:?} from now");
        }
        let mut pairs: Vec<_> = listed
            .into_iter()
            .map(|file| (file.name.to_string(), file.size_bytes))
            .collect();
        pairs.sort();
        Some(pairs)
    };
    for prefix in [
        "list/", "list", "list/a", "list/b/", "list/b/c", "list/x", "list/l",
    ] {
        let expected = files
            .iter()
            .enumerate()
            .map(|(size, at)| (format!("contract/{at}"), size as u64));
        let prefixed = format!("contract/{prefix}");
        let mut expected: Vec<_> = expected
            .filter(|(at, _)| at.starts_with(&prefixed))
            .collect();
        expected.sort();
        if let Some(listed) = list(prefix) {
            assert_eq!(listed, expected, "{}: `{prefix}`", backend.place());
        }
    }
    for at in files {
        remove(backend, at);
    }
    assert!(list("list").is_none_or(|left| left.is_empty()));
}

fn what_is_removed_is_gone(backend: &dyn Backend) {
    put(backend, "gone", b"x");
    put(backend, "gone-too", b"x");
    remove(backend, "gone");
    assert_eq!(get(backend, "gone", None), None);
    assert_eq!(backend.size(&name("gone")).expect("no error"), None);
    remove(backend, "gone");
    // Of equal files each is removed alone.
    assert_eq!(get(backend, "gone-too", None).as_deref(), Some(&b"x"[..]));
    put(backend, "gone", b"y");
    assert_eq!(get(backend, "gone", None).as_deref(), Some(&b"y"[..]));
    remove(backend, "gone");
    remove(backend, "gone-too");
}
