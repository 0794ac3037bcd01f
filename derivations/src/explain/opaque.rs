//! Bytes of no known format: runs that differ, and what is around them.

use std::ops::Range;

use super::clue::Clue;
use super::difference::{Excerpt, What};
use super::excerpt::bytes_around;
use super::look::{Finding, Look, Pair, Place};
use super::marks;
use super::order::{self, differing};

/// Runs with fewer equal bytes between them are one: parts of one value may be
/// equal by chance.
const GAP_BYTES: usize = 8;
/// Marks are looked for this far around a run.
const CONTEXT_BYTES: usize = 512;

/// Compares bytes.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) {
    compare_at(look, pair, 0);
}

/// Compares bytes that begin at `base` of what is compared.
pub(super) fn compare_at(look: &mut Look<'_>, pair: Pair<'_>, base: u64) {
    compare_with(look, pair, base, |_| None);
}

/// Compares bytes; `place` names what lies at an offset of the expected side.
pub(super) fn compare_with(
    look: &mut Look<'_>,
    pair: Pair<'_>,
    base: u64,
    place: impl Fn(usize) -> Option<Place>,
) {
    if !pair.differs() {
        return;
    }
    if pair.expected.len() != pair.got.len() {
        return unequal(look, pair, base, place);
    }
    if let Some(clue) = string_order(pair) {
        let [range, other] = differing(pair.expected, pair.got);
        let finding = finding(pair, base, &range, &other).clue(clue);
        return at(look, place(range.start), |look| look.report(finding));
    }
    for run in Runs::new(pair) {
        at(look, place(run.start), |look| report(look, pair, base, run));
    }
}

fn at(look: &mut Look<'_>, place: Option<Place>, report: impl FnOnce(&mut Look<'_>)) {
    match place {
        Some(place) => look.within(place, report),
        None => report(look),
    }
}

fn report(look: &mut Look<'_>, pair: Pair<'_>, base: u64, run: Range<usize>) {
    let mut found = finding(pair, base, &run, &run);
    let bytes = pair.expected[run.clone()]
        .iter()
        .zip(&pair.got[run.clone()]);
    found.differing_bytes = bytes.filter(|(a, b)| a != b).count() as u64;
    if look.lists(&found.what) {
        found.clues = clues(look, pair, &run, &run);
    }
    look.report(found);
}

/// Bytes of another number: nothing says which of them belong to each other,
/// but that the ends that are equal do.
fn unequal(look: &mut Look<'_>, pair: Pair<'_>, base: u64, place: impl Fn(usize) -> Option<Place>) {
    let [left, right] = differing(pair.expected, pair.got);
    at(look, place(left.start), |look| {
        let mut found = finding(pair, base, &left, &right);
        let shorter = pair.expected.len().min(pair.got.len());
        if left.start == shorter {
            found.what = What::Size {
                expected_bytes: pair.expected.len() as u64,
                got_bytes: pair.got.len() as u64,
            };
        } else if look.lists(&found.what) {
            found.clues = clues(look, pair, &left, &right);
        }
        look.report(found);
    });
}

fn finding(pair: Pair<'_>, base: u64, expected: &Range<usize>, got: &Range<usize>) -> Finding {
    Finding {
        differing_bytes: expected.len().max(got.len()) as u64,
        ..Finding::new(
            What::Content {
                offset_bytes: base + expected.start as u64,
            },
            bytes_around(pair.expected, expected.start, base),
            bytes_around(pair.got, got.start, base),
        )
    }
}

/// Some bytes of a side around the first that differs.
pub(super) fn excerpt(bytes: &[u8], differing: &Range<usize>) -> Excerpt {
    bytes_around(bytes, differing.start, 0)
}

fn clues(
    look: &Look<'_>,
    pair: Pair<'_>,
    expected: &Range<usize>,
    got: &Range<usize>,
) -> Vec<Clue> {
    let (a, left) = around(pair.expected, expected);
    let (b, right) = around(pair.got, got);
    let pair = Pair {
        expected: a,
        got: b,
    };
    marks::clues_near(pair, left, right, look.windows)
}

/// The bytes around a range, and the range in them.
fn around<'a>(bytes: &'a [u8], range: &Range<usize>) -> (&'a [u8], Range<usize>) {
    let start = range.start.saturating_sub(CONTEXT_BYTES);
    let end = range.end.saturating_add(CONTEXT_BYTES).min(bytes.len());
    (&bytes[start..end], range.start - start..range.end - start)
}

/// The same strings, each ended by a NUL, in another order.
fn string_order(pair: Pair<'_>) -> Option<Clue> {
    let [range, other] = differing(pair.expected, pair.got);
    // From the end of the last string that is equal to that of the last that
    // is not: a string may begin like another one.
    let start = |bytes: &[u8]| bytes[..range.start].iter().rposition(|&b| b == 0);
    let whole = |bytes: &[u8], end: usize| {
        let next = bytes[end..].iter().position(|&b| b == 0);
        next.map_or(bytes.len(), |next| end + next)
    };
    let from = start(pair.expected).map_or(0, |at| at + 1);
    let (a, b) = (
        &pair.expected[from..whole(pair.expected, range.end)],
        &pair.got[from..whole(pair.got, other.end)],
    );
    let text = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|b| matches!(b, 0 | b'\t' | b'\n' | b' '..=b'~'))
    };
    let strings = text(a) && text(b);
    strings
        .then(|| order::clue("strings", &order::strings(a), &order::strings(b)))
        .flatten()
}

/// Ranges that differ of two sides of one length, near ones as one.
struct Runs<'a> {
    pair: Pair<'a>,
    at: usize,
}

impl<'a> Runs<'a> {
    fn new(pair: Pair<'a>) -> Self {
        Self { pair, at: 0 }
    }

    /// The next place where the sides differ or, if not `differ`, are equal.
    fn next_at(&self, from: usize) -> Option<usize> {
        const CHUNK: usize = 4096;
        let mut at = from;
        // Whole chunks first: most bytes are equal.
        loop {
            let end = (at + CHUNK).min(self.pair.expected.len());
            let (a, b) = (&self.pair.expected[at..end], &self.pair.got[at..end]);
            if a != b {
                let differs = a.iter().zip(b).position(|(a, b)| a != b)?;
                return Some(at + differs);
            }
            if end == self.pair.expected.len() {
                return None;
            }
            at = end;
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next_at(self.at)?;
        let mut end = start + 1;
        let rest = self.pair.expected[end..].iter().zip(&self.pair.got[end..]);
        for (at, (a, b)) in rest.enumerate() {
            let at = start + 1 + at;
            if a != b {
                end = at + 1;
            } else if at - end >= GAP_BYTES {
                break;
            }
        }
        self.at = end;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Found, contents};
    use super::*;

    #[test]
    fn joins_runs_that_are_near() {
        let mut got = [0_u8; 10_000];
        for at in [0, 3, 11, 30, 5000, 9999] {
            got[at] = 1;
        }
        let pair = Pair {
            expected: &[0; 10_000],
            got: &got,
        };
        let runs: Vec<_> = Runs::new(pair).collect();
        assert_eq!(runs, [0..12, 30..31, 5000..5001, 9999..10_000]);
    }

    #[test]
    fn lists_some_runs_and_counts_the_rest() {
        let expected = vec![0_u8; 1000];
        let mut got = expected.clone();
        (0..10).for_each(|at| got[at * 100] = 0x80);
        let found = contents(&expected, &got);
        assert_eq!(found.differences.len(), 3);
        assert_eq!(found.differences[2].more, 7);
        let offsets: Vec<_> = found.differences.iter().map(|d| &d.what).collect();
        let at = |offset_bytes| What::Content { offset_bytes };
        assert_eq!(offsets, [&at(0), &at(100), &at(200)]);
    }

    #[test]
    fn says_that_one_side_goes_on() {
        let found = contents(&[0, 1, 2], &[0, 1, 2, 3, 4]);
        assert_eq!(
            found.only().what,
            What::Size {
                expected_bytes: 3,
                got_bytes: 5
            }
        );
        assert_eq!(found.only().differing_bytes, 2);
        // Something was put in between.
        let found = contents(&[0, 1, 2, 9, 9], &[0, 1, 7, 7, 2, 9, 9]);
        assert_eq!(found.only().what, What::Content { offset_bytes: 2 });
        assert_eq!(found.only().differing_bytes, 2);
    }

    #[test]
    fn sees_strings_in_another_order() {
        let found = contents(
            b"\x01\x00one\0two\0three\0\x02",
            b"\x01\x00three\0one\0two\0\x02",
        );
        let clue = &found.only().clues[0];
        assert!(matches!(clue, Clue::OtherOrder { of, .. } if of == "strings"));
    }
}
