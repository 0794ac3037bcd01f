//! The server as its clients meet it: kiln's own, the curious and the slow.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use tempfile::TempDir;
use url::Url;

use super::*;
use crate::cache::access::Access;
use crate::cache::backend::{Backend, BackendError, Body, ByteRange, Listed, Source};
use crate::cache::contract;
use crate::cache::http::Http;
use crate::cache::name::Name;
use crate::cache::pace::Pace;

/// Long enough for what is to come, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is served until this is dropped.
struct Running {
    directory: TempDir,
    address: SocketAddr,
    /// Closing it ends the server.
    stop: Option<io::PipeWriter>,
    thread: Option<JoinHandle<io::Result<()>>>,
    served: Arc<Mutex<Vec<Served>>>,
}

impl Running {
    fn new() -> Self {
        Self::within(Limits::default())
    }

    fn within(limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("cache");
        fs::create_dir(&root).expect("writable");
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = Server::bind(Directory::new(root), any, limits).expect("a free port");
        let address = server.address().expect("it is bound");
        let served: Arc<Mutex<Vec<Served>>> = Arc::default();
        let log = served.clone();
        let log: Log = Arc::new(move |it| log.lock().expect("no panic").push(it.clone()));
        let (stopped, stop) = io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || server.run(stopped.as_fd(), log));
        Self {
            directory,
            address,
            stop: Some(stop),
            thread: Some(thread),
            served,
        }
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.directory.path().join("cache").join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        fs::write(path, content).expect("writable");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// The answer to a request of these lines, as it comes until the end.
    fn ask(&self, lines: &str) -> String {
        let mut stream = self.connect();
        let request = format!("{lines}\nHost: x\nConnection: close\n\n").replace('\n', "\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        String::from_utf8(answer).expect("text")
    }

    /// Asks, and wants this status and these words in the answer.
    fn check(&self, lines: &str, status: u16, words: &[&str]) -> String {
        let answer = self.ask(lines);
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{lines}: {answer}");
        for word in words {
            assert!(answer.contains(word), "{lines}: no `{word}` in {answer}");
        }
        answer
    }

    fn stop(&mut self) -> io::Result<()> {
        drop(self.stop.take());
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("no panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop().expect("it ends well");
        }
    }
}

/// Writes where the directory is, and reads what is served of it.
struct Halves {
    served: Http,
    written: Directory,
}

impl Backend for Halves {
    fn place(&self) -> String {
        self.served.place()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError> {
        self.served.open(name, range)
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
        self.served.size(name)
    }

    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), BackendError> {
        self.written.put(name, content, size_bytes)
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
        self.served.list(prefix)
    }

    fn remove(&self, name: &Name) -> Result<(), BackendError> {
        self.written.remove(name)
    }
}

#[test]
fn what_is_served_keeps_the_contract() {
    let running = Running::new();
    let url = Url::parse(&format!("http://{}/", running.address)).expect("a URL");
    contract::check(&Halves {
        served: Http::new(&url, &Access::anonymous()).expect("no login"),
        written: Directory::new(running.directory.path().join("cache")),
    });
    let served = running.served.lock().expect("no panic");
    let parts = served.iter().filter(|it| it.status == 206);
    assert!(parts.count() > 10, "parts are sent as parts");
}

#[test]
fn what_comes_over_http_is_paced() {
    let running = Running::new();
    running.put("packs/a", &[7; 100_000]);
    // Nobody waits, but all is counted.
    let stop = Arc::new(AtomicBool::new(true));
    let access = Access {
        pace: Pace::at_most("10k".parse().expect("a rate"), stop),
        ..Access::anonymous()
    };
    let url = Url::parse(&format!("http://{}/", running.address)).expect("a URL");
    let cache = Http::new(&url, &access).expect("no login");
    let name = Name::new("packs/a").expect("a name");
    let body = cache.open(&name, None).expect("it serves").expect("there");
    let mut body = body.content;
    assert_eq!(
        io::copy(&mut body, &mut io::sink()).expect("it comes"),
        100_000
    );
    let (due, elapsed) = access.pace.due();
    let least = Duration::from_secs(10);
    assert!((least..=least + elapsed).contains(&due), "{due:?}");
}

#[test]
fn files_come_whole_and_in_part() {
    let running = Running::new();
    running.put("packs/ab/abcd", b"0123456789");
    running.put("trees/empty", b"");
    let whole = running.check(
        "GET /packs/ab/abcd HTTP/1.1",
        200,
        &[
            "\r\n\r\n0123456789",
            "content-length: 10\r\n",
            "accept-ranges: bytes\r\n",
            "immutable",
        ],
    );
    let tag = whole.split("etag: ").nth(1).expect("a tag");
    let tag = tag.split('\r').next().expect("a line");
    let head = running.check(
        "HEAD /packs/ab/abcd HTTP/1.1",
        200,
        &["content-length: 10\r\n", tag],
    );
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let get = "GET /packs/ab/abcd HTTP/1.1";
    let part = format!("{get}\nRange: bytes=2-4");
    let words = ["content-range: bytes 2-4/10\r\n", "\r\n\r\n234"];
    running.check(&part, 206, &words);
    running.check(&format!("{part}\nIf-Range: {tag}"), 206, &words);
    let other = format!("{part}\nIf-Range: \"other\"");
    running.check(&other, 200, &["\r\n\r\n0123456789"]);
    let beyond = format!("{get}\nRange: bytes=10-");
    running.check(&beyond, 416, &["content-range: bytes */10\r\n"]);
    let known = running.check(&format!("{get}\nIf-None-Match: {tag}"), 304, &[tag]);
    assert!(known.ends_with("\r\n\r\n"), "{known}");
    let empty = ["content-length: 0\r\n", "no-cache"];
    running.check("GET /trees/empty HTTP/1.1", 200, &empty);
    running.check("GET /trees/empty?x=1 HTTP/1.1", 200, &empty);
}

/// The curious: whatever they ask for, they see files of the cache or nothing.
#[test]
fn nothing_else_is_there() {
    let running = Running::new();
    let cache = running.directory.path().join("cache");
    fs::write(running.directory.path().join("secret"), "s3cret").expect("writable");
    running.put("packs/good", b"good");
    running.put("packs/.tmp-1-2-3", b"s3cret");
    symlink("../secret", cache.join("link")).expect("writable");
    symlink("..", cache.join("up")).expect("writable");
    let pipe = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, cache.join("pipe"), pipe).expect("writable");
    for path in [
        "/",
        "/packs",
        "/packs/",
        "/../secret",
        "/packs/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "//secret",
        "/link",
        "/up/secret",
        "/pipe",
        "/packs/.tmp-1-2-3",
        "/packs/good/below",
        "/missing",
        "http://other.example/",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = running.check(&format!("{method} {path} HTTP/1.1"), 404, &[]);
            assert!(!answer.contains("s3cret"), "{path}: {answer}");
        }
    }
    for method in ["PUT", "DELETE", "POST", "OPTIONS", "PROPFIND", "X"] {
        let request = format!("{method} /packs/good HTTP/1.1\nContent-Length: 0");
        running.check(&request, 405, &["allow: GET, HEAD\r\n"]);
    }
    for nonsense in ["nonsense", "GET /\x01 HTTP/1.1", "GET / HTTP/3.0"] {
        running.check(nonsense, 400, &[]);
    }
    let long = format!("GET /{} HTTP/1.1", "a".repeat(64 << 10));
    running.check(&long, 431, &[]);
    assert_eq!(fs::read(cache.join("packs/good")).expect("there"), b"good");
}

#[test]
fn each_request_is_told_once_it_is_over() {
    let mut running = Running::new();
    running.put("packs/good", b"0123456789");
    running.check("GET /packs/good HTTP/1.1\nRange: bytes=-3", 206, &[]);
    running.check("GET /missing HTTP/1.1", 404, &[]);
    running.check("HEAD /packs/good HTTP/1.1", 200, &[]);
    running.stop().expect("it ends well");
    let served = running.served.lock().expect("no panic");
    let told: Vec<_> = served
        .iter()
        .map(|it| (it.method.as_str(), it.path.as_str(), it.status, it.bytes))
        .collect();
    assert_eq!(
        told,
        [
            ("GET", "/packs/good", 206, 3),
            ("GET", "/missing", 404, 0),
            ("HEAD", "/packs/good", 200, 0)
        ]
    );
}

#[test]
fn several_requests_share_a_connection() {
    let running = Running::new();
    running.put("a", b"first");
    running.put("b", b"second");
    let mut stream = running.connect();
    let requests =
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).expect("it reads");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("it answers");
    assert!(answers.contains("first") && answers.ends_with("second"));
}

/// Clients that hold a connection and do nothing with it.
#[test]
fn who_asks_too_slowly_is_cut_off() {
    let running = Running::within(Limits {
        head: Duration::from_millis(300),
        ..Limits::default()
    });
    for said in ["", "GET /a HT", "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = running.connect();
        stream.write_all(said.as_bytes()).expect("it reads");
        // Ends, and not by the patience of this test.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it is cut off");
    }
}

#[test]
fn who_takes_too_little_is_cut_off() {
    const SIZE: usize = 64 << 20;
    let running = Running::within(Limits {
        window: Duration::from_millis(300),
        ..Limits::default()
    });
    running.put("large", &vec![7; SIZE]);
    let mut stream = running.connect();
    let request = "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    // Nothing is taken until the server has given up.
    let start = Instant::now();
    while running.served.lock().expect("no panic").is_empty() {
        assert!(start.elapsed() < PATIENCE, "it waits for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut left = Vec::new();
    let _ = stream.read_to_end(&mut left);
    assert!(left.len() < SIZE, "{} bytes", left.len());
    assert!(running.served.lock().expect("no panic")[0].bytes < SIZE as u64);
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let running = Running::within(Limits {
        connections: 1,
        ..Limits::default()
    });
    running.put("a", b"content");
    let mut first = running.connect();
    first
        .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it reads");
    let mut answer = BufReader::new(first.try_clone().expect("a socket"));
    let mut seen = Vec::new();
    while !seen.ends_with(b"content") {
        let mut byte = [0];
        answer.read_exact(&mut byte).expect("it answers");
        seen.extend(byte);
    }
    let mut second = running.connect();
    second
        .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is queued");
    let short = Some(Duration::from_millis(300));
    second.set_read_timeout(short).expect("a socket");
    let mut byte = [0];
    let waits = second.read(&mut byte).expect_err("it waits");
    assert!(matches!(
        waits.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    ));
    first.shutdown(Shutdown::Both).expect("it is open");
    second.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut content = String::new();
    second.read_to_string(&mut content).expect("its turn");
    assert!(content.ends_with("content"), "{content}");
}

#[test]
fn the_end_comes_at_once_for_who_is_idle_and_soon_for_who_is_not() {
    let closing = Duration::from_millis(300);
    let mut running = Running::within(Limits {
        closing,
        ..Limits::default()
    });
    running.put("large", &vec![7; 64 << 20]);
    let idle = running.connect();
    let mut busy = running.connect();
    busy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it reads");
    let mut byte = [0];
    busy.read_exact(&mut byte).expect("it answers");
    let start = Instant::now();
    running.stop().expect("it ends well");
    assert!(start.elapsed() < PATIENCE);
    drop((idle, busy));
    TcpStream::connect(running.address).expect_err("nobody listens");
}
