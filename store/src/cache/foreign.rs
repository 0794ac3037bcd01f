//! What servers, clients and other programs' files say, as one function a parser: for
//! whoever makes such bytes up (`checks/fuzz`), since the parsers themselves are
//! nobody's business outside their backends. Not part of the library's interface.
//!
//! Nothing here asks a server anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use ureq::http::{Response, StatusCode};
use url::Url;

use super::access::Access;
use super::backend::{Body, ByteRange, Kind, Listed};
use super::credentials::{CredentialsError, Login, aws, docker, netrc};
use super::name::Name;
use super::oci::manifest::Manifest;
use super::oci::{auth, registry};
use super::patience::Patience;
use super::s3::{self, listing};
use super::serve::request::{self, Range};
use super::web::answer::{self, Answer};
use super::web::{Client, Nobody, Site};

/// The file that a path asks `kiln cache serve` for.
pub fn served_name(path: &str) -> Option<Name> {
    request::name(path)
}

/// The part, as start and length, that a `Range` asks `kiln cache serve` for.
pub fn served_part(range: &str, size_bytes: u64) -> Option<(u64, u64)> {
    match request::range(range, size_bytes) {
        Range::Part { start, length } => Some((start, length)),
        Range::Whole | Range::Beyond => None,
    }
}

/// A page of an S3 listing: keys with sizes, and what to ask for next.
pub type S3Page = (Vec<(String, u64)>, Option<String>);

/// A page of an S3 listing.
pub fn s3_page(bytes: &[u8]) -> Result<S3Page, String> {
    let page = listing::Page::parse(bytes)?;
    let files = page.files.into_iter();
    let files = files.map(|file| (file.key, file.size_bytes));
    Ok((files.collect(), page.next))
}

/// The code in an error of S3.
pub fn s3_error(bytes: &[u8]) -> Option<String> {
    listing::error_code(bytes)
}

/// The manifest of a file in a registry.
#[derive(PartialEq, Eq, Debug)]
pub struct OciManifest {
    /// What a listing tells of it.
    pub listed: Option<Listed>,
    /// Its blob's digest, if it is the manifest of the name that was looked for.
    pub digest: Option<String>,
    /// Itself, written again.
    pub written: Vec<u8>,
}

/// Reads a manifest, looked for as that of `name`.
pub fn oci_manifest(bytes: &[u8], name: &Name) -> Result<OciManifest, String> {
    let manifest = Manifest::parse(bytes)?;
    Ok(OciManifest {
        listed: manifest.listed(),
        written: manifest.write(),
        digest: manifest.file(name).ok().map(|file| file.blob.digest),
    })
}

/// A page of a registry's tags.
pub fn oci_tags(bytes: &[u8]) -> Result<Vec<String>, Kind> {
    registry::page_of_tags(bytes)
}

/// The URL of the page after the one that is at the URL `here`, by the `Link` of
/// its answer; none if that is refused.
pub fn oci_next(link: &str, here: &str) -> Option<String> {
    let next = registry::next_page(Some(link), &Url::parse(here).ok()?);
    next.ok()?.map(Into::into)
}

/// The token in an answer of a server that gives them.
pub fn oci_token(bytes: &[u8]) -> Option<String> {
    auth::token(bytes)
}

/// How a registry wants to be convinced, by its `WWW-Authenticate`.
pub fn oci_challenge(text: &str) -> Option<(String, Vec<(String, String)>)> {
    auth::challenge(text)
}

/// The login in docker's configuration for the registry at a URL; none as well
/// if that is no URL.
pub fn docker(text: &str, authority: &str) -> Result<Option<Login>, CredentialsError> {
    match Url::parse(authority) {
        Ok(authority) => docker::find(Path::new("config.json"), text, &authority),
        Err(_) => Ok(None),
    }
}

/// The login for a host in a netrc file.
pub fn netrc(text: &str, host: &str) -> Result<Option<Login>, String> {
    netrc::find(text, host)
}

/// The sections of a file of AWS's tools.
pub fn aws(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, CredentialsError> {
    aws::parse(Path::new("config"), text)
}

/// An answer that nobody gave; none if it is no HTTP.
fn made_up(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let status = StatusCode::from_u16(status).ok()?;
    let response = headers
        .iter()
        .fold(Response::builder().status(status), |response, header| {
            response.header(header.0, header.1)
        });
    response
        .body(ureq::Body::builder().data(body.to_vec()))
        .ok()
}

/// A file or a part of it, if this is what a server answers. Who reads it is not
/// connected again after a cut. `None` if it is no HTTP, or no such file.
pub fn answered(
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    range: Option<ByteRange>,
) -> Result<Option<Body>, Kind> {
    static SITE: LazyLock<Site> = LazyLock::new(|| {
        let access = Access {
            patience: Patience {
                tries: 1,
                ..Patience::default()
            },
            ..Access::anonymous()
        };
        Site {
            client: Arc::new(Client::new(&access)),
            signer: Arc::new(Nobody),
            place: "made up".to_owned(),
            refusal: s3::refusal,
        }
    });
    let Some(answer) = made_up(status, headers, body) else {
        return Ok(None);
    };
    let url = Url::parse("http://made-up.invalid/").map_err(|e| Kind::Protocol(e.to_string()))?;
    SITE.answered(url, range, answer)
}

/// How long an answer says that its server wants to be left alone.
pub fn retry_after(value: &str) -> Option<Duration> {
    let answer = made_up(503, &[("retry-after", value)], b"")?;
    answer::retry_after(&answer, SystemTime::UNIX_EPOCH)
}
