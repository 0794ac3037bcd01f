//! Reading and writing files at URLs: what HTTP and S3 share.

use std::sync::Arc;

use ureq::http::{Method, header};
use url::Url;

use super::answer::{Answer, drain, number, refusal, text};
use super::client::{Client, Problem, Signer};
use super::download::{self, Target};
use super::upload::Upload;
use crate::cache::backend::{Body, ByteRange, Kind};
use crate::web::Question;

/// A server, and who asks it.
#[derive(Clone)]
pub(in crate::cache) struct Site {
    pub(in crate::cache) client: Arc<Client>,
    pub(in crate::cache) signer: Arc<dyn Signer>,
    /// For messages.
    pub(in crate::cache) place: String,
    /// What an answer means that is neither yes nor "no such file".
    pub(in crate::cache) refusal: fn(Answer) -> Kind,
}

/// What a server says of a write.
pub(in crate::cache) enum Written {
    /// It is done.
    Done,
    /// Something is in the way, or missing.
    Conflict,
}

impl Site {
    /// Opens a file or a part of it.
    pub(in crate::cache) fn open(
        &self,
        url: Url,
        name: &str,
        range: Option<ByteRange>,
    ) -> Result<Option<Body>, Kind> {
        download::open(self.target(url, name), range)
    }

    fn target(&self, url: Url, name: &str) -> Target {
        Target {
            client: self.client.clone(),
            signer: self.signer.clone(),
            url,
            place: self.place.clone(),
            name: name.to_owned(),
            refusal: self.refusal,
        }
    }

    /// The same, if `answer` is what the server says.
    pub(in crate::cache) fn answered(
        &self,
        url: Url,
        range: Option<ByteRange>,
        answer: Answer,
    ) -> Result<Option<Body>, Kind> {
        download::answered(self.target(url, "made-up"), range, answer)
    }

    /// The size of a file.
    pub(in crate::cache) fn size(&self, url: Url) -> Result<Option<u64>, Kind> {
        let question = Question::new(Method::HEAD, url.clone());
        let found = self.client.ask(&*self.signer, &question, None, |answer| {
            Ok(match answer.status().as_u16() {
                200 => number(&answer, header::CONTENT_LENGTH).map(Some),
                404 | 410 => Some(None),
                // It may not know HEAD.
                405 | 501 => None,
                _ => return Err(self.refused(answer)),
            })
        })?;
        match found {
            Some(found) => Ok(found),
            None => self.size_by_part(url),
        }
    }

    /// The same of a server that does not tell it without a part of the file.
    fn size_by_part(&self, url: Url) -> Result<Option<u64>, Kind> {
        let question = Question::new(Method::GET, url).with(header::RANGE, "bytes=0-0")?;
        self.client.ask(&*self.signer, &question, None, |answer| {
            let range =
                text(&answer, header::CONTENT_RANGE).and_then(|range| range.rsplit_once('/'));
            let total = range.and_then(|(_, total)| total.parse().ok());
            let size = match answer.status().as_u16() {
                404 | 410 => return Ok(None),
                200 => number(&answer, header::CONTENT_LENGTH),
                206 | 416 => total,
                _ => return Err(self.refused(answer)),
            };
            let unknown = || Kind::Protocol("it does not say how large the file is".to_owned());
            size.map(Some).ok_or_else(unknown)
        })
    }

    /// Whether the server sends a part of a file if it is asked for one. `None` if
    /// there is no such file.
    pub(in crate::cache) fn sends_parts(&self, url: Url) -> Result<Option<bool>, Kind> {
        let question = Question::new(Method::GET, url).with(header::RANGE, "bytes=1-1")?;
        self.client.ask(&*self.signer, &question, None, |answer| {
            let sends = match answer.status().as_u16() {
                206 => Some(true),
                200 => Some(false),
                404 | 410 => None,
                _ => return Err(self.refused(answer)),
            };
            drain(answer);
            Ok(sends)
        })
    }

    /// Attempts once to write a file.
    pub(in crate::cache) fn put(
        &self,
        url: &Url,
        upload: &mut Upload<'_>,
    ) -> Result<Written, Problem> {
        let question = Question::new(Method::PUT, url.clone())
            .with(header::CONTENT_TYPE, "application/octet-stream")?;
        let upload = Some(upload);
        self.client
            .attempt(&*self.signer, &question, upload, |answer| {
                match answer.status().as_u16() {
                    200 | 201 | 204 => {
                        drain(answer);
                        Ok(Written::Done)
                    }
                    409 => {
                        drain(answer);
                        Ok(Written::Conflict)
                    }
                    _ => Err(self.refused(answer)),
                }
            })
    }

    /// Removes a file.
    pub(in crate::cache) fn remove(&self, url: Url) -> Result<(), Kind> {
        let question = Question::new(Method::DELETE, url);
        self.client.ask(&*self.signer, &question, None, |answer| {
            match answer.status().as_u16() {
                200 | 202 | 204 | 404 | 410 => {
                    drain(answer);
                    Ok(())
                }
                _ => Err(self.refused(answer)),
            }
        })
    }

    fn refused(&self, answer: Answer) -> Kind {
        (self.refusal)(answer)
    }

    /// For servers whose answers say nothing beyond their status.
    pub(in crate::cache) fn by_status(answer: Answer) -> Kind {
        let kind = refusal(&answer);
        drain(answer);
        kind
    }
}
