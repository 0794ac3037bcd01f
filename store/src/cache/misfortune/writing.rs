//! Writes that do not go well at once.

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Mutex;

use super::server::{Reply, Server};
use super::{cache, name, noise};
use crate::cache::backend::{Backend, Kind};

#[test]
fn what_is_written_again_is_written_from_its_start() {
    let content = noise(2 << 20);
    let server = Server::start(|_, count| match count {
        0 => Reply::status("503 Busy", ""),
        _ => Reply::status("201 Created", ""),
    });
    let mut source = Cursor::new(content.clone());
    let put = cache(&server).put(&name("file"), &mut source, content.len() as u64);
    put.expect("it goes");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.body == content));
    assert_eq!(requests[0].header("expect"), Some("100-continue"));
}

/// Servers make no directories unless they are told to, and say 409. nginx says
/// 500.
#[test]
fn directories_are_made_where_the_server_wants_them() {
    for missing in ["409 Conflict", "500 Internal Server Error"] {
        directories_are_made(missing);
    }
}

fn directories_are_made(missing: &'static str) {
    let made = Mutex::<BTreeSet<String>>::default();
    let server = Server::start(move |request, _| {
        let path = request.line.split(' ').nth(1).expect("a path").to_owned();
        let mut made = made.lock().expect("nobody panics");
        let parent = |path: &str| {
            let path = path.trim_end_matches('/');
            path[..=path.rfind('/').expect("it is absolute")].to_owned()
        };
        let is_there =
            |path: &str, made: &BTreeSet<String>| path == "/cache/" || made.contains(path);
        match request.is("MKCOL ") {
            _ if !is_there(&parent(&path), &made) => Reply::status(missing, ""),
            true if is_there(&path, &made) => Reply::status("405 Method Not Allowed", ""),
            true => {
                made.insert(path);
                Reply::status("201 Created", "")
            }
            false => Reply::status("201 Created", ""),
        }
    });
    let cache = cache(&server);
    let lines = || -> Vec<String> {
        let requests = server.requests();
        requests
            .into_iter()
            .map(|request| request.line.replace(" HTTP/1.1", ""))
            .collect()
    };
    cache
        .put(&name("a/b/c"), &mut Cursor::new("x"), 1)
        .expect("it goes");
    let expected = [
        "PUT /cache/a/b/c",
        "MKCOL /cache/a/",
        "MKCOL /cache/a/b/",
        "PUT /cache/a/b/c",
    ];
    assert_eq!(lines(), expected);
    cache
        .put(&name("a/d"), &mut Cursor::new("x"), 1)
        .expect("it goes");
    assert_eq!(lines()[4..], ["PUT /cache/a/d"]);
}

#[test]
fn a_server_that_takes_nothing_is_named_with_a_way_out() {
    let check = |status: &'static str, part: &str| {
        let server = Server::start(move |_, _| Reply::status(status, ""));
        let put = cache(&server).put(&name("a/file"), &mut Cursor::new("x"), 1);
        let error = put.expect_err("it takes none");
        assert!(!error.kind.is_passing(), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    check("405 Method Not Allowed", "405");
    check("409 Conflict", "create_full_put_path");
    check("413 Content Too Large", "client_max_body_size");
    check("403 Forbidden", "KILN_CACHE_TOKENS");
    check("404 Not Found", "404");
}

/// A write is not sent where the server says: it might be anybody's.
#[test]
fn writes_are_not_redirected() {
    let elsewhere = Server::start(|_, _| Reply::status("201 Created", ""));
    let there = format!("Location: http://{}/x?s3cret\r\n", elsewhere.address());
    let server = Server::start(move |_, _| Reply::status("307 Temporary Redirect", &there));
    let put = cache(&server).put(&name("file"), &mut Cursor::new("x"), 1);
    let error = put.expect_err("it is elsewhere").to_string();
    assert!(
        error.contains(&elsewhere.address().to_string()) && !error.contains("s3cret"),
        "{error}"
    );
    assert_eq!(elsewhere.requests().len(), 0);
}

/// A file on a disk that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk fails"))
    }
}

impl Seek for Broken {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(10)
    }
}

#[test]
fn what_cannot_be_read_is_not_the_servers_fault() {
    let server = Server::start(|_, _| Reply::status("201 Created", ""));
    let error = cache(&server).put(&name("file"), &mut Broken, 10);
    let error = error.expect_err("it cannot be read");
    assert!(matches!(error.kind, Kind::Refused(_)), "{error}");
    assert!(error.to_string().contains("the disk fails"), "{error}");
}
