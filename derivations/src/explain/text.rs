//! Texts: lines that differ, and lines in another order.

use std::ops::Range;

use super::clue::Clue;
use super::difference::{Excerpt, What};
use super::excerpt;
use super::look::{Finding, Look, Pair, Place};
use super::marks;
use super::order::{self, differing};

/// After a difference, equal lines are searched this far ahead.
const AHEAD_LINES: usize = 200;
/// In all of one text, this many pairs of lines are compared to find them.
const MAX_COMPARISONS: usize = 4_000_000;
/// Lines of one side that are shown.
const SHOWN_LINES: usize = 3;
/// Bytes of lines in which marks are looked for.
const MARKED_BYTES: usize = 4096;

/// Whether it is a text: nothing, or UTF-8 without control characters.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let printable = |b: &u8| !matches!(b, 0..=8 | 14..=26 | 28..=31 | 127);
    bytes.iter().all(printable) && std::str::from_utf8(bytes).is_ok()
}

/// Compares texts line by line.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) {
    let (expected, got) = (lines(pair.expected), lines(pair.got));
    if let Some(clue) = order::clue("lines", &expected, &got) {
        let [left, right] = differing(&expected, &got);
        let hunk = Hunk {
            offset_bytes: bytes_of(&expected[..left.start]),
            expected: left,
            got: right,
        };
        let finding = hunk.finding(&expected, &got).clue(clue);
        return look.within(hunk.place(), |look| look.report(finding));
    }
    let mut hunks = Hunks::new(&expected, &got);
    while let Some(hunk) = hunks.next() {
        let place = hunk.place();
        look.within(place, |look| {
            let mut finding = hunk.finding(&expected, &got);
            if look.lists(&finding.what) {
                finding.clues = hunk.clues(look, &expected, &got);
            }
            look.report(finding);
        });
    }
}

/// Lines with their ends, so that a missing one is a difference.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|&b| b == b'\n').collect()
}

fn bytes_of(lines: &[&[u8]]) -> usize {
    lines.iter().map(|line| line.len()).sum()
}

/// Lines that differ, on both sides between lines that are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hunk {
    expected: Range<usize>,
    got: Range<usize>,
    /// Where its first line begins on the expected side.
    offset_bytes: usize,
}

impl Hunk {
    fn place(&self) -> Place {
        Place::one_of("line", format!("line {}", self.expected.start + 1))
    }

    fn finding(&self, expected: &[&[u8]], got: &[&[u8]]) -> Finding {
        let (left, right) = (&expected[self.expected.clone()], &got[self.got.clone()]);
        let [near, other] = match (left.first(), right.first()) {
            (Some(a), Some(b)) => differing(a, b),
            _ => [0..0, 0..0],
        };
        let differing_bytes = match (left, right) {
            ([_], [_]) => near.len().max(other.len()),
            _ => bytes_of(left).max(bytes_of(right)),
        };
        let what = match (left, right) {
            ([], _) => What::OnlyGot,
            (_, []) => What::OnlyExpected,
            _ => What::Content {
                offset_bytes: (self.offset_bytes + near.start) as u64,
            },
        };
        Finding {
            differing_bytes: differing_bytes as u64,
            ..Finding::new(
                what,
                shown(left, self.expected.start, near),
                shown(right, self.got.start, other),
            )
        }
    }

    fn clues(&self, look: &Look<'_>, expected: &[&[u8]], got: &[&[u8]]) -> Vec<Clue> {
        let (left, right) = (&expected[self.expected.clone()], &got[self.got.clone()]);
        let join = |lines: &[&[u8]]| {
            let mut text = Vec::new();
            for line in lines {
                text.extend_from_slice(&line[..line.len().min(MARKED_BYTES)]);
                if text.len() >= MARKED_BYTES {
                    break;
                }
            }
            text
        };
        let (left, right) = (join(left), join(right));
        let pair = Pair {
            expected: &left,
            got: &right,
        };
        if left.is_empty() || right.is_empty() {
            return Vec::new();
        }
        match marks::word_order(pair) {
            Some(clue) => vec![clue],
            None => marks::clues(pair, look.windows),
        }
    }
}

fn shown(lines: &[&[u8]], first: usize, near: Range<usize>) -> Excerpt {
    if lines.is_empty() {
        return Excerpt::Absent;
    }
    let show = |(at, line): (usize, &&[u8])| {
        let ended = line.strip_suffix(b"\n");
        let near = if at == 0 { near.clone() } else { 0..0 };
        let text = excerpt::line(ended.unwrap_or(line), near);
        match ended {
            Some(_) => text,
            None => format!("{text} (the line has no end)"),
        }
    };
    Excerpt::Lines {
        first: first as u64 + 1,
        lines: lines
            .iter()
            .take(SHOWN_LINES)
            .enumerate()
            .map(show)
            .collect(),
    }
}

/// Walks over both texts; after each difference it searches the nearest lines
/// that are equal.
struct Hunks<'t> {
    expected: &'t [&'t [u8]],
    got: &'t [&'t [u8]],
    at: (usize, usize),
    offset_bytes: usize,
    comparisons_left: usize,
}

impl<'t> Hunks<'t> {
    fn new(expected: &'t [&'t [u8]], got: &'t [&'t [u8]]) -> Self {
        Self {
            expected,
            got,
            at: (0, 0),
            offset_bytes: 0,
            comparisons_left: MAX_COMPARISONS,
        }
    }

    fn next(&mut self) -> Option<Hunk> {
        let (left, right) = (&self.expected[self.at.0..], &self.got[self.at.1..]);
        let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
        let start = (self.at.0 + same, self.at.1 + same);
        if start == (self.expected.len(), self.got.len()) {
            return None;
        }
        let offset_bytes = self.offset_bytes + bytes_of(&left[..same]);
        let (a, b) = self.length(start);
        self.at = (start.0 + a, start.1 + b);
        let hunk = Hunk {
            expected: start.0..self.at.0,
            got: start.1..self.at.1,
            offset_bytes,
        };
        self.offset_bytes = offset_bytes + bytes_of(&self.expected[hunk.expected.clone()]);
        Some(hunk)
    }

    /// How many lines of each side differ from `start` on.
    fn length(&mut self, start: (usize, usize)) -> (usize, usize) {
        let rest = (self.expected.len() - start.0, self.got.len() - start.1);
        for sum in 1..=AHEAD_LINES.min(rest.0 + rest.1) {
            for a in sum.saturating_sub(rest.1)..=sum.min(rest.0) {
                let b = sum - a;
                if self.meets((start.0 + a, start.1 + b)) {
                    return (a, b);
                }
            }
            if self.comparisons_left == 0 {
                break;
            }
        }
        // Too far: line against line, and whatever one side has more.
        match rest {
            (0, more) => (0, more),
            (more, 0) => (more, 0),
            _ => (1, 1),
        }
    }

    /// Whether the texts go on alike from there: for two lines, since a single
    /// one may be a brace, or to the end of both.
    fn meets(&mut self, at: (usize, usize)) -> bool {
        self.comparisons_left = self.comparisons_left.saturating_sub(1);
        let (left, right) = (&self.expected[at.0..], &self.got[at.1..]);
        match (left, right) {
            ([], []) => true,
            ([a], [b]) => a == b,
            ([a, c, ..], [b, d, ..]) => a == b && c == d,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Found, contents};
    use super::*;

    #[track_caller]
    fn check(expected: &str, got: &str, hunks: &[(Range<usize>, Range<usize>)]) {
        let (a, b) = (lines(expected.as_bytes()), lines(got.as_bytes()));
        let mut walk = Hunks::new(&a, &b);
        let found: Vec<_> = std::iter::from_fn(|| walk.next())
            .map(|hunk| (hunk.expected, hunk.got))
            .collect();
        assert_eq!(found, hunks);
    }

    #[test]
    fn finds_lines_that_differ() {
        check("a\nb\nc\nd\n", "a\nX\nc\nd\n", &[(1..2, 1..2)]);
        check("a\nb\nc\nd\n", "a\nb\nX\nY\nc\nd\n", &[(2..2, 2..4)]);
        check("a\nb\nc\nd\n", "b\nc\nd\n", &[(0..1, 0..0)]);
        check("a\nb\n", "a\nb", &[(1..2, 1..2)]);
        check("", "a\n", &[(0..0, 0..1)]);
        check(
            "a\nb\nc\nd\ne\nf\n",
            "X\nb\nc\nd\nY\nf\n",
            &[(0..1, 0..1), (4..5, 4..5)],
        );
    }

    #[test]
    fn bears_texts_without_a_common_line() {
        let text = |letter: &str| {
            (0..50_000)
                .map(|n| format!("{letter}{n}\n"))
                .collect::<String>()
        };
        let found = contents(text("a").as_bytes(), text("b").as_bytes());
        let listed = found.differences.len() as u64;
        let more: u64 = found.differences.iter().map(|d| d.more).sum();
        assert_eq!(listed + more, 50_000);
    }

    #[test]
    fn shows_the_lines_of_both() {
        let found = contents(b"one\ntwo\nthree\nfour\n", b"one\nTWO\nthree\nfour\n");
        let only = found.only();
        assert_eq!(only.inside, ["line 2"]);
        assert_eq!(only.what, What::Content { offset_bytes: 4 });
        assert_eq!(only.differing_bytes, 3);
        let lines = |text: &str| Excerpt::Lines {
            first: 2,
            lines: vec![text.to_owned()],
        };
        assert_eq!((&only.expected, &only.got), (&lines("two"), &lines("TWO")));
    }

    #[test]
    fn says_that_lines_are_only_on_one_side() {
        let found = contents(b"a\nb\nc\n", b"a\nb\nx\nc\n");
        assert_eq!(found.only().what, What::OnlyGot);
        assert_eq!(found.only().inside, ["line 3"]);
        assert_eq!(found.only().expected, Excerpt::Absent);
        let found = contents(b"a\nb\nc", b"a\nb\nc\n");
        let Excerpt::Lines { lines, .. } = &found.only().expected else {
            panic!("lines")
        };
        assert_eq!(lines, &["c (the line has no end)"]);
    }

    #[test]
    fn sees_another_order_of_lines_and_words() {
        let order = |found: &super::super::Explanation| {
            let clues = &found.only().clues;
            match &clues[..] {
                [Clue::OtherOrder { of, .. }] => of.clone(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(order(&contents(b"x\nb\na\ny\n", b"x\na\nb\ny\n")), "lines");
        assert_eq!(
            order(&contents(
                b"first\nobjs = b.o a.o c.o\n",
                b"first\nobjs = a.o b.o c.o\n"
            )),
            "words"
        );
    }

    #[test]
    fn knows_text() {
        assert!(is_text(b"") && is_text("é\t\r\n".as_bytes()) && is_text(b"\x1b[0m"));
        assert!(!is_text(b"a\0b") && !is_text(b"\xff\xfe"));
    }
}
