//! Serves a directory cache over HTTP, to be read.
//!
//! - `request`: what is asked, and what it comes to; pure.
//! - `body`: a file on its way out.
//! - `slow`: a connection that ends if its other side takes nothing.
//!
//! GET and HEAD of files, whole or one part of them. Nothing is listed, nothing
//! is written, and what is no file of a cache is not there: not what is above
//! the directory, not what a symbolic link leads to, not what is being written.
//! It speaks no TLS and knows no logins: that is a reverse proxy's work, and
//! what it serves is checked by who reads it in any case.
//!
//! One thread waits for all connections, others read from the disk.

mod body;
pub(super) mod request;
mod slow;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::directory::Directory;
use body::Content;
use request::Asked;
use slow::Slow;

/// The largest head of a request, in bytes; no name of a cache is longer than a
/// fraction of it.
const HEAD_BYTES: usize = 16 << 10;
/// Threads that read from the disk, and one that waits for the end.
const THREADS: usize = 17;
/// How long is waited after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(200);

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time; more wait until one of these ends.
    pub connections: usize,
    /// How long the head of a request may take, and a connection be idle.
    pub head: Duration,
    /// The time over which the least speed is measured: only time counts in
    /// which the client could have taken something.
    pub window: Duration,
    /// The least that a client has to take in that time, in bytes.
    pub least_bytes: u64,
    /// How long answers that are under way may take when the server ends.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(30),
            window: Duration::from_secs(30),
            least_bytes: 64 << 10,
            closing: Duration::from_secs(3),
        }
    }
}

/// A request that was answered, as far as it was.
#[derive(Clone, Debug)]
pub struct Served {
    /// Who asked.
    pub peer: SocketAddr,
    /// `GET`, and the like.
    pub method: String,
    /// The path, with anything but printable ASCII escaped.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the body that were handed to the connection.
    pub bytes: u64,
    /// From the request's head to the end of the answer.
    pub wall: Duration,
}

/// Told of each request, from any thread.
pub type Log = Arc<dyn Fn(&Served) + Send + Sync>;

/// A server that has its address, and answers once it runs.
pub struct Server {
    directory: Arc<Directory>,
    listener: StdListener,
    limits: Limits,
}

impl Server {
    /// Takes an address for what is in `directory`, which has to be there. Port 0
    /// is any that is free.
    pub fn bind(directory: Directory, address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            directory: Arc::new(directory),
            listener,
            limits,
        })
    }

    /// Where it can be reached.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` becomes readable; answers that are under way then have
    /// [`Limits::closing`] to end.
    pub fn run(self, stop: BorrowedFd<'_>, log: Log) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(THREADS)
            .build()?;
        let stop = stop.try_clone_to_owned()?;
        let served = runtime.block_on(self.serve(stop, log));
        // A disk that does not answer holds up no end.
        runtime.shutdown_background();
        served
    }

    async fn serve(self, stop: OwnedFd, log: Log) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let mut stopped = spawn_blocking(move || readable(&stop));
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let (ending, end) = watch::channel(());
        let mut connections = JoinSet::new();
        let client = |peer| Client {
            directory: self.directory.clone(),
            limits: self.limits,
            log: log.clone(),
            peer,
        };
        loop {
            let next = tokio::select! {
                _ = &mut stopped => break,
                next = accept(&listener, &permits) => next,
            };
            match next {
                Ok((stream, peer, permit)) => {
                    let serving = client(peer).serve(stream, end.clone(), permit);
                    drop(connections.spawn(serving));
                }
                // Too many files are open, or the client is gone again.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
        drop((listener, ending));
        let all = async { while connections.join_next().await.is_some() {} };
        // What is not over by then is cut off.
        let _ = tokio::time::timeout(self.limits.closing, all).await;
        Ok(())
    }
}

/// Returns once there is something to read, or nothing will ever be.
fn readable(fd: &OwnedFd) {
    let mut wanted = [PollFd::new(fd, PollFlags::IN)];
    while poll(&mut wanted, None) == Err(Errno::INTR) {}
}

/// The next connection, once there may be another.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// One connection.
#[derive(Clone)]
struct Client {
    directory: Arc<Directory>,
    limits: Limits,
    log: Log,
    peer: SocketAddr,
}

impl Client {
    /// Answers until the client has enough, or the server's `end` comes.
    async fn serve(
        self,
        stream: TcpStream,
        mut end: watch::Receiver<()>,
        permit: OwnedSemaphorePermit,
    ) {
        let io = TokioIo::new(Slow::new(
            stream,
            self.limits.window,
            self.limits.least_bytes,
        ));
        let head = self.limits.head;
        let service = service_fn(move |request| self.clone().answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(io, service);
        let mut connection = pin!(connection);
        // A client that breaks off or breaks the rules is no error of ours.
        let _ = tokio::select! {
            over = connection.as_mut() => over,
            _ = end.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        drop(permit);
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Content>, Infallible> {
        let start = Instant::now();
        let asked = Asked::new(request.method(), request.uri().path(), request.headers());
        let directory = self.directory;
        let found = match asked.name() {
            None => Ok(None),
            Some(name) => {
                let name = name.clone();
                let opened = spawn_blocking(move || directory.stored(&name)).await;
                opened
                    .map_err(io::Error::other)
                    .and_then(|found| found.map_err(|error| request::io_error(&error)))
            }
        };
        let answer = asked.answer(found);
        let served = Served {
            peer: self.peer,
            method: request.method().to_string(),
            path: request.uri().path().escape_default().to_string(),
            status: answer.head.status().as_u16(),
            bytes: 0,
            wall: Duration::ZERO,
        };
        let content = Content::new(answer.part, served, start, self.log);
        Ok(answer.head.map(|()| content))
    }
}
