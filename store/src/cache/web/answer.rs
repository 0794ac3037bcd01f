//! What an answer means, before anything is read of its body.

use std::io::Read;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use ureq::Body;
use ureq::http::{HeaderName, Response, StatusCode, header};

use crate::cache::backend::Kind;

/// An answer of a server.
pub(in crate::cache) type Answer = Response<Body>;

/// How much of a body that nobody wants is read to keep its connection.
const DRAINED_BYTES: u64 = 16 << 10;

/// A header as text.
pub(in crate::cache) fn text(answer: &Answer, name: HeaderName) -> Option<&str> {
    answer.headers().get(name)?.to_str().ok()
}

/// A header as a number.
pub(super) fn number(answer: &Answer, name: HeaderName) -> Option<u64> {
    text(answer, name)?.parse().ok()
}

/// What an answer says that is not the one that was hoped for.
pub(in crate::cache) fn refusal(answer: &Answer) -> Kind {
    let status = status(answer.status());
    if is_passing(answer) {
        return Kind::Busy(format!("the server says {status}"));
    }
    match answer.status().as_u16() {
        401 | 403 => Kind::Denied(format!("the server says {status}")),
        407 => Kind::Denied(format!("the proxy says {status}")),
        413 => Kind::Refused(format!(
            "the server says {status}: its limit for one file is too low (nginx: client_max_body_size)"
        )),
        300..=399 => Kind::Refused(format!("the server says {status}: {}", whither(answer))),
        400..=599 => Kind::Refused(format!("the server says {status}")),
        _ => Kind::Protocol(status),
    }
}

/// Whether the same may be answered otherwise a moment later.
pub(super) fn is_passing(answer: &Answer) -> bool {
    matches!(
        answer.status().as_u16(),
        408 | 425 | 429 | 500 | 502 | 503 | 504
    )
}

/// How long the server wants to be left alone, from `now` on.
pub(in crate::cache) fn retry_after(answer: &Answer, now: SystemTime) -> Option<Duration> {
    let value = text(answer, header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::from(date(value)?);
    Some(then.duration_since(now).unwrap_or_default())
}

fn date(value: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(value).ok()
}

/// Reads the rest of a body that nobody wants, if it is short.
pub(in crate::cache) fn drain(answer: Answer) {
    let mut body = answer.into_body().into_reader().take(DRAINED_BYTES);
    // Whatever comes: the connection is used again only if all went well.
    let _ = std::io::copy(&mut body, &mut std::io::sink());
}

/// The whole of a short body, which may hold anything. More than `limit_bytes`
/// is an error.
pub(in crate::cache) fn whole(answer: Answer, limit_bytes: u64) -> Result<Vec<u8>, Kind> {
    let mut bytes = Vec::new();
    let body = answer.into_body().into_reader();
    body.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit_bytes {
        true => Err(Kind::Protocol(format!("more than {limit_bytes} bytes"))),
        false => Ok(bytes),
    }
}

/// A status with its customary words.
fn status(status: StatusCode) -> String {
    status.to_string()
}

/// Where a redirect leads, without what may be secret in it.
fn whither(answer: &Answer) -> String {
    let location = text(answer, header::LOCATION);
    match location.and_then(|location| url::Url::parse(location).ok()) {
        None => "it is elsewhere".to_owned(),
        Some(url) => format!("it is at {}", shown(&url)),
    }
}

/// A URL without user, password and query.
pub(in crate::cache) fn shown(url: &url::Url) -> String {
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    format!("{}://{authority}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(retry_after: &str) -> Answer {
        let response = Response::builder().header(header::RETRY_AFTER, retry_after);
        response
            .body(Body::builder().data(Vec::new()))
            .expect("a response")
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = SystemTime::from(Timestamp::from_second(1_445_412_480).expect("a time"));
        let check = |value: &str, seconds: Option<u64>| {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&with(value), now), expected, "{value}");
        };
        check("120", Some(120));
        check("Wed, 21 Oct 2015 07:28:30 GMT", Some(30));
        check("Wed, 21 Oct 2015 07:27:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }

    #[test]
    fn what_is_shown_of_a_url_is_no_secret() {
        let url = url::Url::parse("https://me:secret@a.example:1/b/c?X-Amz-Signature=secret#d");
        assert_eq!(shown(&url.expect("a URL")), "https://a.example:1/b/c");
    }
}
