//! What is asked for, and what it comes to. Pure, but for the file at hand.

use std::fs::File;
use std::io::{self, ErrorKind};

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::cache::backend::Kind;
use crate::cache::directory::Stored;
use crate::cache::id::{INDEXES, PACKS};
use crate::cache::name::Name;

/// What is named by its bytes never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// All else may be another file later.
const FOR_NOW: &str = "no-cache";

/// A request, as far as it matters.
#[derive(Debug)]
pub(super) struct Asked {
    /// Which file; none if the path is no file's of a cache.
    name: Option<Name>,
    wanted: Wanted,
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    File,
    Head,
    /// Something that is never done here.
    Other,
}

/// A part of a file that is to be sent.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    pub(super) start: u64,
    pub(super) length: u64,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Response<()>,
    pub(super) part: Option<Part>,
}

/// What a `Range` header comes to for a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cache) enum Range {
    /// All of it: nothing was asked, or what is not understood (RFC 9110, 14.2).
    Whole,
    Part {
        start: u64,
        length: u64,
    },
    /// The file has nothing of it.
    Beyond,
}

impl Asked {
    pub(super) fn new(method: &Method, path: &str, headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            // Several would have to be put together; nobody sends them.
            values.next().is_none().then(|| value.to_owned())
        };
        Self {
            name: name(path),
            wanted: match *method {
                Method::GET => Wanted::File,
                Method::HEAD => Wanted::Head,
                _ => Wanted::Other,
            },
            range: text(header::RANGE),
            if_range: text(header::IF_RANGE),
            if_none_match: text(header::IF_NONE_MATCH),
        }
    }

    /// The file that has to be looked for, if one has.
    pub(super) fn name(&self) -> Option<&Name> {
        let is_read = self.wanted != Wanted::Other;
        self.name.as_ref().filter(|_| is_read)
    }

    /// The answer, given what was found.
    pub(super) fn answer(self, found: io::Result<Option<Stored>>) -> Answer {
        if self.wanted == Wanted::Other {
            let mut answer = Answer::of(StatusCode::METHOD_NOT_ALLOWED);
            answer.set(header::ALLOW, "GET, HEAD");
            return answer;
        }
        match (found, &self.name) {
            (Ok(Some(stored)), Some(name)) => self.file(stored, name),
            (Ok(_), _) => Answer::of(StatusCode::NOT_FOUND),
            (Err(error), _) => Answer::of(match error.kind() {
                ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
                // A moment later it may be there: a mount that is gone, too many
                // open files.
                _ => StatusCode::SERVICE_UNAVAILABLE,
            }),
        }
    }

    fn file(&self, stored: Stored, name: &Name) -> Answer {
        let tag = format!("\"{}\"", stored.tag());
        let is_known = |known: &String| known.split(',').any(|it| is_tag(it, &tag));
        let mut answer = match self.if_none_match.as_ref().is_some_and(is_known) {
            true => Answer::of(StatusCode::NOT_MODIFIED),
            false => self.content(stored, &tag),
        };
        answer.set(header::ETAG, &tag);
        answer.set(header::CACHE_CONTROL, lifetime(name));
        answer
    }

    fn content(&self, stored: Stored, tag: &str) -> Answer {
        let size = stored.size_bytes;
        // Another file than the one that was begun is sent as a whole.
        let is_same = self.if_range.as_ref().is_none_or(|it| it == tag);
        let asked = self.range.as_ref().filter(|_| is_same);
        let (status, start, length) = match asked.map_or(Range::Whole, |it| range(it, size)) {
            Range::Whole => (StatusCode::OK, 0, size),
            Range::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
            Range::Beyond => {
                let mut answer = Answer::of(StatusCode::RANGE_NOT_SATISFIABLE);
                answer.set(header::CONTENT_RANGE, &format!("bytes */{size}"));
                return answer;
            }
        };
        let mut answer = Answer::of(status);
        if status == StatusCode::PARTIAL_CONTENT {
            let last = start + length - 1;
            let part = format!("bytes {start}-{last}/{size}");
            answer.set(header::CONTENT_RANGE, &part);
        }
        answer.set(header::ACCEPT_RANGES, "bytes");
        answer.set(header::CONTENT_TYPE, "application/octet-stream");
        answer.set(header::CONTENT_LENGTH, &length.to_string());
        if self.wanted == Wanted::File {
            answer.part = Some(Part {
                file: stored.file,
                start,
                length,
            });
        }
        answer
    }
}

impl Answer {
    fn of(status: StatusCode) -> Self {
        let mut head = Response::new(());
        *head.status_mut() = status;
        Self { head, part: None }
    }

    fn set(&mut self, name: HeaderName, value: &str) {
        match value.parse() {
            Ok(value) => drop(self.head.headers_mut().insert(name, value)),
            Err(error) => unreachable!("words of ours and digits: {error}"),
        }
    }
}

/// Which file a path means. What is no name of a cache's file is none: so there
/// is no way up, and none to what begins with a dot.
pub(in crate::cache) fn name(path: &str) -> Option<Name> {
    let path = percent_decode_str(path.strip_prefix('/')?);
    Name::new(path.decode_utf8().ok()?).ok()
}

/// Whether an entry of `If-None-Match` is this tag; a weak one will do.
fn is_tag(entry: &str, tag: &str) -> bool {
    let entry = entry.trim();
    entry == "*" || entry.strip_prefix("W/").unwrap_or(entry) == tag
}

fn lifetime(name: &Name) -> &'static str {
    match name.as_str().split('/').next() {
        Some(PACKS | INDEXES) => FOREVER,
        _ => FOR_NOW,
    }
}

/// One part, in any of its three forms.
pub(in crate::cache) fn range(value: &str, size: u64) -> Range {
    let Some((first, last)) = value
        .strip_prefix("bytes=")
        .and_then(|it| it.split_once('-'))
    else {
        return Range::Whole;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let (start, end) = match (first, last) {
        ("", last) => match number(last) {
            Some(0) => return Range::Beyond,
            Some(length) => (size.saturating_sub(length), size),
            None => return Range::Whole,
        },
        (first, last) => match (number(first), last, number(last)) {
            (Some(start), "", _) => (start, size),
            (Some(start), _, Some(last)) if last >= start => {
                (start, last.saturating_add(1).min(size))
            }
            _ => return Range::Whole,
        },
    };
    match start < end {
        true => Range::Part {
            start,
            length: end - start,
        },
        false => Range::Beyond,
    }
}

/// A failure to open a file, as far as the answer tells it. What is a link, or
/// no file, is not there for anybody.
pub(super) fn io_error(kind: &Kind) -> io::Error {
    let class = match kind {
        Kind::Denied(_) => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    io::Error::new(class, kind.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_asked_for_in_three_forms() {
        let check = |value: &str, expected: Range| {
            assert_eq!(range(value, 10), expected, "{value}");
        };
        let part = |start, length| Range::Part { start, length };
        check("bytes=0-0", part(0, 1));
        check("bytes=2-5", part(2, 4));
        check("bytes=2-", part(2, 8));
        check("bytes=2-99", part(2, 8));
        check("bytes=2-18446744073709551615", part(2, 8));
        check("bytes=-3", part(7, 3));
        check("bytes=-99", part(0, 10));
        check("bytes=10-", Range::Beyond);
        check("bytes=10-12", Range::Beyond);
        check("bytes=-0", Range::Beyond);
        for odd in [
            "",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "bytes=99999999999999999999-",
            "lines=1-2",
        ] {
            check(odd, Range::Whole);
        }
        assert_eq!(range("bytes=0-", 0), Range::Beyond);
    }

    #[test]
    fn paths_lead_to_files_of_the_cache_and_nowhere_else() {
        let check = |path: &str, expected: Option<&str>| {
            let found = name(path);
            assert_eq!(found.as_ref().map(Name::as_str), expected, "{path}");
        };
        check("/packs/ab/abcd", Some("packs/ab/abcd"));
        check("/%70acks/a", Some("packs/a"));
        for bad in [
            "",
            "/",
            "*",
            "packs/a",
            "//etc/passwd",
            "/../etc/passwd",
            "/packs/../../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/packs%2f..%2f..%2fetc/passwd",
            "/packs/.tmp-1-2-3",
            "/packs/",
            "/./packs",
            "/packs/%00",
            "/packs/%ff",
            "/PACKS/a",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        assert!(is_tag(" W/\"a\" ", "\"a\"") && is_tag("*", "\"a\"") && is_tag("\"a\"", "\"a\""));
        assert!(!is_tag("\"b\"", "\"a\"") && !is_tag("a", "\"a\""));
    }
}
