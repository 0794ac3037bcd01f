//! Where a repository is: `oci://HOST[:PORT]/REPOSITORY`. Pure.

use url::Url;

use crate::cache::open::OpenError;

/// A registry and a repository on it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `https://HOST[:PORT]/`.
    pub(super) registry: Url,
    repository: String,
    /// For messages.
    pub(super) shown: String,
}

impl Place {
    pub(super) fn of_url(url: &Url) -> Result<Self, OpenError> {
        let bad = |problem: &str| OpenError::of_url(url, problem);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "logins to registries are kept in docker's config.json, or in KILN_CACHE_TOKENS",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("a repository has no `?` and no `#`"));
        }
        let repository = url.path().trim_matches('/');
        let host = url.host_str().filter(|host| !host.is_empty());
        let (Some(host), false) = (host, repository.is_empty()) else {
            return Err(bad("expected `oci://HOST[:PORT]/REPOSITORY`"));
        };
        if !repository.split('/').all(is_part) {
            return Err(bad(
                "a repository is lower-case letters and digits, with `.`, `_`, `-` and `/` between them",
            ));
        }
        let scheme = match url.scheme() {
            "oci+http" => "http",
            _ => "https",
        };
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let registry = Url::parse(&format!("{scheme}://{host}{port}/"));
        Ok(Self {
            registry: registry.map_err(|error| bad(&error.to_string()))?,
            repository: repository.to_owned(),
            shown: format!("{}://{host}{port}/{repository}", url.scheme()),
        })
    }

    /// A URL of the repository.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.registry.clone();
        url.set_path(&format!("/v2/{}/{path}", self.repository));
        url
    }
}

fn is_part(part: &str) -> bool {
    let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let is_any = |byte: u8| is_inner(byte) || matches!(byte, b'.' | b'_' | b'-');
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| is_inner(*first) && is_inner(*last))
        && bytes.iter().all(|byte| is_any(*byte))
}
