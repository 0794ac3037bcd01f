//! What a comparison returns.

use serde::Serialize;

use super::clue::Clue;

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// In the order of a walk through the expected tree.
    pub differences: Vec<Difference>,
    /// Differences that are in none of those and counted by none of their
    /// `more`, because there were too many.
    pub more: u64,
    /// Bounds that were met, as sentences: what was not looked into.
    pub cut: Vec<String>,
}

/// One place where two trees differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The file in the output, from its root and without a leading `/`; bytes
    /// that are no printable text are escaped as `\xNN`.
    pub path: String,
    /// Places within the file, outermost first: ``member `foo.o` ``, `section
    /// .comment`, `line 3`. Empty if it is the file itself.
    pub inside: Vec<String>,
    /// What differs there.
    pub what: What,
    /// The expected side.
    pub expected: Excerpt,
    /// The other side.
    pub got: Excerpt,
    /// What the bytes tell.
    pub clues: Vec<Clue>,
    /// How many bytes differ here; 0 where bytes are not what is compared.
    pub differing_bytes: u64,
    /// Further differences of this kind in this file that are not listed.
    pub more: u64,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It is only on the expected side.
    OnlyExpected,
    /// It is only on the other side.
    OnlyGot,
    /// A file here, a link or a directory there.
    Kind,
    /// Whether it may be executed.
    Executable,
    /// Where a link leads.
    LinkTarget,
    /// The same things stand in another order.
    Order,
    /// A field of a header or of a table.
    Field {
        /// Its name, such as `mtime`.
        name: String,
    },
    /// One side is the beginning of the other.
    Size {
        /// The length of the expected side in bytes.
        expected_bytes: u64,
        /// The length of the other side in bytes.
        got_bytes: u64,
    },
    /// The bytes.
    Content {
        /// Of the first byte that differs, from the start of the expected
        /// side's innermost part that is not a line.
        offset_bytes: u64,
    },
}

/// A readable piece of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Excerpt {
    /// Nothing is there.
    Absent,
    /// A value, in words.
    Value {
        /// The words.
        text: String,
    },
    /// Lines of text, long ones cut to what surrounds the difference.
    Lines {
        /// The number of the first, from 1.
        first: u64,
        /// The lines, without their ends.
        lines: Vec<String>,
    },
    /// Bytes around the first difference.
    Bytes {
        /// Where they begin.
        offset_bytes: u64,
        /// In hexadecimal, two digits each, without blanks.
        hex: String,
        /// As ASCII, with `.` for what is none.
        ascii: String,
    },
}

impl Excerpt {
    /// A value in words.
    pub(super) fn value(text: impl Into<String>) -> Self {
        Self::Value { text: text.into() }
    }
}
