//! A file, or a part of one, on its way to a client. Whatever becomes of it is
//! told when it is over.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::request::Part;
use super::{Log, Served};

/// How much is read at once.
const BUFFER_BYTES: u64 = 128 << 10;

/// The body of an answer; empty where there is nothing to send.
pub(super) struct Content {
    state: State,
    left: u64,
    served: Served,
    start: Instant,
    log: Log,
}

enum State {
    /// Nobody reads. None once it is over.
    Idle(Option<File>),
    /// A thread reads, and gives the file back.
    Reading(JoinHandle<io::Result<(File, Bytes)>>),
}

impl Content {
    pub(super) fn new(part: Option<Part>, served: Served, start: Instant, log: Log) -> Self {
        let (left, state) = match part {
            None => (0, State::Idle(None)),
            Some(Part { length: 0, .. }) => (0, State::Idle(None)),
            Some(part) => {
                let begin = move || {
                    let mut file = part.file;
                    file.seek(SeekFrom::Start(part.start))?;
                    read(file, part.length)
                };
                (part.length, State::Reading(spawn_blocking(begin)))
            }
        };
        Self {
            state,
            left,
            served,
            start,
            log,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        loop {
            match &mut this.state {
                State::Idle(file) => {
                    let Some(file) = file.take() else {
                        return Poll::Ready(None);
                    };
                    let left = this.left;
                    this.state = State::Reading(spawn_blocking(move || read(file, left)));
                }
                State::Reading(reading) => {
                    let read = ready!(Pin::new(reading).poll(context));
                    this.state = State::Idle(None);
                    let (file, bytes) = read.map_err(io::Error::other).flatten()?;
                    this.left -= bytes.len() as u64;
                    this.served.bytes += bytes.len() as u64;
                    this.state = State::Idle(Some(file));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.served.wall = self.start.elapsed();
        (self.log)(&self.served);
    }
}

/// The next bytes of a file, of which `left` are wanted.
fn read(mut file: File, left: u64) -> io::Result<(File, Bytes)> {
    let length = left.min(BUFFER_BYTES) as usize;
    let mut bytes = Vec::with_capacity(length);
    (&mut file).take(length as u64).read_to_end(&mut bytes)?;
    match bytes.len() == length {
        true => Ok((file, bytes.into())),
        // It was longer a moment ago. The connection is cut, so that nobody
        // takes what came for all.
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
