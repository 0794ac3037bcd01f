//! A server that answers as it is told.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long something goes on that has no end. Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(20);

/// What it was asked.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `GET /path HTTP/1.1`.
    pub(super) line: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn is(&self, start: &str) -> bool {
        self.line.starts_with(start)
    }

    /// The first byte that is asked for.
    pub(super) fn start(&self) -> usize {
        let range = self.header("range").unwrap_or("bytes=0-");
        let start = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split('-').next());
        start.and_then(|start| start.parse().ok()).expect("a range")
    }
}

/// How a body comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As it should.
    AtOnce,
    /// So many bytes, and the connection is closed.
    CutAfter(usize),
    /// So many bytes, and nothing more.
    StallAfter(usize),
    /// So many bytes at a time, every ten milliseconds, over and over.
    Endless(usize),
}

/// What it answers.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    head: String,
    body: Vec<u8>,
    pace: Pace,
}

impl Reply {
    /// A status line's end and headers, each ending with `\r\n`.
    pub(super) fn new(status: &str, headers: &str, body: &[u8]) -> Self {
        Self {
            head: format!("HTTP/1.1 {status}\r\n{headers}"),
            body: body.to_vec(),
            pace: Pace::AtOnce,
        }
    }

    /// A short answer with its length.
    pub(super) fn status(status: &str, headers: &str) -> Self {
        Self::new(status, &format!("{headers}Content-Length: 0\r\n"), b"")
    }

    /// A file.
    pub(super) fn whole(content: &[u8]) -> Self {
        let length = format!("Content-Length: {}\r\n", content.len());
        Self::new("200 OK", &length, content)
    }

    /// What a decent server gives: the part that was asked for, or all.
    pub(super) fn decent(request: &Request, content: &[u8]) -> Self {
        let Some(range) = request.header("range") else {
            return Self::whole(content);
        };
        let (start, total) = (request.start(), content.len());
        let last = range
            .rsplit('-')
            .next()
            .and_then(|last| last.parse::<usize>().ok());
        let end = last.map_or(total, |last| total.min(last + 1));
        if start >= end {
            let headers = format!("Content-Range: bytes */{total}\r\n");
            return Self::status("416 Range Not Satisfiable", &headers);
        }
        let headers = format!(
            "Content-Length: {}\r\nContent-Range: bytes {start}-{}/{total}\r\n",
            end - start,
            end - 1
        );
        Self::new("206 Partial Content", &headers, &content[start..end])
    }

    pub(super) fn with(mut self, header: &str) -> Self {
        self.head.push_str(header);
        self
    }

    pub(super) fn at(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Whether the connection can be used again.
    fn send(&self, stream: &mut TcpStream, is_head: bool) -> io::Result<bool> {
        write!(stream, "{}\r\n", self.head)?;
        if is_head {
            return Ok(true);
        }
        match self.pace {
            Pace::AtOnce => stream.write_all(&self.body).map(|()| true),
            Pace::CutAfter(length) => stream.write_all(&self.body[..length]).map(|()| false),
            Pace::StallAfter(length) => {
                stream.write_all(&self.body[..length])?;
                thread::sleep(FOR_EVER);
                Ok(false)
            }
            Pace::Endless(length) => {
                let chunk = vec![b'x'; length];
                for _ in 0..FOR_EVER.as_millis() / 10 {
                    stream.write_all(&chunk)?;
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(false)
            }
        }
    }
}

type Answering = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// A server on a port of its own, until the program ends.
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Starts one. `answer` is told the request and how many came before.
    pub(super) fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (seen, answer, count) = (requests.clone(), Arc::new(answer), connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let (seen, answer) = (seen.clone(), answer.clone());
                // Whoever hangs up early is judged elsewhere.
                thread::spawn(move || serve(stream, &seen, &*answer).ok());
            }
        });
        Self {
            address,
            requests,
            connections,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What it was asked.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panics").clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answering) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = next(&mut reader, &mut stream)? {
        let count = {
            let mut seen = seen.lock().expect("nobody panics");
            seen.push(request.clone());
            seen.len() - 1
        };
        if !answer(&request, count).send(&mut stream, request.is("HEAD "))? {
            return Ok(());
        }
    }
    Ok(())
}

fn next(reader: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers = lines.iter().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    let mut request = Request {
        line: lines.first().cloned().unwrap_or_default(),
        headers: headers.collect(),
        body: Vec::new(),
    };
    if request.header("expect").is_some() {
        write!(stream, "HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}
