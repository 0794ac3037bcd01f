//! The `meta` file: owners, modes and device nodes of a root file system.
//!
//! A tree keeps names, contents and the executable bit. What else a root file
//! system needs stands in a text file beside it, so that it is hashed and
//! signed with the output. Paths that are not named are root's, 0644 or 0755.
//!
//! ```text
//! meta   = "kiln-meta 1\n" line*              ; sorted by path, no path twice
//! line   = "f" mode uid gid path "\n"         ; a file of the tree
//!        | "d" mode uid gid path "\n"         ; a directory of the tree
//!        | "c" mode uid gid major minor path "\n"   ; a character device
//!        | "b" mode uid gid major minor path "\n"   ; a block device
//! ```
//!
//! Fields are separated by one space; `mode` is four octal digits, numbers are
//! decimal without leading zeros; `path` starts with `/` and runs to the end
//! of the line, with `\\`, newline and bytes beyond ASCII as `\ooo`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::derivation::{Attributes, Device};

/// The first line of the file.
pub const HEADER: &str = "kiln-meta 1";

/// What is said of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A file that the tree has.
    File,
    /// A directory that the tree has.
    Directory,
    /// A device node, which the tree cannot have.
    Device {
        /// Block, or else character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// One line of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// Its mode and owner.
    pub attributes: Attributes,
}

impl From<&Device> for Line {
    fn from(device: &Device) -> Self {
        Self {
            kind: Kind::Device {
                block: device.block,
                major: device.major,
                minor: device.minor,
            },
            attributes: device.attributes,
        }
    }
}

/// All lines by path; a path is bytes with a leading `/`.
pub type Meta = BTreeMap<Vec<u8>, Line>;

/// Why a `meta` file was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("meta file, line {line}: {why}")]
pub struct MetaError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Writes the file.
pub fn write(meta: &Meta) -> String {
    let mut text = format!("{HEADER}\n");
    for (path, line) in meta {
        let Attributes { mode, uid, gid } = line.attributes;
        let (letter, numbers) = match line.kind {
            Kind::File => ('f', String::new()),
            Kind::Directory => ('d', String::new()),
            Kind::Device {
                block,
                major,
                minor,
            } => (if block { 'b' } else { 'c' }, format!(" {major} {minor}")),
        };
        let path = escape(path);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{letter} {mode:04o} {uid} {gid}{numbers} {path}");
    }
    text
}

/// Reads the file; what [`write`] would not have written is refused.
pub fn parse(text: &str) -> Result<Meta, MetaError> {
    let mut lines = text.lines().enumerate();
    let refuse = |line: usize, why| MetaError {
        line: line + 1,
        why,
    };
    if lines.next().map(|(_, line)| line) != Some(HEADER) {
        return Err(refuse(0, "expected the header `kiln-meta 1`"));
    }
    let mut meta = Meta::new();
    for (number, line) in lines {
        let (path, line) = parse_line(line).map_err(|why| refuse(number, why))?;
        meta.insert(path, line);
    }
    if write(&meta) != text {
        return Err(refuse(0, "not in the form that kiln writes"));
    }
    Ok(meta)
}

fn parse_line(line: &str) -> Result<(Vec<u8>, Line), &'static str> {
    let (letter, rest) = line.split_once(' ').ok_or("expected a kind")?;
    let (mode, rest) = rest.split_once(' ').ok_or("expected a mode")?;
    let mode = u32::from_str_radix(mode, 8).map_err(|_| "expected an octal mode")?;
    let (uid, rest) = number(rest)?;
    let (gid, rest) = number(rest)?;
    let (kind, path) = match letter {
        "f" => (Kind::File, rest),
        "d" => (Kind::Directory, rest),
        "b" | "c" => {
            let (major, rest) = number(rest)?;
            let (minor, rest) = number(rest)?;
            let block = letter == "b";
            let device = Kind::Device {
                block,
                major,
                minor,
            };
            (device, rest)
        }
        _ => return Err("expected one of the kinds f, d, b, c"),
    };
    let attributes = Attributes { mode, uid, gid };
    Ok((unescape(path)?, Line { kind, attributes }))
}

fn number(text: &str) -> Result<(u32, &str), &'static str> {
    let (number, rest) = text.split_once(' ').ok_or("expected a number")?;
    let number = number.parse().map_err(|_| "expected a number")?;
    Ok((number, rest))
}

fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'\\' | 0..=31 | 127..=255 => {
                let _ = write!(text, "\\{byte:03o}");
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

fn unescape(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'\\' {
            path.push(byte);
            rest = tail;
            continue;
        }
        let digits = tail
            .get(..3)
            .ok_or("expected three octal digits after `\\`")?;
        let digits = std::str::from_utf8(digits).map_err(|_| "expected octal digits")?;
        path.push(u8::from_str_radix(digits, 8).map_err(|_| "expected octal digits")?);
        rest = &tail[3..];
    }
    if path.first() != Some(&b'/') {
        return Err("expected a path with a leading `/`");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(mode: u32, uid: u32, gid: u32) -> Attributes {
        Attributes { mode, uid, gid }
    }

    #[test]
    fn writes_what_it_reads() {
        let mut meta = Meta::new();
        meta.insert(
            b"/bin/su".to_vec(),
            Line {
                kind: Kind::File,
                attributes: attributes(0o4755, 0, 0),
            },
        );
        meta.insert(
            b"/dev/console".to_vec(),
            Line {
                kind: Kind::Device {
                    block: false,
                    major: 5,
                    minor: 1,
                },
                attributes: attributes(0o622, 0, 5),
            },
        );
        meta.insert(
            b"/odd\n\\\xff name".to_vec(),
            Line {
                kind: Kind::Directory,
                attributes: attributes(0o1777, 7, 8),
            },
        );
        let text = write(&meta);
        assert_eq!(
            text,
            "kiln-meta 1\n\
             f 4755 0 0 /bin/su\n\
             c 0622 0 5 5 1 /dev/console\n\
             d 1777 7 8 /odd\\012\\134\\377 name\n"
        );
        assert_eq!(parse(&text), Ok(meta));
    }

    fn check_refused(text: &str, line: usize) {
        assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
    }

    #[test]
    fn refuses_other_forms() {
        check_refused("", 1);
        check_refused("kiln-meta 2\n", 1);
        check_refused("kiln-meta 1\nf 0644 0 0 x\n", 2);
        check_refused("kiln-meta 1\nf 0644 0 /x\n", 2);
        check_refused("kiln-meta 1\nq 0644 0 0 /x\n", 2);
        check_refused("kiln-meta 1\nf 644 0 0 /x\n", 1);
        check_refused("kiln-meta 1\nf 0644 0 0 /b\nf 0644 0 0 /a\n", 1);
        check_refused("kiln-meta 1\nf 0644 0 0 /a", 1);
    }
}
