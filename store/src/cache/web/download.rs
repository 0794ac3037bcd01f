//! A body that goes on where it was cut off.
//!
//! A server may ignore that a part was asked for, send less than it announced,
//! or another file after a pause. What is handed on is a consecutive part of one
//! file as far as its lengths and its validator tell; whether the bytes are the
//! right ones is for those to judge that know what they should be.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ureq::http::{Method, header};
use url::Url;

use super::answer::{Answer, drain, number, text};
use super::client::{Client, Signer};
use super::retry::Tries;
use super::speed::Speed;
use crate::cache::backend::{BackendError, Body, ByteRange, Kind};
use crate::web::Question;

/// What is read, and with what.
pub(super) struct Target {
    pub(super) client: Arc<Client>,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) url: Url,
    /// For messages.
    pub(super) place: String,
    pub(super) name: String,
    pub(super) refusal: fn(Answer) -> Kind,
}

/// Opens a file or a part of it. `None` if there is none.
pub(super) fn open(target: Target, range: Option<ByteRange>) -> Result<Option<Body>, Kind> {
    let mut download = Download::new(target, range)?;
    let is_there = download.connect()?;
    Ok(is_there.then(|| download.body()))
}

/// The same, if `answer` is what the server says to the first question.
pub(super) fn answered(
    target: Target,
    range: Option<ByteRange>,
    answer: Answer,
) -> Result<Option<Body>, Kind> {
    let mut download = Download::new(target, range)?;
    let is_there = download.begin(answer)?;
    Ok(is_there.then(|| download.body()))
}

struct Download {
    target: Target,
    /// Where in the file the next byte is.
    position: u64,
    /// Where the part ends that is wanted; none for all.
    asked_end: Option<u64>,
    /// The same, as far as the file goes; none if nobody says.
    end: Option<u64>,
    /// The file's size, once a server said it.
    total: Option<u64>,
    /// What tells this file from a later one of its name.
    validator: Option<String>,
    stream: Option<Stream>,
    /// Whether there was an answer already.
    is_begun: bool,
    speed: Speed,
    tries: Tries,
    /// Bytes since the last cut.
    gained: u64,
}

/// The bytes as they come from one connection.
struct Stream {
    bytes: Box<dyn Read + Send>,
    /// Whether it ends, as announced, where the wanted part does. Then the
    /// connection can be used again.
    ends_there: bool,
}

/// `bytes 3-5/9`: the first, the last, and the size, if it is said.
type ContentRange = (u64, u64, Option<u64>);

impl Download {
    /// Nothing is asked yet.
    fn new(target: Target, range: Option<ByteRange>) -> Result<Self, Kind> {
        let start = range.map_or(0, |range| range.start);
        let asked_end = range.map(|range| range.start.saturating_add(range.length));
        if asked_end == Some(start) {
            return Err(Kind::Refused("a part of no bytes".to_owned()));
        }
        let speed = Speed::new(target.client.patience());
        let download = Self {
            target,
            position: start,
            asked_end,
            end: None,
            total: None,
            validator: None,
            stream: None,
            is_begun: false,
            speed,
            tries: Tries::default(),
            gained: 0,
        };
        match i64::try_from(start) {
            Ok(_) => Ok(download),
            Err(_) => Err(download.beyond(None)),
        }
    }

    /// What is to come, once there was an answer.
    fn body(self) -> Body {
        Body {
            length: self.end.map(|end| end - self.position),
            content: Box::new(self),
        }
    }

    /// Asks for what is missing. False if there is no such file.
    fn connect(&mut self) -> Result<bool, Kind> {
        let question = self.question()?;
        let (client, signer) = (self.target.client.clone(), self.target.signer.clone());
        let mut tries = std::mem::take(&mut self.tries);
        let begun = client.persist(&mut tries, || {
            client.attempt(&*signer, &question, None, |answer| self.begin(answer))
        });
        self.tries = tries;
        begun
    }

    fn question(&self) -> Result<Question, Kind> {
        let mut question = Question::new(Method::GET, self.target.url.clone());
        // Servers count in 64 bits with a sign.
        let asked_end = self.asked_end.filter(|end| i64::try_from(*end).is_ok());
        let range = match (self.position, asked_end) {
            (0, None) if self.asked_end.is_none() => return Ok(question),
            (start, None) => format!("bytes={start}-"),
            (start, Some(end)) => format!("bytes={start}-{}", end - 1),
        };
        question = question.with(header::RANGE, &range)?;
        match &self.validator {
            Some(validator) if self.is_begun => Ok(question.with(header::IF_RANGE, validator)?),
            _ => Ok(question),
        }
    }

    /// Takes an answer.
    fn begin(&mut self, answer: Answer) -> Result<bool, Kind> {
        let coding = text(&answer, header::CONTENT_ENCODING).unwrap_or("identity");
        if coding != "identity" {
            let why = format!("it is coded as `{coding}`, which nobody asked for");
            return Err(Kind::Protocol(why));
        }
        match answer.status().as_u16() {
            200 => self.begin_whole(answer)?,
            206 => self.begin_part(answer)?,
            404 | 410 if !self.is_begun => {
                drain(answer);
                return Ok(false);
            }
            416 if !self.is_begun => return Err(self.beyond(None)),
            404 | 410 | 416 => return Err(changed()),
            _ => return Err((self.target.refusal)(answer)),
        }
        self.is_begun = true;
        Ok(true)
    }

    /// The server sends all of it, whatever was asked.
    fn begin_whole(&mut self, answer: Answer) -> Result<(), Kind> {
        let length = number(&answer, header::CONTENT_LENGTH);
        self.check_is_same(&answer, length)?;
        if self.asked_end.is_some() && length.is_some_and(|total| total <= self.position) {
            return Err(self.beyond(length));
        }
        let mut bytes: Box<dyn Read + Send> = Box::new(answer.into_body().into_reader());
        let unwanted = (&mut bytes).take(self.position);
        let mut unwanted = self.target.client.pace().read(unwanted);
        let skipped = io::copy(&mut unwanted, &mut io::sink())?;
        if skipped < self.position {
            return Err(match length {
                None => self.beyond(Some(skipped)),
                Some(_) => cut().into(),
            });
        }
        if self.asked_end.is_some() && length.is_none() {
            // Whether there is a byte, only reading tells.
            let mut first = Vec::new();
            if (&mut bytes).take(1).read_to_end(&mut first)? == 0 {
                return Err(self.beyond(Some(skipped)));
            }
            bytes = Box::new(io::Cursor::new(first).chain(bytes));
        }
        self.total = length.or(self.total);
        self.end = match (self.asked_end, self.total) {
            (Some(end), Some(total)) => Some(end.min(total)),
            (None, total) => total,
            (Some(_), None) => None,
        };
        let ends_there = length.is_some() && self.end == length;
        self.stream = Some(Stream { bytes, ends_there });
        Ok(())
    }

    /// The server sends what was asked for, or begins to.
    fn begin_part(&mut self, answer: Answer) -> Result<(), Kind> {
        let range = text(&answer, header::CONTENT_RANGE).unwrap_or_default();
        let (first, last, total) = content_range(range).ok_or_else(|| {
            let range: String = range.chars().take(60).collect();
            Kind::Protocol(format!("it sends a part, but of what: `{range}`"))
        })?;
        if first != self.position || (self.position == 0 && self.asked_end.is_none()) {
            return Err(Kind::Protocol(format!(
                "it sends bytes from {first} on, asked from {} on",
                self.position
            )));
        }
        self.check_is_same(&answer, total)?;
        self.total = total.or(self.total);
        let end = match (self.asked_end, self.total) {
            (Some(end), Some(total)) => end.min(total),
            (None, Some(total)) => total,
            (Some(end), None) => end.min(last + 1),
            (None, None) => last + 1,
        };
        self.end = Some(end);
        let length = number(&answer, header::CONTENT_LENGTH);
        let ends_there = length == end.checked_sub(first);
        let bytes = Box::new(answer.into_body().into_reader());
        self.stream = Some(Stream { bytes, ends_there });
        Ok(())
    }

    /// What comes after a cut has to be of the file that came before.
    fn check_is_same(&mut self, answer: &Answer, total: Option<u64>) -> Result<(), Kind> {
        let validator = strong_validator(answer);
        let differ = |a: &Option<String>, b: &Option<String>| {
            a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b)
        };
        let other_size = self.total.zip(total).is_some_and(|(a, b)| a != b);
        if self.is_begun && (differ(&validator, &self.validator) || other_size) {
            return Err(changed());
        }
        self.validator = validator.or(self.validator.take());
        Ok(())
    }

    fn beyond(&self, total: Option<u64>) -> Kind {
        let start = self.position;
        Kind::Refused(match total {
            Some(total) => format!("it has {total} bytes, none from {start} on"),
            None => format!("it has no bytes from {start} on"),
        })
    }

    /// Reads from what is there.
    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, Kind> {
        let Some(stream) = &mut self.stream else {
            return Err(cut().into());
        };
        let start = Instant::now();
        let pace = self.target.client.pace();
        let room = pace.room(buffer.len());
        let length = stream.bytes.read(&mut buffer[..room])?;
        if !self.speed.count(start, length) {
            let least = self.target.client.patience().min_bytes_per_s;
            let why = format!("it sends fewer than {least} bytes a second");
            return Err(Kind::Busy(why));
        }
        pace.moved(length);
        match length {
            0 if self.end.is_some() => Err(cut().into()),
            _ => Ok(length),
        }
    }

    /// Goes on after a cut; fails if that happened too often.
    fn go_on(&mut self, problem: io::Error) -> Result<(), Kind> {
        self.stream = None;
        let gained = std::mem::take(&mut self.gained);
        let pause = self
            .tries
            .pause(self.target.client.patience(), None, gained);
        let Some(pause) = pause else {
            let why = format!("{problem} (tries: {})", self.tries.count());
            return Err(io::Error::new(problem.kind(), why).into());
        };
        thread::sleep(pause);
        self.connect().map(|_| ())
    }

    /// The end: lets the library see it too.
    fn finish(&mut self) {
        if let Some(mut stream) = self.stream.take()
            && stream.ends_there
        {
            let _ = stream.bytes.read(&mut [0]);
        }
    }

    fn error(&self, kind: Kind) -> io::Error {
        let io_kind = match &kind {
            Kind::Unreachable(error) => error.kind(),
            _ => io::ErrorKind::Other,
        };
        let error = BackendError {
            place: self.target.place.clone(),
            operation: "read",
            name: self.target.name.clone(),
            kind,
        };
        io::Error::new(io_kind, error)
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.or(self.asked_end).map(|end| end - self.position);
        let room = left.map_or(buffer.len(), |left| {
            usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()))
        });
        if left == Some(0) {
            self.finish();
            return Ok(0);
        }
        if room == 0 {
            return Ok(0);
        }
        loop {
            match self.read_once(&mut buffer[..room]) {
                Ok(length) => {
                    self.position += length as u64;
                    self.gained += length as u64;
                    return Ok(length);
                }
                Err(Kind::Unreachable(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(Kind::Unreachable(error)) => {
                    self.go_on(error).map_err(|kind| self.error(kind))?;
                }
                Err(kind) => {
                    self.stream = None;
                    return Err(self.error(kind));
                }
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before its end")
}

fn changed() -> Kind {
    Kind::Protocol("it became another file while it was read".to_owned())
}

/// Only a strong ETag may be used to continue a file (RFC 9110, 13.1.5).
fn strong_validator(answer: &Answer) -> Option<String> {
    text(answer, header::ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(answer, header::LAST_MODIFIED))
        .map(str::to_owned)
}

/// What `Content-Range` says of a part.
fn content_range(value: &str) -> Option<ContentRange> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = match total {
        "*" => None,
        total => Some(total.parse::<u64>().ok()?),
    };
    let fits = first <= last && last < total.unwrap_or(u64::MAX);
    fits.then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_taken_as_a_whole_or_not() {
        let check = |text: &str, expected: Option<ContentRange>| {
            assert_eq!(content_range(text), expected, "{text}");
        };
        check("bytes 3-5/9", Some((3, 5, Some(9))));
        check("bytes 3-5/*", Some((3, 5, None)));
        for bad in [
            "",
            "bytes 5-3/9",
            "bytes 3-9/9",
            "bytes */9",
            "3-5/9",
            "bytes 3-5",
            "bytes 3-18446744073709551615/*",
        ] {
            check(bad, None);
        }
    }
}
