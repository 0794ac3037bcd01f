//! What bytes tell about the cause of a difference.

use serde::Serialize;

/// A mark of a cause, found in the bytes that differ. Texts are as they stand
/// there, made readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "clue", rename_all = "snake_case")]
pub enum Clue {
    /// A time that lies within the build that wrote it: the clock's mark.
    TimeOfBuild {
        /// How it is written, such as `ctime text` or `32-bit little endian`.
        form: String,
        /// The time on the expected side.
        expected: String,
        /// The time on the other side.
        got: String,
    },
    /// Both sides are times, but nobody knows of which event.
    Times {
        /// How they are written.
        form: String,
        /// The time on the expected side.
        expected: String,
        /// The time on the other side.
        got: String,
    },
    /// The same things in another order.
    OtherOrder {
        /// What is ordered: `lines`, `words`, `strings`, `members`, …
        of: String,
        /// How the expected side is sorted.
        expected: Sorting,
        /// How the other side is sorted.
        got: Sorting,
    },
    /// The field holds a time, such as when a file was changed.
    ModTime,
    /// The field holds the owner or the group of a file.
    Owner,
    /// The field holds permission bits.
    Mode,
    /// The field holds the number that a file system gave a file.
    Inode,
    /// The field holds how many names a file had.
    Links,
    /// Paths differ: where it was built, or where something was found.
    Path {
        /// The expected one.
        expected: String,
        /// The other one.
        got: String,
    },
    /// The names are such as mktemp and compilers make up for temporary files.
    TemporaryName {
        /// The expected one.
        expected: String,
        /// The other one.
        got: String,
    },
    /// `who@where` differs: a user or a host name.
    UserAtHost {
        /// The expected one.
        expected: String,
        /// The other one.
        got: String,
    },
    /// A decimal number differs: a count of processors, a process id, a number
    /// of the build.
    Number {
        /// The expected one.
        expected: String,
        /// The other one.
        got: String,
    },
    /// Both sides look like addresses in a process.
    Pointer {
        /// The expected one, in hexadecimal.
        expected: String,
        /// The other one.
        got: String,
    },
    /// It looks drawn at random, or hashed.
    RandomLooking {
        /// `UUID`, `hexadecimal` or `bytes`.
        form: String,
    },
    /// A hash of the rest of the file: it follows from another difference.
    BuildId,
    /// A checksum, count or address that follows from another difference.
    Follows,
    /// The same content, compressed in another way: another version, level or
    /// number of threads of the compressor.
    Compressor,
    /// Bytes that nothing uses differ: memory or disk that was not cleared.
    Unused,
}

/// How a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sorting {
    /// By bytes, as the C locale does.
    Bytes,
    /// By letters without their case and without punctuation, as most
    /// languages' locales do.
    Language,
    /// In no order that kiln knows.
    None,
}
