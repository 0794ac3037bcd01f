//! Two trees, entry by entry.

use std::cmp::Ordering;
use std::io::Read;

use kiln_store::hash::{ContentId, TreeId};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Directory, Entry, MAX_DEPTH, Node};

use super::difference::{Excerpt, Explanation, What};
use super::excerpt::{list, readable};
use super::limits::Limits;
use super::look::{Finding, Look, Pair};
use super::{marks, opaque, time::Windows};

/// Bytes that are compared at once where files are too large to be held.
const CHUNK_BYTES: u64 = 1 << 20;

/// Says where `got` differs from `expected`, and what the bytes tell about
/// why. Equal trees have no differences. Fails only if an object is missing or
/// cannot be read: what is in the files never makes it fail.
pub fn compare(
    objects: &dyn Objects,
    expected: &TreeId,
    got: &TreeId,
    windows: &Windows,
    limits: &Limits,
) -> Result<Explanation, ObjectError> {
    let mut walk = Walk {
        objects,
        look: Look::new(windows, limits),
    };
    walk.directories("", 0, expected, got)?;
    Ok(walk.look.finish())
}

struct Walk<'a> {
    objects: &'a dyn Objects,
    look: Look<'a>,
}

impl Walk<'_> {
    fn directories(
        &mut self,
        path: &str,
        depth: usize,
        expected: &TreeId,
        got: &TreeId,
    ) -> Result<(), ObjectError> {
        if expected == got {
            return Ok(());
        }
        let expected = self.objects.directory(expected)?;
        let got = self.objects.directory(got)?;
        let (mut left, mut right) = (expected.entries().iter(), got.entries().iter());
        let (mut a, mut b) = (left.next(), right.next());
        loop {
            let order = match (a, b) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.name.cmp(&b.name),
            };
            if order.is_eq()
                && let (Some(a), Some(b)) = (a, b)
            {
                self.nodes(&join(path, a), depth, &a.node, &b.node)?;
            } else {
                let (entry, what) = match order {
                    Ordering::Less => (a, What::OnlyExpected),
                    _ => (b, What::OnlyGot),
                };
                if let Some(entry) = entry {
                    self.only(&join(path, entry), entry, what)?;
                }
            }
            if order.is_le() {
                a = left.next();
            }
            if order.is_ge() {
                b = right.next();
            }
        }
    }

    fn nodes(
        &mut self,
        path: &str,
        depth: usize,
        expected: &Node,
        got: &Node,
    ) -> Result<(), ObjectError> {
        if expected == got {
            return Ok(());
        }
        self.look.enter_path(path);
        match (expected, got) {
            (Node::Directory { tree: expected }, Node::Directory { tree: got }) => {
                if depth >= MAX_DEPTH {
                    self.look.cut("it is deeper than trees of a store are");
                    return Ok(());
                }
                self.directories(path, depth + 1, expected, got)
            }
            (Node::Symlink { target: expected }, Node::Symlink { target: got }) => {
                self.links(expected, got);
                Ok(())
            }
            (Node::File { .. }, Node::File { .. }) => self.files(expected, got),
            _ => {
                let (expected, got) = (self.describe(expected)?, self.describe(got)?);
                self.look.report(Finding::new(What::Kind, expected, got));
                Ok(())
            }
        }
    }

    fn links(&mut self, expected: &[u8], got: &[u8]) {
        let clues = marks::clues(Pair { expected, got }, self.look.windows);
        let value = |target| Excerpt::value(readable(target));
        self.look.report(Finding {
            clues,
            ..Finding::new(What::LinkTarget, value(expected), value(got))
        });
    }

    fn files(&mut self, expected: &Node, got: &Node) -> Result<(), ObjectError> {
        let (
            Node::File {
                content: a,
                size: a_size,
                executable: a_executable,
            },
            Node::File {
                content: b,
                size: b_size,
                executable: b_executable,
            },
        ) = (expected, got)
        else {
            return Ok(());
        };
        if a_executable != b_executable {
            let value = |executable: &bool| {
                Excerpt::value(if *executable {
                    "executable"
                } else {
                    "not executable"
                })
            };
            let finding = Finding::new(What::Executable, value(a_executable), value(b_executable));
            self.look.report(finding);
        }
        if a == b {
            return Ok(());
        }
        if (*a_size).max(*b_size) > self.look.limits.max_file_bytes {
            return self.large(a, b);
        }
        let expected = self.read(a, self.look.limits.max_file_bytes)?;
        let got = self.read(b, self.look.limits.max_file_bytes)?;
        self.look.content(Pair {
            expected: &expected,
            got: &got,
        });
        Ok(())
    }

    fn read(&self, id: &ContentId, limit: u64) -> Result<Vec<u8>, ObjectError> {
        let mut reader = self.objects.open_file(id)?;
        read(&mut *reader, limit, id)
    }

    /// Files that are not held in memory: only the first chunks that differ.
    fn large(&mut self, expected: &ContentId, got: &ContentId) -> Result<(), ObjectError> {
        self.look.cut("it is larger than what kiln looks into");
        let mut left = self.objects.open_file(expected)?;
        let mut right = self.objects.open_file(got)?;
        let mut base = 0;
        loop {
            let a = read(&mut *left, CHUNK_BYTES, expected)?;
            let b = read(&mut *right, CHUNK_BYTES, got)?;
            let pair = Pair {
                expected: &a,
                got: &b,
            };
            if pair.differs() {
                opaque::compare_at(&mut self.look, pair, base);
                return Ok(());
            }
            if a.is_empty() {
                return Ok(());
            }
            base += a.len() as u64;
        }
    }

    fn only(&mut self, path: &str, entry: &Entry, what: What) -> Result<(), ObjectError> {
        self.look.enter_path(path);
        let excerpt = self.describe(&entry.node)?;
        let name = entry.name.as_bytes();
        let (finding, clue) = match what {
            What::OnlyExpected => (
                Finding::new(what, excerpt, Excerpt::Absent),
                marks::name(name, self.look.windows.expected),
            ),
            _ => (
                Finding::new(what, Excerpt::Absent, excerpt),
                marks::name(name, self.look.windows.got),
            ),
        };
        self.look.report(Finding {
            clues: clue.into_iter().collect(),
            ..finding
        });
        Ok(())
    }

    fn describe(&self, node: &Node) -> Result<Excerpt, ObjectError> {
        Ok(Excerpt::value(match node {
            Node::File {
                size, executable, ..
            } => {
                let kind = if *executable { "a program" } else { "a file" };
                format!("{kind} of {size} bytes")
            }
            Node::Symlink { target } => format!("a link to `{}`", readable(target)),
            Node::Directory { tree } => describe(&self.objects.directory(tree)?),
        }))
    }
}

fn describe(directory: &Directory) -> String {
    let entries = directory.entries();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_bytes()).collect();
    match names.as_slice() {
        [] => "an empty directory".to_owned(),
        names => format!("a directory of {}", list(names)),
    }
}

fn join(path: &str, entry: &Entry) -> String {
    let name = readable(entry.name.as_bytes());
    match path {
        "" => name,
        path => format!("{path}/{name}"),
    }
}

fn read(reader: &mut dyn Read, limit: u64, id: &ContentId) -> Result<Vec<u8>, ObjectError> {
    let mut bytes = Vec::new();
    let result = reader.take(limit).read_to_end(&mut bytes);
    result.map_err(|source| ObjectError::Io {
        what: format!("reading the content {}", id.0),
        source,
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use kiln_store::objects::Memory;

    use super::super::fixture::{EXPECTED_S, GOT_S, contents_with, windows};
    use super::super::{Clue, Difference};
    use super::*;
    use crate::compose::fixture::tree;

    fn found(expected: &[&str], got: &[&str]) -> Vec<Difference> {
        let objects = Memory::default();
        let (a, b) = (tree(&objects, expected), tree(&objects, got));
        let found = compare(&objects, &a, &b, &windows(), &Limits::default());
        found.expect("memory does not fail").differences
    }

    #[track_caller]
    fn check(expected: &[&str], got: &[&str], differences: &[(&str, What)]) {
        let found = found(expected, got);
        let found: Vec<_> = found
            .iter()
            .map(|d| (d.path.as_str(), d.what.clone()))
            .collect();
        assert_eq!(found, differences);
    }

    #[test]
    fn equal_trees_have_no_differences() {
        check(&["a = x", "b/c -> d"], &["a = x", "b/c -> d"], &[]);
    }

    #[test]
    fn names_what_differs_in_the_order_of_a_walk() {
        check(
            &[
                "a = same", "b/c* = x", "b/d = x", "e -> f", "g = x", "h = x", "z = x",
            ],
            &[
                "a = same", "b/c = x", "b/d = y", "e -> F", "g -> x", "i/j = x", "z = x",
            ],
            &[
                ("b/c", What::Executable),
                ("b/d", What::Content { offset_bytes: 0 }),
                ("e", What::LinkTarget),
                ("g", What::Kind),
                ("h", What::OnlyExpected),
                ("i", What::OnlyGot),
            ],
        );
    }

    #[test]
    fn a_file_may_differ_in_two_ways() {
        let content = What::Content { offset_bytes: 0 };
        check(
            &["a* = x"],
            &["a = y"],
            &[("a", What::Executable), ("a", content)],
        );
    }

    #[test]
    fn sees_times_in_targets_and_names() {
        let links = found(
            &[&format!("l -> v{EXPECTED_S}")],
            &[&format!("l -> v{GOT_S}")],
        );
        assert!(
            matches!(links[0].clues[..], [Clue::TimeOfBuild { .. }]),
            "{links:?}"
        );
        let names = found(
            &[&format!("l.{EXPECTED_S} = x")],
            &[&format!("l.{GOT_S} = x")],
        );
        assert_eq!(names.len(), 2);
        for name in names {
            assert!(
                matches!(name.clues[..], [Clue::TimeOfBuild { .. }]),
                "{name:?}"
            );
        }
    }

    #[test]
    fn lists_so_many_and_counts_the_rest() {
        let objects = Memory::default();
        let lines = |text: &str| {
            (0..50)
                .map(|n| format!("f{n} = {text}"))
                .collect::<Vec<_>>()
        };
        let of = |lines: &[String]| {
            tree(
                &objects,
                &lines.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        };
        let (a, b) = (of(&lines("a")), of(&lines("b")));
        let limits = Limits {
            max_differences: 7,
            ..Limits::default()
        };
        let found = compare(&objects, &a, &b, &Windows::default(), &limits).expect("memory");
        assert_eq!((found.differences.len(), found.more), (7, 43));
    }

    #[test]
    fn compares_large_files_as_they_are_read() {
        let limits = Limits {
            max_file_bytes: 1 << 20,
            ..Limits::default()
        };
        let expected = vec![b'a'; 5 << 20];
        let mut got = expected.clone();
        let at = (3 << 20) + 17;
        got[at] = b'b';
        let found = contents_with(&expected, &got, &limits);
        let offset_bytes = at as u64;
        assert_eq!(found.differences[0].what, What::Content { offset_bytes });
        assert_eq!(found.cut.len(), 1);
    }

    #[test]
    fn an_object_that_is_missing_is_an_error() {
        let (here, there) = (Memory::default(), Memory::default());
        let a = tree(&here, &["a = x"]);
        let b = tree(&there, &["a = y"]);
        let limits = Limits::default();
        let result = compare(&here, &a, &b, &Windows::default(), &limits);
        assert!(matches!(result, Err(ObjectError::Missing { .. })));
    }

    #[test]
    fn goes_to_json() {
        let found = found(&["a = x1"], &["a = x2"]);
        let json = serde_json::to_value(&found[0]).expect("it is data");
        assert_eq!(
            json,
            serde_json::json!({
                "path": "a",
                "inside": ["line 1"],
                "what": { "what": "content", "offset_bytes": 1 },
                "expected": { "form": "lines", "first": 1, "lines": ["x1 (the line has no end)"] },
                "got": { "form": "lines", "first": 1, "lines": ["x2 (the line has no end)"] },
                "clues": [{ "clue": "number", "expected": "1", "got": "2" }],
                "differing_bytes": 1,
                "more": 0,
            })
        );
    }
}
