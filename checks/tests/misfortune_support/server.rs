//! A web server that misbehaves as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kiln_derivations::manifest::lock::PinnedSource;
use kiln_store::hash::Digest;
use sha2::{Digest as _, Sha256};

/// How the server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With the whole content, or the rest that is asked for.
    Content(Vec<u8>),
    /// Announces the whole, and closes in the middle, every time anew.
    CutOff(Vec<u8>),
    /// The first `sent` bytes of what is asked for, and then nothing, without
    /// closing.
    Stalls {
        /// What it would send.
        content: Vec<u8>,
        /// How much of it it sends.
        sent: usize,
    },
    /// A kibibyte now and then.
    Slowly(Vec<u8>),
    /// There is no such file.
    NotFound,
}

/// A server on a port of its own, until the program ends.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it.
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let server = Self {
            address: listener.local_addr().expect("it is bound"),
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
        };
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                // Whoever hangs up early is judged elsewhere.
                thread::spawn(move || server.serve(stream).ok());
            }
        });
        server
    }

    /// From now on it answers so.
    pub fn set(&self, answer: Answer) {
        *self.answer.lock().expect("nobody panics") = answer;
    }

    /// The address of a file on it.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// The requests it got: each the value of `Range`, or nothing.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panics").clone()
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut range = String::new();
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        loop {
            let line = lines.next().unwrap_or(Ok(String::new()))?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("range")
            {
                range = value.to_owned();
            }
        }
        let start = range
            .strip_prefix("bytes=")
            .and_then(|r| r.strip_suffix('-'));
        let start = start.and_then(|start| start.parse().ok()).unwrap_or(0);
        self.requests.lock().expect("nobody panics").push(range);
        let answer = self.answer.lock().expect("nobody panics").clone();
        match answer {
            Answer::Content(content) => {
                head(&mut stream, &content, start)?;
                stream.write_all(&content[start..])
            }
            Answer::CutOff(content) => {
                head(&mut stream, &content, 0)?;
                stream.write_all(&content[..content.len() / 2])
            }
            Answer::Stalls { content, sent } => {
                head(&mut stream, &content, start)?;
                stream.write_all(&content[start..content.len().min(start + sent)])?;
                thread::sleep(Duration::from_secs(600));
                Ok(())
            }
            Answer::Slowly(content) => {
                head(&mut stream, &content, start)?;
                for chunk in content[start..].chunks(1 << 10) {
                    stream.write_all(chunk)?;
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            }
            Answer::NotFound => stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ),
        }
    }
}

fn head(stream: &mut TcpStream, content: &[u8], start: usize) -> std::io::Result<()> {
    let total = content.len();
    let (status, range) = match start {
        0 => ("200 OK", String::new()),
        _ => (
            "206 Partial Content",
            format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1),
        ),
    };
    let length = total - start;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{range}ETag: \"same\"\r\nConnection: close\r\n\r\n"
    )
}

/// The address of a port where nobody listens.
pub fn nobody(name: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    format!("http://{address}/{name}")
}

/// Bytes that differ by `seed` and do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A source that is pinned to `content`.
pub fn pinned(name: &str, urls: &[String], content: &[u8]) -> PinnedSource {
    let sha256 = Sha256::digest(content);
    PinnedSource {
        name: name.to_owned(),
        urls: urls.to_vec(),
        candidates: Vec::new(),
        size: content.len() as u64,
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        blake3: Digest::of(content).to_string(),
        rev: String::new(),
        first_seen: "20261121T000000Z".to_owned(),
    }
}
