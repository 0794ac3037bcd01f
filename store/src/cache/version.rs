//! Which version of its format a cache is in: one small file that says so.
//!
//! ```text
//! kiln-cache = "kiln cache " version LF     ; version: decimal, from 1, no leading zeros
//! ```
//!
//! A later version may say more after the first line; 4 KiB are read at most. A
//! cache without the file is one of version 1, from before there was such a file
//! or filled without `kiln cache init`.

use super::backend::{Backend, BackendError};
use super::name::Name;
use super::small;

/// The version that this kiln reads and writes.
pub const VERSION: u32 = 1;
/// What the file is called.
pub const FILE: &str = "kiln-cache";
const WORDS: &str = "kiln cache ";
/// The largest such file of any version, in bytes.
const MAX_BYTES: u64 = 4 << 10;

/// Why a cache is not used.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The server.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The file says something else.
    #[error("{place}: `{FILE}` is damaged: expected `{WORDS}` and a version")]
    Damaged {
        /// Which cache.
        place: String,
    },
    /// A newer kiln made it.
    #[error(
        "{place} is a cache of version {found}, but this kiln reads only up to {VERSION}; use the kiln that made it, or another cache"
    )]
    Newer {
        /// Which cache.
        place: String,
        /// Its version.
        found: u32,
    },
}

/// The file of a version, byte for byte.
pub fn encode(version: u32) -> Vec<u8> {
    format!("{WORDS}{version}\n").into_bytes()
}

/// The version that a file tells of, which may be newer than [`VERSION`]; none
/// if it is no such file.
pub fn decode(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (first, rest) = text.split_once('\n')?;
    let version: u32 = first.strip_prefix(WORDS)?.parse().ok()?;
    let is_plain = format!("{WORDS}{version}") == first && version >= 1;
    (is_plain && (rest.is_empty() || version > VERSION)).then_some(version)
}

/// The version that a cache says it has; none if it says nothing. One that is
/// newer than [`VERSION`] is an error.
pub fn read(backend: &dyn Backend) -> Result<Option<u32>, VersionError> {
    let Some(bytes) = small::read(backend, &name(), MAX_BYTES)? else {
        return Ok(None);
    };
    let place = backend.place();
    match decode(&bytes) {
        None => Err(VersionError::Damaged { place }),
        Some(found) if found > VERSION => Err(VersionError::Newer { place, found }),
        found => Ok(found),
    }
}

/// Has a cache say that it is of [`VERSION`].
pub fn write(backend: &dyn Backend) -> Result<(), BackendError> {
    small::write(backend, &name(), &encode(VERSION))
}

/// The name of the file.
pub fn name() -> Name {
    match Name::new(FILE) {
        Ok(name) => name,
        Err(error) => unreachable!("a word of ours: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::memory::Memory;
    use crate::hash::Digest;

    #[test]
    fn the_file_is_fixed() {
        assert_eq!(encode(VERSION), b"kiln cache 1\n");
        let digest = Digest::of(&encode(VERSION)).to_string();
        expect_test::expect!["bb315029e4f710607d34d78b464aa5f6f6d87e83082e4e73466e3fc50dbb4466"]
            .assert_eq(&digest);
    }

    #[test]
    fn a_version_is_read_in_one_spelling() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(decode(text.as_bytes()), expected, "{text:?}");
        };
        check("kiln cache 1\n", Some(1));
        check("kiln cache 2\n", Some(2));
        check("kiln cache 4294967295\nand more\n", Some(u32::MAX));
        for bad in [
            "",
            "kiln cache 1",
            "kiln cache 1\nand more\n",
            "kiln cache 0\n",
            "kiln cache 01\n",
            "kiln cache +1\n",
            "kiln cache 1 \n",
            "kiln cache 4294967296\n",
            "Kiln cache 1\n",
            "<html>\n",
        ] {
            check(bad, None);
        }
        assert_eq!(decode(b"kiln cache 2\n\xff"), None);
    }

    #[test]
    fn a_cache_says_which_version_it_is_or_nothing() {
        let cache = Memory::default();
        assert_eq!(read(&cache).expect("no error"), None);
        write(&cache).expect("memory");
        assert_eq!(read(&cache).expect("it is ours"), Some(VERSION));
        small::write(&cache, &name(), &encode(2)).expect("memory");
        let error = read(&cache).expect_err("it is newer");
        assert!(
            matches!(error, VersionError::Newer { found: 2, .. }),
            "{error}"
        );
        small::write(&cache, &name(), b"<html>").expect("memory");
        let error = read(&cache).expect_err("it is something else");
        assert!(matches!(error, VersionError::Damaged { .. }), "{error}");
        small::write(&cache, &name(), &[b'x'; 5000]).expect("memory");
        let error = read(&cache).expect_err("it is too large");
        assert!(matches!(error, VersionError::Backend(_)), "{error}");
    }
}
