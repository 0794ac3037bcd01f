//! Servers that do not want to answer, and those that send one elsewhere.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::server::{Reply, Server};
use super::{cache, impatient, name, read, with};
use crate::cache::access::Access;
use crate::cache::backend::{Backend, Kind};
use crate::cache::credentials::{Credentials, TOKENS};
use crate::cache::http::Http;
use crate::web::Proxies;

/// What a server that always says `status` comes to, and after how many tries.
fn always(status: &'static str, headers: &'static str) -> (Kind, usize) {
    let server = Server::start(move |_, _| Reply::status(status, headers));
    let error = cache(&server).size(&name("file")).expect_err("it says no");
    assert_eq!(error.place, format!("http://{}/cache/", server.address()));
    (error.kind, server.requests().len())
}

#[test]
fn answers_have_their_kinds() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let (kind, tries) = always(status, "");
        assert!(
            matches!(&kind, Kind::Denied(why) if why.contains("netrc")),
            "{kind}"
        );
        assert_eq!(tries, 1);
    }
    for status in [
        "429 Too Many Requests",
        "500 Oops",
        "502 Bad",
        "503 Busy",
        "504 Late",
    ] {
        let (kind, tries) = always(status, "");
        assert!(
            matches!(&kind, Kind::Busy(why) if why.contains(&status[..3])),
            "{kind}"
        );
        assert_eq!(tries, 3, "{status}");
    }
    let (kind, tries) = always("400 Bad Request", "");
    assert!(matches!(kind, Kind::Refused(_)), "{kind}");
    assert_eq!(tries, 1);
    for status in ["404 Not Found", "410 Gone"] {
        let server = Server::start(move |_, _| Reply::status(status, ""));
        let cache = cache(&server);
        assert_eq!(cache.size(&name("file")).expect("no error"), None);
        assert!(cache.open(&name("file"), None).expect("no error").is_none());
        cache.remove(&name("file")).expect("no error");
    }
}

#[test]
fn passing_problems_pass() {
    for status in ["429 Too Many Requests", "500 Oops", "503 Busy"] {
        let server = Server::start(move |request, count| match count {
            0 | 1 => Reply::status(status, ""),
            _ => Reply::decent(request, b"content"),
        });
        assert_eq!(read(&cache(&server), None).expect("it goes"), b"content");
    }
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_wants() {
    let server = Server::start(move |request, count| match count {
        0 => Reply::status("503 Busy", "Retry-After: 1\r\n"),
        _ => Reply::decent(request, b"content"),
    });
    let start = Instant::now();
    assert_eq!(read(&cache(&server), None).expect("it goes"), b"content");
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_server_that_wants_too_much_time_is_busy_at_once() {
    let start = Instant::now();
    for after in [
        "Retry-After: 3600\r\n",
        "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n",
    ] {
        let (kind, tries) = always("429 Too Many Requests", after);
        assert!(
            matches!(&kind, Kind::Busy(why) if why.contains("come back in")),
            "{kind}"
        );
        assert_eq!(tries, 1);
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn who_does_not_answer_is_unreachable() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = nobody.local_addr().expect("it is bound");
    let url = |host: &str| url::Url::parse(&format!("http://{host}/")).expect("a URL");
    let ask = |host: &str| {
        let cache = Http::new(&url(host), &impatient()).expect("no credentials");
        let error = cache.size(&name("file")).expect_err("nobody answers");
        assert!(matches!(error.kind, Kind::Unreachable(_)), "{error}");
        error.to_string()
    };
    // It listens, and says nothing.
    let start = Instant::now();
    let error = ask(&address.to_string());
    assert!(error.contains("no answer in time"), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    drop(nobody);
    assert!(ask(&address.to_string()).contains("refused"));
    let error = ask("kiln.invalid");
    assert!(
        error.contains("lookup") || error.contains("no such host"),
        "{error}"
    );
}

#[test]
fn what_speaks_no_http_is_a_clear_error() {
    let server = Server::start(|_, _| Reply::new("what?", "\x01\x02", b""));
    let error = cache(&server).size(&name("file")).expect_err("it is none");
    assert!(
        !matches!(error.kind, Kind::Denied(_) | Kind::Refused(_)),
        "{error}"
    );
    let url = url::Url::parse(&format!("https://{}/", server.address())).expect("a URL");
    let cache = Http::new(&url, &impatient()).expect("no credentials");
    let error = cache.size(&name("file")).expect_err("it has no TLS");
    assert!(
        error.to_string().starts_with("https://127.0.0.1"),
        "{error}"
    );
}

/// The attack: a cache, or whoever stands before it, sends its readers to a
/// machine of its own, to learn their passwords.
#[test]
fn no_credentials_follow_to_another_origin() {
    let elsewhere = Server::start(|request, _| Reply::decent(request, b"content"));
    let there = format!(
        "Location: http://you:theirs@{}/file?x=y\r\n",
        elsewhere.address()
    );
    let token = |server: &Server| Access {
        credentials: Credentials::of(
            [(TOKENS.to_owned(), format!("{}=s3cret", server.address()))],
            None,
        ),
        ..impatient()
    };
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Moved",
        "308 Moved",
    ] {
        let there = there.clone();
        let server = Server::start(move |_, _| Reply::status(status, &there));
        for cache in [
            with(&server, "me:s3cret@", &impatient()),
            with(&server, "", &token(&server)),
        ] {
            assert_eq!(read(&cache, None).expect("it goes"), b"content");
        }
        let own = server.requests();
        assert!(
            own.iter()
                .all(|request| request.header("authorization").is_some())
        );
    }
    for request in elsewhere.requests() {
        assert_eq!(request.header("authorization"), None);
        assert!(request.is("GET /file?x=y HTTP/1.1"), "{request:?}");
    }
    assert_eq!(elsewhere.requests().len(), 10);
}

#[test]
fn on_the_same_server_credentials_go_along() {
    let server = Server::start(|request, _| match request.is("GET /cache/file ") {
        true => Reply::status("302 Found", "Location: ../real/file\r\n"),
        false => Reply::decent(request, b"content"),
    });
    let cache = with(&server, "me:s3cret@", &impatient());
    assert_eq!(read(&cache, None).expect("it goes"), b"content");
    let requests = server.requests();
    assert!(requests[1].is("GET /real/file "), "{requests:?}");
    assert_eq!(
        requests[1].header("authorization"),
        Some("Basic bWU6czNjcmV0")
    );
}

#[test]
fn redirects_end_and_lead_to_the_web_only() {
    let server =
        Server::start(|_, count| Reply::status("302 Found", &format!("Location: /{count}\r\n")));
    let error = read(&cache(&server), None).expect_err("it never ends");
    assert!(error.contains("more than 10 redirects"), "{error}");
    for to in ["file:///etc/passwd", "ftp://a/b?s3cret", "http://["] {
        let server =
            Server::start(move |_, _| Reply::status("302 Found", &format!("Location: {to}\r\n")));
        let error = read(&cache(&server), None).expect_err("it is not the web");
        assert!(
            error.contains("redirect") && !error.contains("s3cret"),
            "{error}"
        );
    }
}

#[test]
fn no_message_has_a_password() {
    let server = Server::start(|_, _| Reply::status("403 Forbidden", ""));
    let cache = with(&server, "me:s3cret@", &impatient());
    let error = cache.size(&name("file")).expect_err("it says no");
    let shown = format!("{error} {error:?} {}", cache.place());
    assert!(
        !shown.contains("s3cret") && !shown.contains("//me"),
        "{shown}"
    );
}

#[test]
fn a_proxy_is_asked_with_the_whole_url_and_hears_its_own_login() {
    let proxy = Server::start(|request, _| match request.is("PUT ") {
        true => Reply::status("201 Created", ""),
        false => Reply::decent(request, b"content"),
    });
    let access = Access {
        proxies: Proxies {
            http: Some(format!("http://p:q@{}", proxy.address())),
            direct: vec!["direct.invalid".to_owned()],
            ..Proxies::default()
        },
        ..impatient()
    };
    let url = |text: &str| url::Url::parse(text).expect("a URL");
    let cache = Http::new(&url("http://me:s3cret@cache.invalid:81/x"), &access);
    let cache = cache.expect("credentials are in the URL");
    assert_eq!(read(&cache, None).expect("it goes"), b"content");
    let content = format!("PUT {}", "/0123456789abcdef".repeat(10_000));
    let size = content.len() as u64;
    let mut source = std::io::Cursor::new(content.clone());
    cache.put(&name("a/b"), &mut source, size).expect("it goes");
    let requests = proxy.requests();
    assert!(
        requests[0].is("GET http://cache.invalid:81/x/file HTTP/1.1"),
        "{requests:?}"
    );
    assert!(requests[1].is("PUT http://cache.invalid:81/x/a/b HTTP/1.1"));
    assert_eq!(requests[1].body, content.into_bytes());
    for request in &requests {
        assert_eq!(request.header("host"), Some("cache.invalid:81"));
        assert_eq!(request.header("authorization"), Some("Basic bWU6czNjcmV0"));
        assert_eq!(request.header("proxy-authorization"), Some("Basic cDpx"));
    }
    let direct = Http::new(&url("http://direct.invalid/"), &access).expect("no credentials");
    let error = direct
        .size(&name("file"))
        .expect_err("there is no such host");
    assert!(matches!(error.kind, Kind::Unreachable(_)), "{error}");
    assert_eq!(proxy.requests().len(), 2);
}

#[test]
fn netrc_is_read_when_a_cache_is_opened() {
    let server = Server::start(|request, _| match request.header("authorization") {
        Some("Basic bWU6czNjcmV0") => Reply::decent(request, b"content"),
        _ => Reply::status("401 Unauthorized", ""),
    });
    let home = tempfile::tempdir().expect("a directory");
    let netrc = home.path().join("netrc");
    fs::write(&netrc, "machine 127.0.0.1 login me password s3cret").expect("it can be written");
    let path = netrc.to_str().expect("a plain name").to_owned();
    let access = Access {
        credentials: Credentials::of([("NETRC".to_owned(), path)], None),
        ..impatient()
    };
    assert_eq!(
        read(&with(&server, "", &access), None).expect("it goes"),
        b"content"
    );
    read(&with(&server, "", &impatient()), None).expect_err("nobody may");
}

/// Connections are used again, also after a file that is not there.
#[test]
fn misses_cost_no_connection() {
    let server = Server::start(|request, _| match request.is("GET /cache/file ") {
        true => Reply::decent(request, b"content"),
        false => Reply::new("404 Not Found", "Content-Length: 3\r\n", b"no\n"),
    });
    let cache = cache(&server);
    let start = Instant::now();
    for _ in 0..50 {
        assert!(
            cache
                .open(&name("missing"), None)
                .expect("no error")
                .is_none()
        );
        assert_eq!(read(&cache, None).expect("it goes"), b"content");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(server.connections(), 1);
}
