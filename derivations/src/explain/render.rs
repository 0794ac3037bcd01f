//! Differences as plain lines for people.

use std::fmt;

use super::clue::{Clue, Sorting};
use super::difference::{Difference, Excerpt, Explanation, What};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more differences", self.more)?;
        }
        for cut in &self.cut {
            writeln!(f, "not compared to the end: {cut}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    /// Several lines, without an end of the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        for place in &self.inside {
            write!(f, ", {place}")?;
        }
        write!(f, ": {}", self.what)?;
        match self.differing_bytes {
            0 => {}
            1 => f.write_str(" (1 byte)")?,
            bytes => write!(f, " ({bytes} bytes)")?,
        }
        for (side, excerpt) in [("expected", &self.expected), ("got", &self.got)] {
            for line in lines(excerpt) {
                write!(f, "\n  {side:<8} {line}")?;
            }
        }
        for clue in &self.clues {
            write!(f, "\n  clue     {clue}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more like it in this file"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyExpected => f.write_str("only on the expected side"),
            Self::OnlyGot => f.write_str("only on the other side"),
            Self::Kind => f.write_str("another kind of thing"),
            Self::Executable => f.write_str("the executable bit differs"),
            Self::LinkTarget => f.write_str("the link leads elsewhere"),
            Self::Order => f.write_str("another order"),
            Self::Field { name } => write!(f, "{name} differs"),
            Self::Size {
                expected_bytes,
                got_bytes,
            } => write!(f, "{expected_bytes} bytes expected, {got_bytes} found"),
            Self::Content { offset_bytes } => write!(f, "differs from byte {offset_bytes:#x}"),
        }
    }
}

fn lines(excerpt: &Excerpt) -> Vec<String> {
    match excerpt {
        Excerpt::Absent => vec!["nothing".to_owned()],
        Excerpt::Value { text } => vec![text.clone()],
        Excerpt::Lines { first, lines } => {
            let numbered = lines.iter().zip(*first..);
            numbered
                .map(|(line, number)| format!("{number}: {line}"))
                .collect()
        }
        Excerpt::Bytes {
            offset_bytes,
            hex,
            ascii,
        } => dump(*offset_bytes, hex, ascii),
    }
}

/// Sixteen bytes a line, as other tools show them.
fn dump(offset_bytes: u64, hex: &str, ascii: &str) -> Vec<String> {
    const LINE_BYTES: usize = 16;
    let rows = hex
        .as_bytes()
        .chunks(2 * LINE_BYTES)
        .zip(ascii.as_bytes().chunks(LINE_BYTES));
    let row = |(row, (hex, ascii)): (usize, (&[u8], &[u8]))| {
        let pairs: Vec<_> = hex.chunks(2).map(String::from_utf8_lossy).collect();
        let offset = offset_bytes + (row * LINE_BYTES) as u64;
        let ascii = String::from_utf8_lossy(ascii);
        format!("{offset:08x}  {:<47}  {ascii}", pairs.join(" "))
    };
    rows.enumerate().map(row).collect()
}

impl fmt::Display for Clue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = |f: &mut fmt::Formatter<'_>, what: &str, expected: &str, got: &str| {
            write!(f, "{what}: {expected} / {got}")
        };
        match self {
            Self::TimeOfBuild {
                form,
                expected,
                got,
            } => write!(f, "the time of the build, {form}: {expected} / {got}"),
            Self::Times {
                form,
                expected,
                got,
            } => write!(f, "two times, {form}: {expected} / {got}"),
            Self::OtherOrder { of, expected, got } => {
                write!(f, "the same {of} in another order: {expected} / {got}")
            }
            Self::ModTime => f.write_str("the field holds a time"),
            Self::Owner => f.write_str("the owner of a file"),
            Self::Mode => f.write_str("the permissions of a file"),
            Self::Inode => f.write_str("the number that a file system gave a file"),
            Self::Links => f.write_str("how many names a file had"),
            Self::Path { expected, got } => both(f, "a path", expected, got),
            Self::TemporaryName { expected, got } => {
                both(f, "the name of a temporary file", expected, got)
            }
            Self::UserAtHost { expected, got } => both(f, "a user or a host name", expected, got),
            Self::Number { expected, got } => both(f, "a number", expected, got),
            Self::Pointer { expected, got } => both(f, "an address in a process", expected, got),
            Self::RandomLooking { form } => write!(f, "it looks random ({form})"),
            Self::BuildId => f.write_str("a build id: it follows from the rest of the file"),
            Self::Follows => f.write_str("it follows from another difference"),
            Self::Compressor => f.write_str("the same content, compressed in another way"),
            Self::Unused => f.write_str("nothing uses these bytes: they were not cleared"),
        }
    }
}

impl fmt::Display for Sorting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "sorted by bytes",
            Self::Language => "sorted as a language does",
            Self::None => "not sorted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{EXPECTED_S, GOT_S, contents};

    #[track_caller]
    fn check(expected: &[u8], got: &[u8], text: &str) {
        assert_eq!(contents(expected, got).to_string(), text);
    }

    #[test]
    fn shows_lines() {
        check(
            format!("one\nbuilt at {EXPECTED_S}\nthree\n").as_bytes(),
            format!("one\nbuilt at {GOT_S}\nthree\n").as_bytes(),
            "\
file, line 2: differs from byte 0x11 (4 bytes)
  expected 2: built at 1795275000
  got      2: built at 1795361400
  clue     the time of the build, seconds in decimal: 1795275000 (2026-11-21 15:30:00) / 1795361400 (2026-11-22 15:30:00)
",
        );
    }

    #[test]
    fn shows_bytes() {
        let mut got = [0_u8; 64];
        got[20] = 0xff;
        check(
            &[0; 64],
            &got,
            "\
file: differs from byte 0x14 (1 byte)
  expected 00000008  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  expected 00000018  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  got      00000008  00 00 00 00 00 00 00 00 00 00 00 00 ff 00 00 00  ................
  got      00000018  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
",
        );
    }

    #[test]
    fn shows_orders_and_ends() {
        check(
            b"a\nB\n",
            b"B\na\n",
            "\
file, line 1: differs from byte 0x0 (4 bytes)
  expected 1: a
  expected 2: B
  got      1: B
  got      2: a
  clue     the same lines in another order: sorted as a language does / sorted by bytes
",
        );
        check(
            b"",
            b"x",
            "\
file, line 1: only on the other side (1 byte)
  expected nothing
  got      1: x (the line has no end)
",
        );
    }
}
