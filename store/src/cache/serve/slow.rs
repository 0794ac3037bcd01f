//! A connection that ends if its other side takes what it is sent too slowly.
//!
//! What counts is the time in which something was ready to be sent and the
//! client took nothing, as in `web/speed.rs`. How long a client may take to ask
//! is hyper's to watch.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A stream that is watched.
pub(super) struct Slow {
    stream: TcpStream,
    pace: Pace,
    /// Wakes when the window is over, while the client takes nothing.
    alarm: Option<Pin<Box<Sleep>>>,
    blocked: Option<Instant>,
}

/// Bytes that were taken in the time that was waited.
#[derive(Debug)]
struct Pace {
    window: Duration,
    least_bytes: u64,
    waited: Duration,
    bytes: u64,
}

impl Slow {
    /// In each `window` of waiting at least `least_bytes` have to be taken.
    pub(super) fn new(stream: TcpStream, window: Duration, least_bytes: u64) -> Self {
        Self {
            stream,
            pace: Pace {
                window,
                least_bytes,
                waited: Duration::ZERO,
                bytes: 0,
            },
            alarm: None,
            blocked: None,
        }
    }

    /// What a write came to, unless it took too long to come to that.
    fn watched(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let waited = self.blocked.take().map(|since| since.elapsed());
                self.alarm = None;
                match self.pace.count(waited.unwrap_or_default(), bytes as u64) {
                    true => Poll::Ready(Ok(bytes)),
                    false => Poll::Ready(Err(too_slow())),
                }
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait(context),
        }
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.blocked.get_or_insert_with(Instant::now);
        let left = self.pace.left();
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(left)));
        if alarm.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // The window is over, and the client still takes nothing.
        self.alarm = None;
        self.blocked = Some(Instant::now());
        if !self.pace.count(left, 0) {
            return Poll::Ready(Err(too_slow()));
        }
        // A new window, whose alarm has to be polled to wake anybody.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Pace {
    /// How long the window still goes on.
    fn left(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// `bytes` were taken after so long. False if that is too few.
    fn count(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.window {
            return true;
        }
        let is_enough = self.bytes >= self.least_bytes;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_enough
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client takes too little")
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_that_was_waited_counts() {
        let mut pace = Pace {
            window: Duration::from_secs(10),
            least_bytes: 100,
            waited: Duration::ZERO,
            bytes: 0,
        };
        let seconds = Duration::from_secs;
        assert!(pace.count(seconds(0), 40) && pace.count(seconds(9), 30));
        assert_eq!(pace.left(), seconds(1));
        assert!(pace.count(seconds(1), 30), "a hundred in ten seconds");
        assert_eq!(pace.left(), seconds(10), "a new window");
        assert!(pace.count(seconds(9), 99));
        assert!(!pace.count(seconds(2), 0), "one too few");
    }
}
