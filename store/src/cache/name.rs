//! Names of files in a cache: paths that mean the same to a directory, a web
//! server, a bucket and a registry.

use std::fmt;

/// The longest name in bytes.
pub const MAX_NAME_BYTES: usize = 240;

/// A relative path of lower-case letters, digits, `-`, `_` and `.`, its parts
/// separated by single slashes. No part begins with a dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Name(String);

/// A text that is no name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is no name of a file in a cache: expected parts of a-z, 0-9, `-`, `_` and `.`, separated by `/`, {MAX_NAME_BYTES} bytes at most"
)]
pub struct BadName(pub String);

impl Name {
    /// Checks a text.
    pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
        let text = text.into();
        let good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let part =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(good);
        match text.len() <= MAX_NAME_BYTES && text.split('/').all(part) {
            true => Ok(Self(text)),
            false => Err(BadName(text)),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_or_differ_between_systems_are_refused() {
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", ".hidden", "a/.b", "A", "a b", "ä",
            "a\\b", "a\0", &long,
        ] {
            assert_eq!(Name::new(text), Err(BadName(text.to_owned())));
        }
        for text in ["a", "a.b", "packs/0a/0a1b.pack", "a-b_c"] {
            assert_eq!(
                Name::new(text).map(|name| name.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}
