//! Opens a cache by its URL.

use std::path::PathBuf;

use url::Url;

use super::access::Access;
use super::backend::Backend;
use super::credentials::CredentialsError;
use super::directory::Directory;
use super::http::Http;
use super::oci::Oci;
use super::s3::S3;

/// Why a URL opens no cache. None of it shows user, password or query.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no URL of a cache.
    #[error("`{shown}` is no cache: {problem}")]
    Url {
        /// As much of the URL as may be seen.
        shown: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Who kiln is to it, cannot be told.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl OpenError {
    /// What is wrong with a URL.
    pub(super) fn of_url(url: &Url, problem: &str) -> Self {
        Self::of_text(url.as_str(), problem)
    }

    fn of_text(text: &str, problem: &str) -> Self {
        Self::Url {
            shown: masked(text),
            problem: problem.to_owned(),
        }
    }
}

/// The directory that `url` means, if it means one.
pub fn directory(url: &str) -> Result<Option<PathBuf>, OpenError> {
    match Url::parse(url) {
        _ if url.starts_with('/') => Ok(Some(PathBuf::from(url))),
        Ok(parsed) if parsed.scheme() == "file" => path_of(&parsed).map(Some),
        _ => Ok(None),
    }
}

/// Opens the cache at `url`: `file:` or an absolute path, `http:`, `https:`,
/// `s3:`, `oci:` (`oci+http:` without TLS). It is not asked anything yet.
pub fn open(url: &str, access: &Access) -> Result<Box<dyn Backend>, OpenError> {
    if url.starts_with('/') {
        return Ok(Box::new(Directory::new(url).paced(access.pace.clone())));
    }
    let bad = |problem: &str| OpenError::of_text(url, problem);
    let parsed = Url::parse(url).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => bad(
            "expected an absolute path, or a URL that begins with file:, http:, https:, s3: or oci:",
        ),
        error => bad(&error.to_string()),
    })?;
    match parsed.scheme() {
        "file" => {
            let directory = Directory::new(path_of(&parsed)?);
            Ok(Box::new(directory.paced(access.pace.clone())))
        }
        "http" | "https" if parsed.query().is_some() || parsed.fragment().is_some() => {
            Err(bad("a directory on a web server has no `?` and no `#`"))
        }
        "http" | "https" => Ok(Box::new(Http::new(&parsed, access)?)),
        "s3" => Ok(Box::new(S3::new(&parsed, access)?)),
        "oci" | "oci+http" => Ok(Box::new(Oci::new(&parsed, access)?)),
        scheme => Err(bad(&format!(
            "`{scheme}:` is not known; expected file:, http:, https:, s3: or oci:"
        ))),
    }
}

fn path_of(url: &Url) -> Result<PathBuf, OpenError> {
    let is_local = matches!(url.host_str(), None | Some("localhost"));
    let path = url.to_file_path().ok().filter(|_| is_local);
    path.ok_or_else(|| OpenError::of_url(url, "expected `file:///absolute/path`"))
}

/// A URL, or what was meant as one, without user, password and query.
fn masked(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}…@{rest}"),
        None => format!("{scheme}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::credentials::Credentials;

    #[test]
    fn urls_are_opened_by_their_scheme() {
        let check = |url: &str, expected: Result<&str, &str>| {
            let access = Access {
                credentials: Credentials::none(),
                ..Access::anonymous()
            };
            match (open(url, &access), expected) {
                (Ok(cache), Ok(place)) => assert_eq!(cache.place(), place, "{url}"),
                (Err(error), Err(part)) => {
                    let error = error.to_string();
                    assert!(error.contains(part) && !error.contains("h1dden"), "{error}");
                }
                (got, expected) => panic!("{url}: {:?}, not {expected:?}", got.map(|c| c.place())),
            }
        };
        check("/var/cache/kiln", Ok("/var/cache/kiln"));
        check("file:///var/a%20b", Ok("/var/a b"));
        check(
            "http://me:h1dden@a.example:8080/x",
            Ok("http://a.example:8080/x/"),
        );
        check("https://a.example", Ok("https://a.example/"));
        check(
            "s3://bucket/x?endpoint=http://[::1]:9000",
            Ok("s3://bucket/x at http://[::1]:9000"),
        );
        check(
            "oci://r.example:5000/team/cache",
            Ok("oci://r.example:5000/team/cache"),
        );
        check(
            "oci+http://localhost:5000/c",
            Ok("oci+http://localhost:5000/c"),
        );
        check("cache", Err("expected an absolute path"));
        check("./cache", Err("expected an absolute path"));
        check("file://host/x", Err("file:///absolute/path"));
        check("ftp://me:h1dden@a.example/x", Err("`ftp:` is not known"));
        check("http://me:h1dden@/x", Err("empty host"));
        check("https://a.example/x?sig=h1dden", Err("no `?`"));
        check("oci://r.example", Err("oci://HOST"));
        check("oci://r.example/Team", Err("lower-case"));
        check("oci://me:h1dden@r.example/team", Err("docker"));
    }
}
