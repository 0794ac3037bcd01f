//! Where bytes may be had, as a manifest says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One place, or one name in many places, where a file may be had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Candidate {
    /// A path below the root of a Debian archive, such as `pool/main/m/…`.
    Debian {
        /// The path, relative and without `..`.
        path: String,
    },
    /// An `http:` or `https:` URL.
    Http {
        /// The URL.
        url: String,
    },
    /// A file of this machine.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
}

/// A text that is no [`Candidate`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a source: {expected}")]
pub struct BadCandidate {
    /// The text as it was given.
    pub text: String,
    /// What would have been right.
    pub expected: &'static str,
}

impl FromStr for Candidate {
    type Err = BadCandidate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |expected| BadCandidate {
            text: text.to_owned(),
            expected,
        };
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(refuse("it may hold no blanks and no control characters"));
        }
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| refuse("expected `debian:`, `https:`, `http:` or `file:`"))?;
        match scheme {
            "debian" if is_archive_path(rest) => Ok(Self::Debian {
                path: rest.to_owned(),
            }),
            "debian" => Err(refuse(
                "expected a path below the root of the archive, such as `debian:pool/main/m/musl/…`",
            )),
            "http" | "https" if has_host(rest) => Ok(Self::Http {
                url: text.to_owned(),
            }),
            "http" | "https" => Err(refuse("it names no host")),
            "file" => absolute(rest).ok_or_else(|| refuse("expected `file:` and an absolute path")),
            _ => Err(refuse("expected `debian:`, `https:`, `http:` or `file:`")),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian { path } => write!(f, "debian:{path}"),
            Self::Http { url } => f.write_str(url),
            Self::File { path } => write!(f, "file:{}", path.display()),
        }
    }
}

fn is_archive_path(path: &str) -> bool {
    let parts = path.split('/');
    !path.is_empty() && parts.into_iter().all(|p| !matches!(p, "" | "." | ".."))
}

fn has_host(rest: &str) -> bool {
    let host = rest.strip_prefix("//").unwrap_or("");
    !host.is_empty() && !host.starts_with(['/', '?', '#', ':'])
}

/// Both `file:/path` and `file:///path` are in use.
fn absolute(rest: &str) -> Option<Candidate> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    path.starts_with('/')
        .then(|| Candidate::File { path: path.into() })
}
