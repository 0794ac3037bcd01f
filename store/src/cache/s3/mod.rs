//! A cache in a bucket of an S3-compatible store.
//!
//! Requests are signed (SigV4, in the query) by rusty-s3, which opens no
//! socket; they are sent as to any web server. A signed URL is a secret for as
//! long as it holds, so no error shows one.
//!
//! - `place`: `s3://BUCKET/PREFIX?endpoint=URL&region=NAME&style=path|host`.
//! - `sign`: who asks.
//! - `listing`: what servers answer in XML. Pure.

pub(super) mod listing;
mod place;
mod sign;

use std::sync::Arc;

use ureq::http::Method;
use url::Url;

use self::listing::{Page, error_code};
use self::place::Bucket;
use self::sign::Keys;
use super::access::Access;
use super::backend::{Body, ByteRange, Kind, Listed, Source};
use super::files::Files;
use super::name::Name;
use super::open::OpenError;
use super::web::answer::{Answer, refusal as by_status, shown, text, whole};
use super::web::{Client, Question, Site, Tries, Upload, Written};

/// A page of a listing has a thousand names.
const PAGE_BYTES: u64 = 16 << 20;
const MAX_PAGES: usize = 100_000;
const ERROR_BYTES: u64 = 64 << 10;

/// A cache in a bucket.
pub struct S3 {
    site: Site,
    bucket: Bucket,
}

impl S3 {
    /// The cache at `url`, which has the scheme `s3`.
    pub fn new(url: &Url, access: &Access) -> Result<Self, OpenError> {
        let aws = access.credentials.for_s3()?;
        let bucket = Bucket::of_url(url, &aws)?;
        let keys = Keys::new(aws.keys, bucket.region());
        Ok(Self {
            site: Site {
                client: Arc::new(Client::new(access)),
                signer: Arc::new(keys),
                place: bucket.place(),
                refusal,
            },
            bucket,
        })
    }

    fn page(&self, prefix: &str, token: Option<&str>) -> Result<Page, Kind> {
        let url = self.bucket.url_of_listing(prefix, token);
        let question = Question::new(Method::GET, url);
        let signer = &*self.site.signer;
        let bytes = self.site.client.ask(signer, &question, None, |answer| {
            match answer.status().as_u16() {
                200 => whole(answer, PAGE_BYTES),
                _ => Err(refusal(answer)),
            }
        })?;
        Page::parse(&bytes).map_err(Kind::Protocol)
    }
}

impl Files for S3 {
    fn place(&self) -> String {
        self.site.place.clone()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, Kind> {
        self.site
            .open(self.bucket.url_of(name), name.as_str(), range)
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, Kind> {
        self.site.size(self.bucket.url_of(name))
    }

    fn sends_parts(&self, name: &Name) -> Result<Option<bool>, Kind> {
        self.site.sends_parts(self.bucket.url_of(name))
    }

    fn put(&self, name: &Name, content: &mut dyn Source, size_bytes: u64) -> Result<(), Kind> {
        let mut upload = Upload::new(content, size_bytes)?;
        let url = self.bucket.url_of(name);
        let client = &self.site.client;
        client.persist(&mut Tries::default(), || {
            match self.site.put(&url, &mut upload)? {
                Written::Done => Ok(()),
                // Two writers at once, of which the other was first.
                Written::Conflict => {
                    Err(Kind::Busy("the server says 409 Conflict".to_owned()).into())
                }
            }
        })
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, Kind> {
        let mut listed = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.page(prefix, token.as_deref())?;
            listed.extend(
                page.files
                    .into_iter()
                    .filter_map(|file| self.bucket.listed(file)),
            );
            match page.next {
                None => return Ok(Some(listed)),
                Some(next) if token.as_ref() == Some(&next) => {
                    return Err(Kind::Protocol("the same page again and again".to_owned()));
                }
                next => token = next,
            }
        }
        Err(Kind::Protocol(format!("more than {MAX_PAGES} pages")))
    }

    fn remove(&self, name: &Name) -> Result<(), Kind> {
        self.site.remove(self.bucket.url_of(name))
    }
}

/// S3 says why in a document; only its code is shown, since the rest may quote
/// the request.
pub(super) fn refusal(answer: Answer) -> Kind {
    let kind = by_status(&answer);
    let region = text(
        &answer,
        ureq::http::HeaderName::from_static("x-amz-bucket-region"),
    );
    let region = region
        .filter(|_| answer.status().is_redirection())
        .map(str::to_owned);
    if let Some(region) = region {
        let region: String = region
            .chars()
            .filter(|c| c.is_ascii_graphic())
            .take(40)
            .collect();
        return Kind::Refused(format!(
            "the bucket is in the region `{region}`; add `region={region}` to the URL"
        ));
    }
    let code = whole(answer, ERROR_BYTES)
        .ok()
        .and_then(|bytes| error_code(&bytes));
    let Some(code) = code else { return kind };
    match kind {
        Kind::Denied(why) => Kind::Denied(format!(
            "{why}, {code} (keys come from the environment or from AWS's files)"
        )),
        Kind::Refused(why) => Kind::Refused(format!("{why}, {code}")),
        Kind::Busy(why) => Kind::Busy(format!("{why}, {code}")),
        kind => kind,
    }
}

/// A server without what may be secret in its URL.
fn shown_host(url: &Url) -> String {
    let shown = shown(url);
    shown.trim_end_matches('/').to_owned()
}
