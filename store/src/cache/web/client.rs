//! Asks a server, again after passing problems, and follows its redirects.

use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use ureq::SendBody;
use ureq::http::{Method, header};
use url::Url;

use super::answer::{Answer, drain, is_passing, refusal, retry_after, shown, text};
use super::retry::Tries;
use super::upload::Upload;
use crate::cache::access::Access;
use crate::cache::backend::Kind;
use crate::cache::pace::Pace;
use crate::cache::patience::Patience;
use crate::web::{Agents, BadHeader, Limits, Proxies, Question};

const MAX_REDIRECTS: usize = 10;
/// From which size on a server is asked whether it wants the body before it is
/// sent.
const EXPECT_BYTES: u64 = 1 << 20;

/// Proves to a server who asks.
pub(in crate::cache) trait Signer: Send + Sync {
    /// Adds the proof. Called for every try, since proofs age.
    fn sign(&self, question: Question) -> Result<Question, Kind>;

    /// The server wants another proof. True if the next try will bring one.
    fn challenged(&self, _: &Client, _: &Question, _: &Answer) -> Result<bool, Kind> {
        Ok(false)
    }

    /// Whether redirects are followed. To another origin nothing is signed.
    fn may_be_redirected(&self) -> bool {
        true
    }
}

/// Who proves nothing.
pub(in crate::cache) struct Nobody;

impl Signer for Nobody {
    fn sign(&self, question: Question) -> Result<Question, Kind> {
        Ok(question)
    }
}

/// Asks servers.
pub(in crate::cache) struct Client {
    agents: Agents,
    proxies: Proxies,
    patience: Patience,
    pace: Pace,
}

/// What went wrong with a try, and how long the server wants to be left alone.
pub(in crate::cache) struct Problem {
    kind: Kind,
    asked: Option<Duration>,
    status: Option<u16>,
}

impl Client {
    pub(in crate::cache) fn new(access: &Access) -> Self {
        let limits = Limits {
            user_agent: &access.user_agent,
            ca_bundle: access.ca_bundle.as_deref(),
            connect: access.patience.connect,
            response: access.patience.response,
            stall: access.patience.stall,
        };
        Self {
            agents: Agents::new(&limits),
            proxies: access.proxies.clone(),
            patience: access.patience,
            pace: access.pace.clone(),
        }
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Asks until there is an answer that will not change, and gives it to
    /// `take`. If that fails in a way that may pass, it is asked again.
    pub(in crate::cache) fn ask<T>(
        &self,
        signer: &dyn Signer,
        question: &Question,
        mut upload: Option<Upload<'_>>,
        mut take: impl FnMut(Answer) -> Result<T, Kind>,
    ) -> Result<T, Kind> {
        let mut tries = Tries::default();
        self.persist(&mut tries, || {
            self.attempt(signer, question, upload.as_mut(), &mut take)
        })
    }

    /// Attempts something until it is done or will not go otherwise.
    pub(in crate::cache) fn persist<T>(
        &self,
        tries: &mut Tries,
        mut attempt: impl FnMut() -> Result<T, Problem>,
    ) -> Result<T, Kind> {
        loop {
            let problem = match attempt() {
                Ok(done) => return Ok(done),
                Err(problem) if !problem.kind.is_passing() => return Err(problem.kind),
                Err(problem) => problem,
            };
            match tries.pause(&self.patience, problem.asked, 0) {
                Some(pause) => thread::sleep(pause),
                None => return Err(given_up(problem, tries)),
            }
        }
    }

    /// Asks once, or twice if the server wants another proof first.
    pub(in crate::cache) fn attempt<T>(
        &self,
        signer: &dyn Signer,
        question: &Question,
        mut upload: Option<&mut Upload<'_>>,
        mut take: impl FnMut(Answer) -> Result<T, Kind>,
    ) -> Result<T, Problem> {
        let mut answer = self.once(signer, question, upload.as_deref_mut())?;
        if answer.status() == 401 && signer.challenged(self, question, &answer)? {
            drain(answer);
            answer = self.once(signer, question, upload)?;
        }
        if is_passing(&answer) {
            return Err(Problem {
                kind: refusal(&answer),
                asked: retry_after(&answer, SystemTime::now()),
                status: Some(answer.status().as_u16()),
            });
        }
        Ok(take(answer)?)
    }

    /// Asks once, along the redirects.
    fn once(
        &self,
        signer: &dyn Signer,
        question: &Question,
        mut upload: Option<&mut Upload<'_>>,
    ) -> Result<Answer, Kind> {
        let mut url = question.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut next = question.clone();
            next.url = url.clone();
            if url.origin() == question.url.origin() {
                next = signer.sign(next)?;
            }
            let answer = self.send(next, upload.as_deref_mut())?;
            let is_plain = matches!(question.method, Method::GET | Method::HEAD);
            match is_redirect(&answer) && is_plain && signer.may_be_redirected() {
                true => url = next_url(&url, &answer)?,
                false => return Ok(answer),
            }
            drain(answer);
        }
        let why = format!("more than {MAX_REDIRECTS} redirects");
        Err(Kind::Protocol(why))
    }

    fn send(
        &self,
        mut question: Question,
        upload: Option<&mut Upload<'_>>,
    ) -> Result<Answer, Kind> {
        let proxy = self.proxies.for_url(&question.url);
        let Some(upload) = upload else {
            let answer = self.agents.ask(&question, SendBody::none(), proxy);
            return answer.map_err(kind);
        };
        upload.rewind(&self.patience, &self.pace)?;
        let size = upload.size_bytes();
        question = question.with(header::CONTENT_LENGTH, &size.to_string())?;
        if size >= EXPECT_BYTES {
            question = question.with(header::EXPECT, "100-continue")?;
        }
        let answer = self
            .agents
            .ask(&question, SendBody::from_reader(upload), proxy);
        answer.map_err(|error| upload.failure().unwrap_or_else(|| kind(error)))
    }
}

impl From<BadHeader> for Problem {
    fn from(error: BadHeader) -> Self {
        Kind::from(error).into()
    }
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            asked: None,
            status: None,
        }
    }
}

impl Problem {
    /// Whether it is that the server answered so.
    pub(in crate::cache) fn is_status(&self, status: u16) -> bool {
        self.status == Some(status)
    }
}

fn given_up(problem: Problem, tries: &Tries) -> Kind {
    let count = tries.count();
    match (problem.kind, problem.asked) {
        (Kind::Busy(why), Some(asked)) => Kind::Busy(format!(
            "{why} and to come back in {} s (tries: {count})",
            asked.as_secs()
        )),
        (Kind::Busy(why), None) => Kind::Busy(format!("{why} (tries: {count})")),
        (Kind::Unreachable(error), _) => {
            let why = format!("{error} (tries: {count})");
            io::Error::new(error.kind(), why).into()
        }
        (kind, _) => kind,
    }
}

fn is_redirect(answer: &Answer) -> bool {
    let is_moved = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    is_moved && answer.headers().contains_key(header::LOCATION)
}

/// Where a redirect leads. What began with TLS goes on so.
fn next_url(from: &Url, answer: &Answer) -> Result<Url, Kind> {
    let bad = |why: &str| Kind::Protocol(format!("a redirect {why}"));
    let location = text(answer, header::LOCATION).ok_or_else(|| bad("that is no text"))?;
    let mut to = from.join(location).map_err(|_| bad("to what is no URL"))?;
    to.set_fragment(None);
    // A user and a password in it would be the server's, not ours.
    let _ = (to.set_username(""), to.set_password(None));
    match (from.scheme(), to.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(to),
        _ => Err(bad(&format!("to {}, without TLS", shown(&to)))),
    }
}

/// What an error of the HTTP library means.
fn kind(error: ureq::Error) -> Kind {
    let timed_out = |what: String| io::Error::new(io::ErrorKind::TimedOut, what);
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            Kind::Untrusted(error.to_string())
        }
        // TLS reports a certificate that it refuses as an error of the stream.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Kind::Untrusted(error.to_string())
        }
        ureq::Error::Io(error) => Kind::Unreachable(error),
        ureq::Error::Timeout(what) => timed_out(format!("no answer in time ({what})")).into(),
        ureq::Error::HostNotFound => {
            io::Error::new(io::ErrorKind::HostUnreachable, "no such host").into()
        }
        ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
            io::Error::new(io::ErrorKind::ConnectionRefused, error.to_string()).into()
        }
        // Its text would hold the proxy's URL, with its password.
        ureq::Error::InvalidProxyUrl => Kind::Refused("the proxy is no URL of one".to_owned()),
        _ => Kind::Protocol(error.to_string()),
    }
}
