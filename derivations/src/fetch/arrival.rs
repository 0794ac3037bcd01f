//! What a server answers, as it comes, to somebody who may stop waiting.
//!
//! A blocked system call cannot be taken back, so another thread is blocked in
//! it: it asks, reads, and hands over. Who is told to stop goes at once, and
//! that thread follows when its server says something or is too slow.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use kiln_store::web::Agents;
use ureq::http::Response;

use super::config::Proxies;
use super::error::Problem;
use super::exchange::{From, get};
use super::progress::Cancel;

const BUFFER_BYTES: usize = 64 << 10;
/// How many buffers are read ahead of who takes them.
const BUFFERS: usize = 4;
/// How often it is looked whether to stop.
const STEP: Duration = Duration::from_millis(50);

/// What is asked of a server.
pub(super) struct Question {
    pub(super) agents: Agents,
    pub(super) proxies: Proxies,
    pub(super) debian: bool,
    pub(super) url: String,
    pub(super) offset: u64,
    pub(super) validator: Option<String>,
}

/// A piece of the answer.
pub(super) enum Arrival {
    /// The first: the answer without its body.
    Head(Result<Response<()>, Problem>),
    /// Some bytes of the body; none at its end.
    Body(io::Result<Vec<u8>>),
}

/// The answer to one question.
pub(super) struct Arrivals(Receiver<Arrival>);

/// It was asked to stop.
pub(super) struct Stopped;

impl Arrivals {
    /// Asks.
    pub(super) fn of(question: Question) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(BUFFERS);
        // A send fails when nobody waits any more, and then all is said.
        let deliver = move || _ = question.deliver(&sender);
        thread::Builder::new().spawn(deliver)?;
        Ok(Self(receiver))
    }

    /// Waits for the next piece.
    pub(super) fn next(&self, cancel: &Cancel) -> Result<Arrival, Stopped> {
        loop {
            if cancel.is_cancelled() {
                return Err(Stopped);
            }
            match self.0.recv_timeout(STEP) {
                Ok(arrival) => return Ok(arrival),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Arrival::Body(Err(ErrorKind::UnexpectedEof.into())));
                }
            }
        }
    }
}

/// Nobody waits for the answer.
struct Unwanted;

impl Question {
    fn deliver(self, sender: &SyncSender<Arrival>) -> Result<(), Unwanted> {
        let send = |arrival| sender.send(arrival).map_err(|_| Unwanted);
        let from = From {
            offset: self.offset,
            validator: self.validator.as_deref(),
        };
        let response = get(&self.agents, &self.proxies, self.debian, &self.url, from);
        let response = match response {
            Ok(response) => response,
            Err(problem) => return send(Arrival::Head(Err(problem))),
        };
        let (head, body) = response.into_parts();
        send(Arrival::Head(Ok(Response::from_parts(head, ()))))?;
        let mut body = body.into_reader();
        loop {
            let mut buffer = vec![0; BUFFER_BYTES];
            let read = body.read(&mut buffer);
            if matches!(&read, Err(error) if error.kind() == ErrorKind::Interrupted) {
                continue;
            }
            let is_last = !matches!(read, Ok(1..));
            send(Arrival::Body(read.map(|length| {
                buffer.truncate(length);
                buffer
            })))?;
            if is_last {
                return Ok(());
            }
        }
    }
}
