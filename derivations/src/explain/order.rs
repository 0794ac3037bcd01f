//! Lists: whether two hold the same things in another order, and where two
//! byte strings begin and cease to differ.

use std::ops::Range;

use super::clue::{Clue, Sorting};

/// Longer lists are not sorted to be compared.
const MAX_ITEMS: usize = 4_000_000;

/// The part of each side that is left without the common beginning and the
/// common end. Empty on one side if something was only inserted.
pub(super) fn differing<T: PartialEq>(expected: &[T], got: &[T]) -> [Range<usize>; 2] {
    /// Whole pieces first: most of large files is equal.
    const PIECE: usize = 4096;
    let pieces = expected.chunks_exact(PIECE).zip(got.chunks_exact(PIECE));
    let skipped = PIECE * pieces.take_while(|(a, b)| a == b).count();
    let pairs = expected[skipped..].iter().zip(&got[skipped..]);
    let start = skipped + pairs.take_while(|(a, b)| a == b).count();

    let (left, right) = (&expected[start..], &got[start..]);
    let pieces = left.rchunks_exact(PIECE).zip(right.rchunks_exact(PIECE));
    let skipped = PIECE * pieces.take_while(|(a, b)| a == b).count();
    let (left, right) = (
        &left[..left.len() - skipped],
        &right[..right.len() - skipped],
    );
    let pairs = left.iter().rev().zip(right.iter().rev());
    let end = skipped + pairs.take_while(|(a, b)| a == b).count();
    [start..expected.len() - end, start..got.len() - end]
}

/// The clue if both lists hold the same items, each as often, in another order.
pub(super) fn clue<T: AsRef<[u8]> + Ord>(of: &str, expected: &[T], got: &[T]) -> Option<Clue> {
    if expected.len() != got.len() || expected.len() < 2 || expected.len() > MAX_ITEMS {
        return None;
    }
    // Only what is between the common ends has to be sorted.
    let [range, other] = differing(expected, got);
    if range.is_empty() || range.len() != other.len() {
        return None;
    }
    let sorted = |items: &[T]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|&a, &b| items[a].cmp(&items[b]));
        order
    };
    let (left, right) = (&expected[range], &got[other]);
    let same = sorted(left)
        .into_iter()
        .zip(sorted(right))
        .all(|(a, b)| left[a] == right[b]);
    same.then(|| Clue::OtherOrder {
        of: of.to_owned(),
        expected: Sorting::of(expected),
        got: Sorting::of(got),
    })
}

impl Sorting {
    /// How a list is sorted.
    pub(super) fn of<T: AsRef<[u8]>>(items: &[T]) -> Self {
        let ordered = |pair: &[T]| pair[0].as_ref() <= pair[1].as_ref();
        if items.windows(2).all(ordered) {
            return Self::Bytes;
        }
        let ordered = |pair: &[T]| letters(pair[0].as_ref()).le(letters(pair[1].as_ref()));
        match items.windows(2).all(ordered) {
            true => Self::Language,
            false => Self::None,
        }
    }
}

/// What a language's locale looks at first.
fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter()
        .filter(|b| b.is_ascii_alphanumeric() || !b.is_ascii())
        .map(u8::to_ascii_lowercase)
}

/// Words of a line: what is between blanks and the usual separators.
pub(super) fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(|b| b" \t,;:|\"'()[]{}".contains(b))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Strings of a table, each ended by a NUL.
pub(super) fn strings(table: &[u8]) -> Vec<&[u8]> {
    table.split(|&b| b == 0).filter(|s| !s.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorting(items: &[&str]) -> Sorting {
        Sorting::of(items)
    }

    #[test]
    fn cuts_common_ends() {
        assert_eq!(differing(b"abcd", b"abXd"), [2..3, 2..3]);
        assert_eq!(differing(b"aaa", b"aa"), [2..3, 2..2]);
        assert_eq!(differing(b"", b"x"), [0..0, 0..1]);
        assert_eq!(differing(b"x", b"x"), [1..1, 1..1]);
    }

    #[test]
    fn tells_an_order_from_other_items() {
        let clue = |a: &[&str], b: &[&str]| clue("words", a, b);
        assert_eq!(
            clue(&["a", "B", "c"], &["B", "a", "c"]),
            Some(Clue::OtherOrder {
                of: "words".to_owned(),
                expected: Sorting::Language,
                got: Sorting::Bytes,
            })
        );
        assert_eq!(clue(&["a", "b"], &["a", "b"]), None);
        assert_eq!(clue(&["a", "b"], &["b", "c"]), None);
        assert_eq!(clue(&["a", "a", "b"], &["b", "b", "a"]), None);
        assert_eq!(clue(&["a"], &["b"]), None);
    }

    #[test]
    fn knows_how_locales_sort() {
        assert_eq!(sorting(&["A", "B", "a"]), Sorting::Bytes);
        assert_eq!(sorting(&["a", "A", "b", "B_c", "b_d"]), Sorting::Language);
        assert_eq!(sorting(&["b", "a", "c"]), Sorting::None);
    }
}
