//! Blobs, manifests and tags of one repository, over HTTP.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::http::{Method, header};
use url::Url;

use super::auth::Authority;
use super::manifest::{Descriptor, EMPTY, MEDIA_TYPE, digest_of, hex};
use super::place::Place;
use crate::cache::access::Access;
use crate::cache::backend::{Body, ByteRange, Kind, Source};
use crate::cache::open::OpenError;
use crate::cache::web::answer::{Answer, drain, text, whole};
use crate::cache::web::{Client, Nobody, Problem, Question, Signer, Site, Tries, Upload};

/// The largest manifest that registries take.
const MANIFEST_BYTES: u64 = 4 << 20;
/// A page of tags; some registries have one page.
const TAGS_BYTES: u64 = 256 << 20;
const MAX_PAGES: usize = 100_000;
const TAGS_A_PAGE: &str = "1000";

/// A repository.
pub(super) struct Registry {
    place: Place,
    site: Site,
    /// Whether the config of all manifests is known to be there.
    has_empty: AtomicBool,
}

#[derive(Deserialize)]
struct Tags {
    /// A repository that lost its last tag has `null`.
    tags: Option<Vec<String>>,
}

impl Registry {
    pub(super) fn new(url: &Url, access: &Access) -> Result<Self, OpenError> {
        let place = Place::of_url(url)?;
        let login = access.credentials.for_registry(&place.registry)?;
        let authority = Authority::new(place.registry.clone(), login);
        Ok(Self {
            site: Site {
                client: Arc::new(Client::new(access)),
                signer: Arc::new(authority),
                place: place.shown.clone(),
                refusal,
            },
            place,
            has_empty: AtomicBool::new(false),
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.place.shown
    }

    /// Opens a blob or a part of it.
    pub(super) fn blob(
        &self,
        digest: &str,
        name: &str,
        range: Option<ByteRange>,
    ) -> Result<Option<Body>, Kind> {
        let url = self.place.url(&format!("blobs/{digest}"));
        self.site.open(url, name, range)
    }

    /// A manifest, by tag, and its digest.
    pub(super) fn manifest(&self, tag: &str) -> Result<Option<(String, Vec<u8>)>, Kind> {
        let url = self.place.url(&format!("manifests/{tag}"));
        let question = Question::new(Method::GET, url).with(header::ACCEPT, MEDIA_TYPE)?;
        let bytes = self.ask(&question, |answer| match answer.status().as_u16() {
            200 => whole(answer, MANIFEST_BYTES).map(Some),
            404 => {
                drain(answer);
                Ok(None)
            }
            _ => Err(refusal(answer)),
        })?;
        Ok(bytes.map(|bytes| (digest_of(&bytes), bytes)))
    }

    /// Writes a manifest and lets a tag be it.
    pub(super) fn put_manifest(&self, tag: &str, bytes: &[u8]) -> Result<(), Kind> {
        let url = self.place.url(&format!("manifests/{tag}"));
        let question = Question::new(Method::PUT, url).with(header::CONTENT_TYPE, MEDIA_TYPE)?;
        let mut source = Cursor::new(bytes);
        let upload = Upload::new(&mut source, bytes.len() as u64)?;
        let signer = &*self.site.signer;
        let client = &self.site.client;
        client.ask(signer, &question, Some(upload), |answer| {
            expect(answer, &[201, 200])
        })
    }

    /// Removes a manifest and all tags that are it.
    pub(super) fn delete_manifest(&self, digest: &str) -> Result<(), Kind> {
        let url = self.place.url(&format!("manifests/{digest}"));
        let question = Question::new(Method::DELETE, url);
        self.ask(&question, |answer| match answer.status().as_u16() {
            405 => Err(Kind::Refused(
                "the registry removes nothing (docker-registry: storage.delete.enabled: true)"
                    .to_owned(),
            )),
            _ => expect(answer, &[202, 200, 204, 404]),
        })
    }

    /// All tags.
    pub(super) fn tags(&self) -> Result<Vec<String>, Kind> {
        let mut tags = Vec::new();
        let mut url = self.place.url("tags/list");
        url.query_pairs_mut().append_pair("n", TAGS_A_PAGE);
        for _ in 0..MAX_PAGES {
            let question = Question::new(Method::GET, url.clone());
            let page = self.ask(&question, |answer| match answer.status().as_u16() {
                200 => {
                    let next = next_page(text(&answer, header::LINK), &url)?;
                    Ok(Some((next, whole(answer, TAGS_BYTES)?)))
                }
                // A repository that nobody has written to.
                404 => {
                    drain(answer);
                    Ok(None)
                }
                _ => Err(refusal(answer)),
            })?;
            let Some((next, bytes)) = page else {
                return Ok(tags);
            };
            tags.extend(page_of_tags(&bytes)?);
            match next {
                None => return Ok(tags),
                Some(next) if next == url => {
                    return Err(Kind::Protocol("the same page again and again".to_owned()));
                }
                Some(next) => url = next,
            }
        }
        Err(Kind::Protocol(format!("more than {MAX_PAGES} pages")))
    }

    /// Whether a part of a blob comes alone.
    pub(super) fn sends_parts(&self, digest: &str) -> Result<Option<bool>, Kind> {
        self.site
            .sends_parts(self.place.url(&format!("blobs/{digest}")))
    }

    /// Uploads a blob, unless it is there.
    pub(super) fn push(
        &self,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<Descriptor, Kind> {
        // Its length is checked before it is read.
        drop(Upload::new(content, size_bytes)?);
        let digest = digest_of_source(content).map_err(|error| {
            Kind::Refused(format!("what is to be written cannot be read: {error}"))
        })?;
        self.push_blob(&digest, content, size_bytes)?;
        Ok(Descriptor::of_file(digest, size_bytes))
    }

    /// Uploads the config of all manifests, once.
    pub(super) fn push_empty(&self) -> Result<Descriptor, Kind> {
        let digest = digest_of(EMPTY);
        if !self.has_empty.load(Ordering::Relaxed) {
            self.push_blob(&digest, &mut Cursor::new(EMPTY), EMPTY.len() as u64)?;
            self.has_empty.store(true, Ordering::Relaxed);
        }
        Ok(Descriptor::of_config(digest))
    }

    fn push_blob(
        &self,
        digest: &str,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), Kind> {
        let url = self.place.url(&format!("blobs/{digest}"));
        if self.site.size(url)? == Some(size_bytes) {
            return Ok(());
        }
        // An upload that broke off cannot be sent again: another is begun.
        let mut upload = Upload::new(content, size_bytes)?;
        self.site.client.persist(&mut Tries::default(), || {
            let url = self.begin_upload(digest)?;
            self.finish_upload(url, &mut upload)
        })
    }

    /// Where to upload to.
    fn begin_upload(&self, digest: &str) -> Result<Url, Problem> {
        let start = self.place.url("blobs/uploads/");
        let question = Question::new(Method::POST, start.clone());
        let mut nothing = io::empty();
        let mut nothing = Upload::new(&mut nothing, 0)?;
        let signer = &*self.site.signer;
        let client = &self.site.client;
        client.attempt(signer, &question, Some(&mut nothing), |answer| {
            let location = text(&answer, header::LOCATION).map(|to| start.join(to));
            let (202, Some(Ok(mut url))) = (answer.status().as_u16(), location) else {
                return Err(refusal(answer));
            };
            url.query_pairs_mut().append_pair("digest", digest);
            drain(answer);
            Ok(url)
        })
    }

    fn finish_upload(&self, url: Url, upload: &mut Upload<'_>) -> Result<(), Problem> {
        // The registry may have it sent elsewhere; the login stays here.
        let is_here = url.origin() == self.place.registry.origin();
        if !is_here && self.place.registry.scheme() == "https" && url.scheme() != "https" {
            let why = "it has files sent elsewhere, without TLS".to_owned();
            return Err(Kind::Protocol(why).into());
        }
        let signer: &dyn Signer = match is_here {
            true => &*self.site.signer,
            false => &Nobody,
        };
        let question = Question::new(Method::PUT, url);
        let question = question.with(header::CONTENT_TYPE, "application/octet-stream")?;
        let client = &self.site.client;
        client.attempt(signer, &question, Some(upload), |answer| {
            expect(answer, &[201, 204])
        })
    }

    fn ask<T>(
        &self,
        question: &Question,
        take: impl FnMut(Answer) -> Result<T, Kind>,
    ) -> Result<T, Kind> {
        self.site
            .client
            .ask(&*self.site.signer, question, None, take)
    }
}

fn expect(answer: Answer, statuses: &[u16]) -> Result<(), Kind> {
    match statuses.contains(&answer.status().as_u16()) {
        true => {
            drain(answer);
            Ok(())
        }
        false => Err(refusal(answer)),
    }
}

fn refusal(answer: Answer) -> Kind {
    match Site::by_status(answer) {
        Kind::Denied(why) => Kind::Denied(format!(
            "{why} (logins come from docker's config.json, or KILN_CACHE_TOKENS)"
        )),
        kind => kind,
    }
}

/// `Link: </v2/…?last=…>; rel="next"`, on the same server.
pub(in crate::cache) fn next_page(link: Option<&str>, here: &Url) -> Result<Option<Url>, Kind> {
    let Some(link) = link.filter(|link| link.contains("next")) else {
        return Ok(None);
    };
    let to = link
        .trim()
        .strip_prefix('<')
        .and_then(|link| link.split('>').next());
    let to = to.and_then(|to| here.join(to).ok());
    let to = to.filter(|to| to.origin() == here.origin());
    let bad = || Kind::Protocol("a link to the next page that leads nowhere".to_owned());
    to.map(Some).ok_or_else(bad)
}

/// A page of tags.
pub(in crate::cache) fn page_of_tags(bytes: &[u8]) -> Result<Vec<String>, Kind> {
    let page: Tags =
        serde_json::from_slice(bytes).map_err(|_| Kind::Protocol("no list of tags".to_owned()))?;
    Ok(page.tags.unwrap_or_default())
}

fn digest_of_source(content: &mut dyn Source) -> io::Result<String> {
    content.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_as_registries_write_them() {
        let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(digest_of(EMPTY), empty);
        let mut source = Cursor::new(EMPTY);
        source.set_position(2);
        assert_eq!(
            digest_of_source(&mut source).expect("it can be read"),
            empty
        );
    }
}
