//! Fetching from servers that lie, stumble and stall.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use kiln_derivations::fetch::git::Repository;
use kiln_derivations::fetch::{
    Attempt, Cancel, Candidate, FetchConfig, FetchError, FetchProgress, FetchRequest, Fetched,
    Fetcher, Silent,
};
use kiln_store::hash::{ContentId, Digest};
use kiln_store::objects::{Memory, Objects};
use sha2::Digest as _;
use tempfile::TempDir;

/// What a server does with its `n`th request, counted from zero; the request
/// line and headers are given in one text.
type Behaviour = dyn Fn(usize, &str, &mut TcpStream) + Send + Sync;

/// A server that lives as long as the test process.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn new(behaviour: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, behaviour) = (Arc::clone(&count), Arc::clone(&behaviour));
                thread::spawn(move || serve(stream, &count, &*behaviour));
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn candidate(&self) -> Candidate {
        format!("{}/file", self.url).parse().expect("candidate")
    }
}

/// One request a connection: simple, and it makes cuts unambiguous.
fn serve(mut stream: TcpStream, count: &AtomicUsize, behaviour: &Behaviour) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    behaviour(count.fetch_add(1, Ordering::SeqCst), &request, &mut stream);
}

fn answer(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

fn ok(stream: &mut TcpStream, body: &[u8]) {
    answer(
        stream,
        &format!("200 OK\r\nContent-Length: {}", body.len()),
        body,
    );
}

/// The value of a header.
fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Answers a `Range: bytes=N-` properly.
fn continued(stream: &mut TcpStream, request: &str, body: &[u8]) {
    let range = header(request, "range").expect("a range");
    let start = range.trim_start_matches("bytes=").trim_end_matches('-');
    let start: usize = start.parse().expect("a number");
    let (last, total) = (body.len() - 1, body.len());
    let length = total - start;
    answer(
        stream,
        &format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{last}/{total}\r\nContent-Length: {length}"
        ),
        &body[start..],
    );
}

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn request(candidates: Vec<Candidate>) -> FetchRequest {
    let content = content();
    FetchRequest {
        name: "thing".to_owned(),
        candidates,
        sha256: Digest::from_bytes(sha2::Sha256::digest(&content).into()),
        blake3: Some(ContentId(Digest::of(&content))),
        size: Some(content.len() as u64),
        first_seen: None,
    }
}

/// A configuration whose pauses are short.
fn config(directory: &Path) -> FetchConfig {
    let mut config = FetchConfig::new(directory.to_owned());
    config.retry.first_pause = Duration::from_millis(10);
    config.retry.max_pause = Duration::from_millis(40);
    config.snapshots = None;
    config
}

fn fetch_in(directory: &Path, request: &FetchRequest) -> Result<Fetched, FetchError> {
    let fetcher = Fetcher::new(config(directory)).expect("fetcher");
    fetcher.fetch(request, &Silent, &Cancel::default())
}

fn fetch(candidates: Vec<Candidate>) -> Result<Fetched, FetchError> {
    let directory = TempDir::new().expect("directory");
    let outcome = fetch_in(directory.path(), &request(candidates));
    if let Ok(fetched) = &outcome {
        assert_eq!(fs::read(&fetched.path).expect("read"), content());
        let left = fs::read_dir(directory.path()).expect("list").count();
        assert_eq!(left, 1, "only the file itself is left");
    }
    outcome
}

/// The error without ports and paths that differ between runs.
fn check_failure(outcome: Result<Fetched, FetchError>, servers: &[&Server], expected: Expect) {
    let error = outcome.expect_err("a failure");
    let mut text = error.to_string();
    for (number, server) in servers.iter().enumerate() {
        text = text.replace(&server.url, &format!("http://server{number}"));
    }
    expected.assert_eq(&text);
}

#[test]
fn an_honest_server_is_asked_once() {
    let server = Server::new(|_, _, stream| ok(stream, &content()));
    let fetched = fetch(vec![server.candidate()]).expect("fetched");
    assert_eq!(fetched.size, 800_000);
    assert_eq!(fetched.from, Some(format!("{}/file", server.url)));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_file_that_is_there_is_verified_and_used() {
    let directory = TempDir::new().expect("directory");
    let server = Server::new(|_, _, stream| ok(stream, &content()));
    let request = request(vec![server.candidate()]);
    let first = fetch_in(directory.path(), &request).expect("fetched");
    let second = fetch_in(directory.path(), &request).expect("fetched");
    assert_eq!((second.from, server.requests()), (None, 1));

    fs::write(&first.path, b"damaged").expect("write");
    fetch_in(directory.path(), &request).expect("fetched");
    assert_eq!(server.requests(), 2);
}

#[test]
fn lies_are_named_and_the_next_candidate_is_tried() {
    let wrong = Server::new(|_, _, stream| ok(stream, &vec![0; 800_000]));
    let short = Server::new(|_, _, stream| ok(stream, b"<html>welcome</html>"));
    let gone = Server::new(|_, _, stream| answer(stream, "404 Not Found", b""));
    let forbidden = Server::new(|_, _, stream| answer(stream, "403 Forbidden", b""));
    let servers = [&wrong, &short, &gone, &forbidden];
    let candidates = servers.map(|server| server.candidate()).to_vec();
    check_failure(
        fetch(candidates.clone()),
        &servers,
        expect![[r#"
            cannot fetch thing
              http://server0/file
                wrong sha256: expected 2fadeb03b6d797daf4d2a3fdfdbe5662d50eaa343fc153b249894a336bf0ebba, got 8568d6b117678d53edec66018e6d52abe48837f64aebd6aee0153ddf2001ea51
              http://server1/file
                wrong size: expected 800000 bytes, got 20
              http://server2/file
                not found
              http://server3/file
                the server answers 403"#]],
    );

    let honest = Server::new(|_, _, stream| ok(stream, &content()));
    let candidates = [candidates, vec![honest.candidate()]].concat();
    fetch(candidates).expect("fetched");
    let asked = servers.map(Server::requests);
    assert_eq!(asked, [2, 2, 2, 2], "nothing here is worth a second try");
}

#[test]
fn a_redirect_is_followed() {
    let server = Server::new(|_, request, stream| match request.contains("/moved") {
        true => ok(stream, &content()),
        false => answer(
            stream,
            "302 Found\r\nLocation: /moved\r\nContent-Length: 0",
            b"",
        ),
    });
    fetch(vec![server.candidate()]).expect("fetched");
    assert_eq!(server.requests(), 2);
}

#[test]
fn trouble_that_passes_is_waited_for() {
    let server = Server::new(|number, _, stream| match number {
        0 => answer(stream, "500 Oops\r\nContent-Length: 0", b""),
        1 => answer(
            stream,
            "503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0",
            b"",
        ),
        _ => ok(stream, &content()),
    });
    fetch(vec![server.candidate()]).expect("fetched");
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_cut_body_is_continued_with_its_validator() {
    let seen = Arc::new(Mutex::new(String::new()));
    let second = Arc::clone(&seen);
    let server = Server::new(move |number, request, stream| match number {
        0 => answer(
            stream,
            "200 OK\r\nETag: \"v1\"\r\nContent-Length: 800000",
            &content()[..500_000],
        ),
        _ => {
            *second.lock().expect("lock") = request.to_owned();
            continued(stream, request, &content());
        }
    });
    fetch(vec![server.candidate()]).expect("fetched");
    let seen = seen.lock().expect("lock");
    assert_eq!(header(&seen, "range"), Some("bytes=500000-"));
    assert_eq!(header(&seen, "if-range"), Some("\"v1\""));
}

#[test]
fn a_part_is_continued_by_the_next_run_and_by_another_mirror() {
    let directory = TempDir::new().expect("directory");
    let cut = Server::new(|_, _, stream| {
        answer(
            stream,
            "200 OK\r\nContent-Length: 800000",
            &content()[..300_000],
        );
    });
    let outcome = fetch_in(directory.path(), &request(vec![cut.candidate()]));
    check_failure(
        outcome,
        &[&cut],
        expect![[r#"
            cannot fetch thing
              http://server0/file
                cut off after 300000 bytes of 800000 (Peer disconnected)"#]],
    );
    let other = Server::new(|_, request, stream| continued(stream, request, &content()));
    let fetched = fetch_in(directory.path(), &request(vec![other.candidate()]));
    assert_eq!(fetched.expect("fetched").size, 800_000);
    assert_eq!(other.requests(), 1);
}

/// A part that is wrong from its first byte must not condemn an honest server.
#[test]
fn a_poisoned_part_is_thrown_away() {
    let directory = TempDir::new().expect("directory");
    let server = Server::new(|_, request, stream| match header(request, "range") {
        Some(_) => continued(stream, request, &content()),
        None => ok(stream, &content()),
    });
    let request = request(vec![server.candidate()]);
    let part = directory.path().join(format!("{}.part", request.sha256));
    for length in [1000, 800_000, 900_000] {
        fs::write(&part, vec![b'x'; length]).expect("write");
        let fetched = fetch_in(directory.path(), &request).expect("fetched");
        fs::remove_file(fetched.path).expect("remove");
    }
}

#[test]
fn a_server_that_cannot_continue_starts_over() {
    let server = Server::new(|number, _, stream| match number {
        0 => answer(stream, "200 OK\r\nContent-Length: 800000", &content()[..9]),
        1 => answer(stream, "416 No\r\nContent-Length: 0", b""),
        2 => answer(stream, "200 OK\r\nContent-Length: 800000", &content()[..9]),
        _ => ok(stream, &content()),
    });
    fetch(vec![server.candidate()]).expect("fetched");
    assert_eq!(server.requests(), 4);
}

#[test]
fn a_dead_mirror_is_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let dead = format!("http://{}", listener.local_addr().expect("address"));
    drop(listener);
    let alive = Server::new(|_, _, stream| ok(stream, &content()));
    let directory = TempDir::new().expect("directory");
    let mut config = config(directory.path());
    config.debian_roots = vec![format!("{dead}/debian")];
    config.mirrors = vec![format!("{}/debian", alive.url)];
    let fetcher = Fetcher::new(config).expect("fetcher");
    let candidate: Candidate = "debian:pool/main/t/thing.deb".parse().expect("candidate");
    let fetched = fetcher.fetch(&request(vec![candidate]), &Silent, &Cancel::default());
    let from = fetched.expect("fetched").from.expect("a place");
    assert_eq!(from, format!("{}/debian/pool/main/t/thing.deb", alive.url));
}

#[test]
fn no_archive_at_all_is_said() {
    let candidate: Candidate = "debian:pool/main/t/thing.deb".parse().expect("candidate");
    check_failure(
        fetch(vec![candidate]),
        &[],
        expect![
            "cannot fetch thing: debian:pool/main/t/thing.deb names no place: this machine has no Debian archive configured, and no mirror is given"
        ],
    );
}

#[test]
fn tls_that_is_none_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            ok(&mut stream, &content());
            thread::sleep(Duration::from_millis(200));
        }
    });
    let candidate = format!("https://{address}/file").parse();
    let error = fetch(vec![candidate.expect("candidate")]).expect_err("a failure");
    let text = error.to_string();
    assert!(text.contains("TLS failed: "), "{text}");
}

fn endless(stream: &mut TcpStream) {
    answer(stream, "200 OK", b"");
    while stream.write_all(&[7; 65_536]).is_ok() {}
}

#[test]
fn an_endless_body_is_ended() {
    let server = Server::new(|_, _, stream| endless(stream));
    check_failure(
        fetch(vec![server.candidate()]),
        &[&server],
        expect![[r#"
            cannot fetch thing
              http://server0/file
                it goes on after 800000 bytes, where it should have ended"#]],
    );
}

#[test]
fn an_endless_body_of_unknown_size_is_ended() {
    let server = Server::new(|_, _, stream| endless(stream));
    let directory = TempDir::new().expect("directory");
    let mut config = config(directory.path());
    config.max_unpinned_bytes = 1 << 20;
    let fetcher = Fetcher::new(config).expect("fetcher");
    let outcome = fetcher.fetch_new(
        "new",
        &[server.candidate()],
        &|_| Ok(()),
        &Silent,
        &Cancel::default(),
    );
    let text = outcome.expect_err("a failure").to_string();
    assert!(text.ends_with("it goes on after 1048576 bytes, where it should have ended"));
}

#[test]
fn slow_and_stalled_bodies_are_given_up() {
    let drip = Server::new(|_, _, stream| {
        answer(stream, "200 OK\r\nContent-Length: 800000", b"");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let stalled = Server::new(|_, _, stream| {
        answer(stream, "200 OK\r\nContent-Length: 800000", b"some");
        thread::sleep(Duration::from_secs(30));
    });
    let silent = Server::new(|_, _, _| thread::sleep(Duration::from_secs(30)));
    let servers = [&drip, &stalled, &silent];
    let directory = TempDir::new().expect("directory");
    let mut config = config(directory.path());
    config.timeouts.stall = Duration::from_millis(300);
    config.timeouts.response = Duration::from_millis(600);
    config.timeouts.connect = Duration::from_millis(600);
    config.timeouts.speed_window = Duration::from_millis(300);
    config.timeouts.min_bytes_per_s = 100_000;
    let fetcher = Fetcher::new(config).expect("fetcher");
    let request = request(servers.map(Server::candidate).to_vec());
    let began = Instant::now();
    let outcome = fetcher.fetch(&request, &Silent, &Cancel::default());
    assert!(began.elapsed() < Duration::from_secs(15));
    let text = outcome.expect_err("a failure").to_string();
    assert!(
        text.contains("too slow: less than 100000 bytes a second"),
        "{text}"
    );
    assert!(text.contains("cut off after "), "{text}");
    assert!(text.contains("no connection: timeout"), "{text}");
}

#[test]
fn cancelling_ends_a_transfer_and_keeps_the_part() {
    struct CancelAtFirstByte(Cancel);
    impl FetchProgress for CancelAtFirstByte {
        fn advanced(&self, _: &str, bytes: u64) {
            if bytes > 0 {
                self.0.cancel();
            }
        }
    }
    let server = Server::new(|_, _, stream| {
        answer(
            stream,
            "200 OK\r\nContent-Length: 800000",
            &content()[..400_000],
        );
        thread::sleep(Duration::from_secs(30));
    });
    let directory = TempDir::new().expect("directory");
    let fetcher = Fetcher::new(config(directory.path())).expect("fetcher");
    let request = request(vec![server.candidate()]);
    let cancel = Cancel::default();
    let outcome = fetcher.fetch(&request, &CancelAtFirstByte(cancel.clone()), &cancel);
    assert!(matches!(outcome, Err(FetchError::Cancelled { .. })));
    let part = directory.path().join(format!("{}.part", request.sha256));
    assert!(fs::metadata(part).expect("part").len() > 0);
}

#[test]
fn many_files_are_fetched_beside_each_other_and_reported() {
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);
    impl FetchProgress for Log {
        fn failed(&self, name: &str, attempt: &Attempt) {
            self.0
                .lock()
                .expect("lock")
                .push(format!("{name}: {}", attempt.problem));
        }
        fn ended(&self, name: &str, success: bool) {
            self.0
                .lock()
                .expect("lock")
                .push(format!("{name}: {success}"));
        }
    }
    let server = Server::new(|_, request, stream| match request.contains("/file") {
        true => ok(stream, &content()),
        false => answer(stream, "404 Not Found", b""),
    });
    let missing = format!("{}/missing", server.url)
        .parse()
        .expect("candidate");
    // The same file twice: the second waits for the first and takes its file.
    let requests = [
        request(vec![server.candidate()]),
        request(vec![server.candidate()]),
        FetchRequest {
            name: "other".to_owned(),
            sha256: Digest::of(b"other"),
            ..request(vec![missing])
        },
    ];
    let directory = TempDir::new().expect("directory");
    let fetcher = Fetcher::new(config(directory.path())).expect("fetcher");
    let log = Log::default();
    let outcomes = fetcher.fetch_all(&requests, 3, &log, &Cancel::default());
    let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!((good, server.requests()), (vec![true, true, false], 2));
    let mut log = log.0.into_inner().expect("lock");
    log.sort();
    assert_eq!(
        log,
        [
            "other: false",
            "other: not found",
            "thing: true",
            "thing: true"
        ]
    );
}

#[test]
fn a_file_of_this_machine_is_copied_and_verified() {
    let directory = TempDir::new().expect("directory");
    let path = directory.path().join("source");
    fs::write(&path, content()).expect("write");
    let candidate: Candidate = format!("file:{}", path.display())
        .parse()
        .expect("candidate");
    fetch(vec![candidate.clone()]).expect("fetched");

    fs::write(&path, b"changed").expect("write");
    let text = fetch(vec![candidate]).expect_err("a failure").to_string();
    assert!(
        text.ends_with("wrong size: expected 800000 bytes, got 7"),
        "{text}"
    );
    let candidate: Candidate = "file:/nonexistent".parse().expect("candidate");
    let text = fetch(vec![candidate]).expect_err("a failure").to_string();
    assert!(text.ends_with("file:/nonexistent\n    not found"), "{text}");
}

#[test]
fn a_proxy_is_used() {
    let proxy = Server::new(|_, request, stream| {
        assert!(
            request.starts_with("GET http://far.example/file "),
            "{request}"
        );
        ok(stream, &content());
    });
    let directory = TempDir::new().expect("directory");
    let mut config = config(directory.path());
    config.proxies.all.http = Some(proxy.url.clone());
    let fetcher = Fetcher::new(config).expect("fetcher");
    let candidate = "http://far.example/file".parse().expect("candidate");
    let fetched = fetcher.fetch(&request(vec![candidate]), &Silent, &Cancel::default());
    fetched.expect("fetched");
}

#[test]
fn candidates_are_read_strictly() {
    let check = |text: &str, good: bool| {
        let parsed = text.parse::<Candidate>();
        assert_eq!(parsed.is_ok(), good, "{text}: {parsed:?}");
    };
    check("debian:pool/main/m/musl/musl_1.2.5.orig.tar.gz", true);
    check("https://example.org/x.tar.gz", true);
    check("file:///srv/x", true);
    for bad in [
        "",
        "x",
        "debian:/etc/passwd",
        "debian:pool/../../x",
        "debian:",
        "https:x",
        "https://",
        "file:relative",
        "ftp://example.org/x",
        "http://a b",
        "http://a\r\nHost: b",
    ] {
        check(bad, false);
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let identity = [
        "-c",
        "user.name=n",
        "-c",
        "user.email=e",
        "-c",
        "init.defaultBranch=main",
    ];
    let output = std::process::Command::new("git")
        .current_dir(directory)
        .args(identity)
        .args(arguments)
        .output()
        .expect("these tests need git: install it");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[test]
fn a_commit_becomes_the_tree_that_was_committed() {
    let work = TempDir::new().expect("directory");
    let at = |name: &str| work.path().join(name);
    git(work.path(), &["init", "--quiet"]);
    fs::create_dir(at("sub")).expect("mkdir");
    fs::write(at("sub/file"), "$Format:%H$ text").expect("write");
    // What `git archive` would leave out and rewrite.
    fs::write(
        at(".gitattributes"),
        "secret export-ignore\nsub/file export-subst\n",
    )
    .expect("write");
    fs::write(at("secret"), "kept").expect("write");
    std::os::unix::fs::symlink("sub/file", at("link")).expect("symlink");
    git(work.path(), &["add", "."]);
    git(work.path(), &["update-index", "--chmod=+x", "secret"]);
    git(work.path(), &["commit", "--quiet", "-m", "one"]);
    git(work.path(), &["tag", "-a", "-m", "tag", "v1"]);

    let cache = TempDir::new().expect("directory");
    let url = format!("file://{}", work.path().display());
    let repository = Repository::open(&url, cache.path()).expect("open");
    let commit = repository.resolve("v1").expect("resolve");
    assert_eq!(commit, git(work.path(), &["rev-parse", "HEAD"]));

    let objects = Memory::default();
    let tree = repository.tree(&commit, &objects).expect("tree");
    let root = objects.directory(&tree).expect("directory");
    let shown: Vec<String> = root
        .entries()
        .iter()
        .map(|entry| format!("{entry:?}"))
        .collect();
    expect![[r#"
        Entry { name: ".gitattributes", node: File { content: ContentId(fa8710974695d95b9bd0e9fd1bff6f0703b94ce5b1ef79110ea0128ec1a9933d), size: 43, executable: false } }
        Entry { name: "link", node: Symlink { target: [115, 117, 98, 47, 102, 105, 108, 101] } }
        Entry { name: "secret", node: File { content: ContentId(5e6f1a1a18575bd6705c9f36b25b50795525dc34e37f11bcbf0ff4bb1ff690e5), size: 4, executable: true } }
        Entry { name: "sub", node: Directory { tree: TreeId(77d2668057d46b72f006e5739b747ba4a9e1c26d2c1e8fa54a3c3fc3580b8f02) } }"#]].assert_eq(&shown.join("\n"));

    let error = repository.resolve("nothing").expect_err("no such branch");
    assert!(error.to_string().contains(&url), "{error}");
    let error = repository.tree("main", &objects).expect_err("no commit");
    assert!(error.to_string().contains("is not a commit"), "{error}");
    let missing = "0".repeat(40);
    let error = repository.tree(&missing, &objects).expect_err("no commit");
    assert!(
        error.to_string().contains("it has no commit 0000"),
        "{error}"
    );
}

/// The dated archive is rate-limited: asked only when nothing else helps, and
/// never twice at a time.
#[test]
fn snapshots_are_asked_last_and_one_by_one() {
    let mirror = Server::new(|_, _, stream| answer(stream, "404 Not Found", b""));
    let busy = Arc::new(AtomicUsize::new(0));
    let snapshots = Server::new(move |_, request, stream| {
        let beside = busy.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        let path = "GET /archive/debian/20261121T091300Z/pool/main/t/thing.deb ";
        let right = request.starts_with(path) && beside == 0;
        busy.fetch_sub(1, Ordering::SeqCst);
        match right {
            true => ok(stream, &content()),
            false => answer(stream, "403 Forbidden", b""),
        }
    });
    let directory = TempDir::new().expect("directory");
    let mut config = config(directory.path());
    config.debian_roots = vec![mirror.url.clone()];
    config.snapshots = Some(format!("{}/archive", snapshots.url));
    let fetcher = Fetcher::new(config).expect("fetcher");
    let candidate: Candidate = "debian:pool/main/t/thing.deb".parse().expect("candidate");
    let pinned = FetchRequest {
        first_seen: "20261121T091300Z".parse().ok(),
        ..request(vec![candidate])
    };
    // Other files, which the server answers with the wrong bytes.
    let others = (1..4_u8).map(|number| FetchRequest {
        sha256: Digest::of(&[number]),
        ..pinned.clone()
    });
    let requests: Vec<FetchRequest> = others.chain([pinned.clone()]).collect();
    let outcomes = fetcher.fetch_all(&requests, 4, &Silent, &Cancel::default());
    let texts: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(outcome.as_ref().err()?.to_string()))
        .collect();
    assert!(outcomes[3].is_ok() && texts.len() == 3, "{texts:?}");
    assert!(
        texts.iter().all(|text| text.contains("wrong sha256")),
        "{texts:?}"
    );
    assert_eq!((mirror.requests(), snapshots.requests()), (4, 4));
}
