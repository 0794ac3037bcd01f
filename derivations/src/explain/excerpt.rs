//! Bytes made readable: nothing that comes out of here moves a cursor or ends
//! a line.

use std::fmt::Write as _;
use std::ops::Range;

use super::difference::Excerpt;

/// Bytes shown around a difference.
const SHOWN_BYTES: usize = 32;
/// Of them, before its first byte.
const SHOWN_BEFORE: usize = 8;
/// Longer lines are cut to this many bytes around the difference.
const LINE_BYTES: usize = 160;
/// The longest name or value.
const NAME_BYTES: usize = 300;

/// Text with everything that is not printable as `\xNN`.
pub(super) fn readable(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(NAME_BYTES)];
    let mut text = escape(cut);
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '\t' || !(letter.is_control() || moves_text(letter)) {
                text.push(letter);
            } else {
                let mut buffer = [0; 4];
                escape_bytes(&mut text, letter.encode_utf8(&mut buffer).as_bytes());
            }
        }
        escape_bytes(&mut text, chunk.invalid());
    }
    text
}

fn escape_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// Line separators, marks of direction, and what has no width.
fn moves_text(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Some bytes around the one at `at`.
pub(super) fn bytes_around(bytes: &[u8], at: usize, base: u64) -> Excerpt {
    if bytes.is_empty() {
        return Excerpt::Absent;
    }
    // On a border of eight, so that numbers stand where they do in a dump.
    let start = (at.min(bytes.len()).saturating_sub(SHOWN_BEFORE)) / 8 * 8;
    let shown = &bytes[start..bytes.len().min(start + SHOWN_BYTES)];
    let mut hex = String::with_capacity(shown.len() * 2);
    for byte in shown {
        let _ = write!(hex, "{byte:02x}");
    }
    let ascii = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    };
    Excerpt::Bytes {
        offset_bytes: base + start as u64,
        hex,
        ascii: shown.iter().map(ascii).collect(),
    }
}

/// A line, cut to what surrounds `near` if it is long.
pub(super) fn line(bytes: &[u8], near: Range<usize>) -> String {
    if bytes.len() <= LINE_BYTES {
        return escape(bytes);
    }
    let start = near
        .start
        .saturating_sub(LINE_BYTES / 4)
        .min(bytes.len() - LINE_BYTES);
    let end = start + LINE_BYTES;
    let before = if start > 0 { "…" } else { "" };
    let after = if end < bytes.len() { "…" } else { "" };
    format!("{before}{}{after}", escape(&bytes[start..end]))
}

/// `a`, `b` and 3 more.
pub(super) fn list<T: AsRef<[u8]>>(items: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown = items.iter().take(SHOWN).map(|item| {
        let text = readable(item.as_ref());
        format!("`{text}`")
    });
    let text = shown.collect::<Vec<_>>().join(", ");
    match items.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{text} and {more} more"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_is_not_printable() {
        assert_eq!(readable(b"a b\xff\x1b[2J\n"), "a b\\xff\\x1b[2J\\x0a");
        assert_eq!(readable("é\u{202e}x".as_bytes()), "é\\xe2\\x80\\xaex");
        assert_eq!(readable(&[b'a'; 400]).chars().count(), NAME_BYTES + 1);
    }

    #[test]
    fn cuts_long_lines_around_the_difference() {
        let mut long = vec![b'.'; 1000];
        long[500] = b'X';
        let shown = line(&long, 500..501);
        assert!(shown.starts_with("…..") && shown.ends_with("..…") && shown.contains('X'));
        assert!(line(&long, 999..1000).ends_with('.'));
        assert_eq!(line(b"short", 0..0), "short");
    }

    #[test]
    fn shows_bytes_on_borders_of_eight() {
        let bytes: Vec<u8> = (0..100).collect();
        let Excerpt::Bytes {
            offset_bytes,
            hex,
            ascii,
        } = bytes_around(&bytes, 70, 1000)
        else {
            panic!("bytes")
        };
        assert_eq!(offset_bytes, 1056);
        assert_eq!(hex.len(), 64);
        assert_eq!(ascii, "89:;<=>?@ABCDEFGHIJKLMNOPQRSTUVW");
        // Past the end, the end is shown.
        assert_ne!(bytes_around(&bytes, 4000, 0), Excerpt::Absent);
        assert_eq!(bytes_around(&[], 0, 0), Excerpt::Absent);
    }
}
