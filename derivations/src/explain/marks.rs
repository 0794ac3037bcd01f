//! Marks of causes in bytes that differ: times, paths, names, numbers,
//! addresses, random values.

use std::ops::Range;

use super::clue::Clue;
use super::excerpt::readable;
use super::look::Pair;
use super::order::{self, differing};
use super::time::{self, Spot, Window, Windows};

/// Marks that are told of one difference.
const MAX_CLUES: usize = 4;
/// Words of one difference in which marks are looked for.
const MAX_WORDS: usize = 64;
/// The longest word that is looked at.
const MAX_WORD_BYTES: usize = 512;

/// What two byte strings tell where they differ.
pub(super) fn clues(pair: Pair<'_>, windows: &Windows) -> Vec<Clue> {
    let [expected, got] = differing(pair.expected, pair.got);
    clues_near(pair, expected, got, windows)
}

/// What two byte strings tell near the ranges where they differ.
pub(super) fn clues_near(
    pair: Pair<'_>,
    expected: Range<usize>,
    got: Range<usize>,
    windows: &Windows,
) -> Vec<Clue> {
    let spot = |bytes, near| Spot { bytes, near };
    let mut found = Vec::new();
    let (expected, got) = (spot(pair.expected, expected), spot(pair.got, got));
    collect(&mut found, &expected, &got, windows);
    found
}

/// One time, what is before and after it, and what their words tell.
fn collect(found: &mut Vec<Clue>, expected: &Spot<'_>, got: &Spot<'_>, windows: &Windows) {
    if found.len() >= MAX_CLUES || (expected.near.is_empty() && got.near.is_empty()) {
        return;
    }
    if let Some(time) = time::clue(expected, got, windows) {
        if !add(found, time.clue) {
            return;
        }
        let parts = [
            (expected.before(&time.expected), got.before(&time.got)),
            (expected.after(&time.expected), got.after(&time.got)),
        ];
        for (a, b) in &parts {
            if !a.near.is_empty() && !b.near.is_empty() {
                collect(found, a, b, windows);
            }
        }
    } else if let Some(clue) = mark(expected, got) {
        add(found, clue);
    } else {
        by_word(found, expected, got);
    }
}

/// Says whether it is a new one.
fn add(found: &mut Vec<Clue>, clue: Clue) -> bool {
    let new = found.len() < MAX_CLUES && !found.contains(&clue);
    if new {
        found.push(clue);
    }
    new
}

/// The first mark of all kinds but times.
fn mark(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let kinds = [
        temporary_name,
        uuid,
        pointer_text,
        path,
        user_at_host,
        number,
        hexadecimal,
        pointer,
        random_bytes,
    ];
    kinds.iter().find_map(|kind| kind(expected, got))
}

/// Where several words differ, each of them; the nth belongs to the nth.
fn by_word(found: &mut Vec<Clue>, expected: &Spot<'_>, got: &Spot<'_>) {
    let pairs = whole_words(expected).zip(whole_words(got)).take(MAX_WORDS);
    for (a, b) in pairs.filter(|(a, b)| a != b) {
        let [left, right] = differing(a, b);
        let spot = |bytes, near| Spot { bytes, near };
        if let Some(clue) = mark(&spot(a, left), &spot(b, right)) {
            add(found, clue);
        }
    }
}

/// The words that the difference touches: what is between blanks and NULs.
fn whole_words<'a>(spot: &Spot<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let ends = |b: &u8| b.is_ascii_whitespace() || *b == 0;
    let end = spot.near.end.min(spot.bytes.len());
    let start = spot.near.start.min(end);
    let before = spot.bytes[..start].iter().rposition(ends);
    let after = spot.bytes[end..].iter().position(ends);
    let start = before.map_or(0, |at| at + 1);
    let words = &spot.bytes[start..after.map_or(spot.bytes.len(), |at| end + at)];
    words
        .split(move |b| ends(b))
        .filter(|word| !word.is_empty())
}

/// What the name of a file tells that only one side has.
pub(super) fn name(name: &[u8], window: Option<Window>) -> Option<Clue> {
    if let Some((form, text)) = time::in_window(name, window) {
        return Some(Clue::TimeOfBuild {
            form: form.to_owned(),
            expected: text.clone(),
            got: text,
        });
    }
    let is_uuid = (0..name.len()).any(|at| is_uuid(&name[at..]));
    is_uuid.then(|| Clue::RandomLooking {
        form: "UUID".to_owned(),
    })
}

/// The bytes around the difference for which `is` holds.
fn grow<'a>(spot: &Spot<'a>, is: impl Fn(u8) -> bool) -> &'a [u8] {
    let near = spot.near.start.min(spot.bytes.len())..spot.near.end.min(spot.bytes.len());
    if near.len() > MAX_WORD_BYTES || !spot.bytes[near.clone()].iter().all(|&b| is(b)) {
        return &[];
    }
    let before = &spot.bytes[..near.start];
    let after = &spot.bytes[near.end..];
    let fits = |bytes: &mut dyn Iterator<Item = &u8>| {
        bytes.take(MAX_WORD_BYTES).take_while(|b| is(**b)).count()
    };
    let start = near.start - fits(&mut before.iter().rev());
    let end = near.end + fits(&mut after.iter());
    &spot.bytes[start..end]
}

/// The words of both sides, if there are any.
fn words<'a>(
    expected: &Spot<'a>,
    got: &Spot<'a>,
    is: impl Fn(u8) -> bool,
) -> Option<(&'a [u8], &'a [u8])> {
    let (a, b) = (grow(expected, &is), grow(got, &is));
    (!a.is_empty() && !b.is_empty() && a != b).then_some((a, b))
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+~@%".contains(&byte) || !byte.is_ascii()
}

fn temporary_name(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, is_path_byte)?;
    let both = a.split(|&b| b == b'/').zip(b.split(|&b| b == b'/'));
    let (a, b) = { both }.find(|(a, b)| a != b)?;
    (is_temporary(a) && is_temporary(b)).then(|| Clue::TemporaryName {
        expected: readable(a),
        got: readable(b),
    })
}

/// `tmp.Xa83kfLe0q`, `tmpx8d_k2a1`, `cc8QkR2a.o`, `.tmp12ab`.
fn is_temporary(name: &[u8]) -> bool {
    let stem = |prefix: &[u8]| {
        let rest = name.strip_prefix(prefix)?;
        let end = rest.iter().position(|&b| b == b'.').unwrap_or(rest.len());
        Some(&rest[..end])
    };
    let is_drawn = |stem: Option<&[u8]>, lengths: Range<usize>| {
        stem.is_some_and(|stem| {
            lengths.contains(&stem.len())
                && stem.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_')
        })
    };
    is_drawn(stem(b"tmp."), 6..13)
        || is_drawn(stem(b"tmp"), 6..13)
        || is_drawn(stem(b".tmp"), 4..13)
        || is_drawn(stem(b"cc"), 6..7)
}

fn path(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, is_path_byte)?;
    let is_path = |word: &[u8]| {
        let slash = word.iter().position(|&b| b == b'/');
        slash.is_some_and(|at| word.len() > at + 1)
    };
    (is_path(a) && is_path(b)).then(|| Clue::Path {
        expected: readable(a),
        got: readable(b),
    })
}

fn user_at_host(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, |byte| byte != b'/' && is_path_byte(byte))?;
    let is = |word: &[u8]| {
        let at = word.iter().position(|&b| b == b'@');
        at.is_some_and(|at| at > 0 && at + 1 < word.len())
    };
    (is(a) && is(b)).then(|| Clue::UserAtHost {
        expected: readable(a),
        got: readable(b),
    })
}

fn number(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, |byte| byte.is_ascii_alphanumeric())?;
    // `v12` and `12k` hold numbers too, `4f00` does not.
    let (a, b) = (between_letters(a)?, between_letters(b)?);
    let is = |text: &[u8]| text.len() <= 10 && text.iter().all(u8::is_ascii_digit);
    (is(a) && is(b) && a != b).then(|| Clue::Number {
        expected: readable(a),
        got: readable(b),
    })
}

/// The one run of digits of a word.
fn between_letters(word: &[u8]) -> Option<&[u8]> {
    let start = word.iter().position(u8::is_ascii_digit)?;
    let end = word.iter().rposition(u8::is_ascii_digit)? + 1;
    Some(&word[start..end])
}

fn uuid(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, |b| b.is_ascii_hexdigit() || b == b'-')?;
    (is_uuid(a) && is_uuid(b)).then(|| Clue::RandomLooking {
        form: "UUID".to_owned(),
    })
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() >= 36
        && text[..36].iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn hexadecimal(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, |b| b.is_ascii_hexdigit())?;
    let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
    // By chance, one digit of sixteen is the same.
    let drawn = a.len() >= 8 && a.len() == b.len() && same * 3 < a.len();
    drawn.then(|| Clue::RandomLooking {
        form: "hexadecimal".to_owned(),
    })
}

fn pointer_text(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let (a, b) = words(expected, got, |b| b.is_ascii_hexdigit())?;
    let address = |text: &[u8]| {
        let text = std::str::from_utf8(text).ok()?;
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|&a| is_address(a))
    };
    pointers(address(a)?, address(b)?)
}

fn pointer(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    if expected.near.len() > 8 || expected.near != got.near {
        return None;
    }
    let at = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?)).filter(|&a| is_address(a))
    };
    let first = expected.near.end.saturating_sub(8);
    (first..=expected.near.start).find_map(|start| {
        let (a, b) = (at(expected.bytes, start)?, at(got.bytes, start)?);
        pointers(a, b)
    })
}

fn pointers(expected: u64, got: u64) -> Option<Clue> {
    (expected != got).then(|| Clue::Pointer {
        expected: format!("{expected:#x}"),
        got: format!("{got:#x}"),
    })
}

/// Where Linux puts programs, heaps, libraries and stacks: on x86_64 in 47
/// bits, on aarch64 in 48.
fn is_address(number: u64) -> bool {
    let high = number >> 36;
    let x86_64 = (0x550..0x570).contains(&high) || (0x7e0..0x800).contains(&high);
    let aarch64 = (0xaaa..0xab0).contains(&high) || (0xff0..0x1000).contains(&high);
    x86_64 || aarch64
}

fn random_bytes(expected: &Spot<'_>, got: &Spot<'_>) -> Option<Clue> {
    let drawn = |spot: &Spot<'_>| {
        let end = spot
            .near
            .end
            .min(spot.near.start + 64)
            .min(spot.bytes.len());
        spot.bytes.get(spot.near.start..end).is_some_and(|bytes| {
            let mut seen = [false; 256];
            bytes.iter().for_each(|&b| seen[usize::from(b)] = true);
            let distinct = seen.iter().filter(|seen| **seen).count();
            let text = bytes.iter().filter(|b| matches!(b, b' '..=b'~')).count();
            // Text is some 95 of 256 bytes: more than half is hardly chance.
            bytes.len() >= 7 && distinct * 10 >= bytes.len() * 7 && text * 4 < bytes.len() * 3
        })
    };
    let (a, b) = (expected.bytes, got.bytes);
    let alike = expected.near == got.near && a.len() == b.len();
    (alike && drawn(expected) && drawn(got)).then(|| Clue::RandomLooking {
        form: "bytes".to_owned(),
    })
}

/// The same words of a line in another order.
pub(super) fn word_order(pair: Pair<'_>) -> Option<Clue> {
    order::clue(
        "words",
        &order::words(pair.expected),
        &order::words(pair.got),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expected: &[u8], got: &[u8]) -> Vec<Clue> {
        clues(Pair { expected, got }, &Windows::default())
    }

    #[track_caller]
    fn check(expected: &[u8], got: &[u8], clue: Clue) {
        assert_eq!(of(expected, got), [clue]);
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn finds_paths_and_names() {
        check(
            b"dir=\"/build/a/src\";",
            b"dir=\"/home/me/src\";",
            Clue::Path {
                expected: text("/build/a/src"),
                got: text("/home/me/src"),
            },
        );
        check(
            b"at /tmp/ccA1b2C3.o now",
            b"at /tmp/ccZ9y8X7.o now",
            Clue::TemporaryName {
                expected: text("ccA1b2C3.o"),
                got: text("ccZ9y8X7.o"),
            },
        );
        check(
            b"(root@builder1)",
            b"(root@other)",
            Clue::UserAtHost {
                expected: text("root@builder1"),
                got: text("root@other"),
            },
        );
    }

    #[test]
    fn finds_numbers() {
        check(
            b"built with -j2 by hand",
            b"built with -j13 by hand",
            Clue::Number {
                expected: text("2"),
                got: text("13"),
            },
        );
        check(
            b"p=0x7f3a12345678\n",
            b"p=0x7f91aabbc678\n",
            Clue::Pointer {
                expected: text("0x7f3a12345678"),
                got: text("0x7f91aabbc678"),
            },
        );
        let number = |n: u64| [&[1, 2, 3][..], &n.to_le_bytes(), &[4]].concat();
        check(
            &number(0x55d0_1234_5678),
            &number(0x5611_9876_5678),
            Clue::Pointer {
                expected: text("0x55d012345678"),
                got: text("0x561198765678"),
            },
        );
    }

    #[test]
    fn finds_what_was_drawn() {
        let random = |form| Clue::RandomLooking { form: text(form) };
        check(
            b"id 5ad2e9c1-70f3-4c11-9a57-d0e1f2a3b4c5",
            b"id 0b1c2d3e-9f80-4d22-8b68-e1f2031425d6",
            random("UUID"),
        );
        check(
            b"seed=9f83ac0012d4e5f6",
            b"seed=417b2e9dc80f3a55",
            random("hexadecimal"),
        );
        check(
            &[0x91, 0x02, 0xf3, 0x84, 0xe5, 0x16, 0x97, 0xc8],
            &[0x13, 0xa4, 0xb5, 0xd6, 0x07, 0xe8, 0x29, 0x3a],
            random("bytes"),
        );
    }

    #[test]
    fn tells_all_marks_of_one_difference() {
        let windows = super::super::fixture::windows();
        let of = |expected, got| clues(Pair { expected, got }, &windows);
        let found = of(
            &b"at Sat Nov 21 15:30:01 2026 in /build/one by pid 17 now"[..],
            &b"at Sun Nov 22 15:30:02 2026 in /build/two-b by pid 171 now"[..],
        );
        let [
            Clue::TimeOfBuild { .. },
            Clue::Path { expected, got },
            Clue::Number { .. },
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((&**expected, &**got), ("/build/one", "/build/two-b"));

        // The time itself is no number.
        let found = of(
            &b"\x01Nov 21 2026 15:30:01\0/build/one/a.c\0"[..],
            &b"\x01Nov 22 2026 15:30:07\0/build/two/a.c\0"[..],
        );
        let told = matches!(found[..], [Clue::TimeOfBuild { .. }, Clue::Path { .. }]);
        assert!(told, "{found:?}");

        // A table of strings, as debuggers read them.
        let found = of(
            &b"/build/one/a.c\0/build/one\0/usr/include\0"[..],
            &b"/build/two-b/a.c\0/build/two-b\0/usr/include\0"[..],
        );
        assert!(
            matches!(found[..], [Clue::Path { .. }, Clue::Path { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn accuses_nothing_without_a_mark() {
        assert_eq!(of(b"some text", b"some rest"), []);
        assert_eq!(of(&[1, 2, 3], &[1, 9, 3]), []);
        assert_eq!(of(b"", b"x"), []);
    }

    #[test]
    fn finds_marks_in_names() {
        let window = Some(Window {
            start_s: 1_795_275_000,
            end_s: 1_795_275_010,
        });
        let clue = name(b"log-20261121153001.txt", window);
        assert!(matches!(clue, Some(Clue::TimeOfBuild { .. })), "{clue:?}");
        assert_eq!(name(b"log-20261121153001.txt", None), None);
        assert_eq!(name(b"log", window), None);
        let clue = name(b"x-5ad2e9c1-70f3-4c11-9a57-d0e1f2a3b4c5", None);
        assert!(matches!(clue, Some(Clue::RandomLooking { .. })));
    }
}
