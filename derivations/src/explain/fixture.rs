//! Trees of single files, for tests.

use kiln_store::hash::TreeId;
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::{Directory, Entry, Name, Node};

use super::{Difference, Explanation, Limits, Window, Windows, compare};

/// When the tests' builds ran: 2026-11-21 15:30:00 UTC and a day later, ten
/// seconds each.
pub(super) const EXPECTED_S: i64 = 1_795_275_000;
pub(super) const GOT_S: i64 = EXPECTED_S + 86_400;

pub(super) fn windows() -> Windows {
    let from = |start_s| Window {
        start_s,
        end_s: start_s + 10,
    };
    Windows {
        expected: Some(from(EXPECTED_S)),
        got: Some(from(GOT_S)),
    }
}

/// A tree of the one file `file`.
pub(super) fn single(objects: &Memory, mut content: &[u8]) -> TreeId {
    let stored = objects.put_file(&mut content, false);
    let (content, size) = stored.expect("memory does not fail");
    let entry = Entry {
        name: Name::new("file").expect("a name"),
        node: Node::File {
            content,
            size,
            executable: false,
        },
    };
    let directory = Directory::new(vec![entry]).expect("one entry");
    objects
        .put_directory(&directory)
        .expect("memory does not fail")
}

/// Compares two files as the tests' builds.
pub(super) fn contents(expected: &[u8], got: &[u8]) -> Explanation {
    contents_with(expected, got, &Limits::default())
}

pub(super) fn contents_with(expected: &[u8], got: &[u8], limits: &Limits) -> Explanation {
    let objects = Memory::default();
    let (a, b) = (single(&objects, expected), single(&objects, got));
    let found = compare(&objects, &a, &b, &windows(), limits).expect("memory does not fail");
    let differences = !found.differences.is_empty();
    assert_eq!(differences, expected != got, "no difference is lost");
    found
}

/// What tests ask of an explanation.
pub(super) trait Found {
    /// The only difference.
    fn only(&self) -> &Difference;
    /// The difference with these places inside.
    fn at(&self, inside: &[&str]) -> &Difference;
}

impl Found for Explanation {
    #[track_caller]
    fn only(&self) -> &Difference {
        match &self.differences[..] {
            [only] => only,
            _ => panic!("more than one: {self:#?}"),
        }
    }

    #[track_caller]
    fn at(&self, inside: &[&str]) -> &Difference {
        let found = self.differences.iter().find(|d| d.inside == inside);
        found.unwrap_or_else(|| panic!("nothing at {inside:?}: {self:#?}"))
    }
}
