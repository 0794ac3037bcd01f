//! Bodies that do not come as they should.

use std::io::Read;
use std::time::{Duration, Instant};

use super::server::{Pace, Reply, Server};
use super::{cache, name, noise, read};
use crate::cache::backend::{Backend, ByteRange, Kind};

/// Parts of a file of a thousand bytes, and what comes of them.
#[test]
fn a_server_that_ignores_ranges_gives_the_right_part_all_the_same() {
    let content = noise(1000);
    let file = content.clone();
    let server = Server::start(move |_, _| Reply::whole(&file));
    for (start, length) in [(0, 1), (1, 10), (990, 10), (990, 100), (0, 1000)] {
        let end = 1000.min(start + length);
        let part = read(&cache(&server), Some((start, length))).expect("it goes");
        assert_eq!(part, content[start as usize..end as usize]);
    }
    for start in [1000, 5000] {
        let range = ByteRange { start, length: 1 };
        let error = cache(&server).open(&name("file"), Some(range)).map(|_| ());
        let error = error.expect_err("there is none");
        assert!(matches!(error.kind, Kind::Refused(_)), "{error}");
    }
    // Which is found out when a cache is made.
    let sends = cache(&server).sends_parts(&name("file"));
    assert_eq!(sends.expect("it answers"), Some(false));
    let empty = Server::start(|_, _| Reply::new("404 Not Found", "", b""));
    let sends = cache(&empty).sends_parts(&name("file"));
    assert_eq!(sends.expect("it answers"), None);
}

/// The same with a length that is not said.
#[test]
fn ranges_of_a_body_without_length_are_found() {
    let file = noise(1000);
    let content = file.clone();
    let server = Server::start(move |_, _| {
        let mut body = format!("{:x}\r\n", file.len()).into_bytes();
        body.extend_from_slice(&file);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        Reply::new("200 OK", "Transfer-Encoding: chunked\r\n", &body)
    });
    let cache = cache(&server);
    assert_eq!(read(&cache, None).expect("it goes"), content);
    assert_eq!(
        read(&cache, Some((998, 1))).expect("it goes"),
        content[998..999]
    );
    assert_eq!(
        read(&cache, Some((998, 50))).expect("it goes"),
        content[998..]
    );
    for start in [1000, 1001] {
        let error = read(&cache, Some((start, 1))).expect_err("there is none");
        assert!(error.contains("none from"), "{error}");
    }
}

#[test]
fn a_body_that_is_cut_goes_on_where_it_was() {
    let content = noise(100_000);
    let file = content.clone();
    let server = Server::start(move |request, count| {
        let reply = Reply::decent(request, &file).with("ETag: \"one\"\r\n");
        match count {
            0 => reply.at(Pace::CutAfter(40_000)),
            _ => reply,
        }
    });
    assert_eq!(read(&cache(&server), None).expect("it goes"), content);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("range"), Some("bytes=40000-"));
    assert_eq!(requests[1].header("if-range"), Some("\"one\""));
}

#[test]
fn a_part_that_is_cut_goes_on_also_where_ranges_are_ignored() {
    let content = noise(100_000);
    let file = content.clone();
    let server = Server::start(move |_, count| match count {
        0 => Reply::whole(&file).at(Pace::CutAfter(60_000)),
        _ => Reply::whole(&file),
    });
    let part = read(&cache(&server), Some((10_000, 80_000))).expect("it goes");
    assert_eq!(part, content[10_000..90_000]);
}

#[test]
fn a_body_that_is_cut_again_and_again_ends() {
    let file = noise(100_000);
    let server =
        Server::start(move |request, _| Reply::decent(request, &file).at(Pace::CutAfter(100)));
    let error = read(&cache(&server), None).expect_err("it is never whole");
    assert!(
        error.contains("after 300 bytes") && error.contains("(tries: 3)"),
        "{error}"
    );
    assert!(error.contains("/cache/: read `file`"), "{error}");
}

#[test]
fn two_files_are_not_joined() {
    for (tag, size) in [("\"two\"", 100_000), ("\"one\"", 100_001)] {
        let (first, second) = (noise(100_000), noise(size));
        let server = Server::start(move |request, count| match count {
            0 => Reply::decent(request, &first)
                .with("ETag: \"one\"\r\n")
                .at(Pace::CutAfter(7)),
            _ => Reply::decent(request, &second).with(&format!("ETag: {tag}\r\n")),
        });
        let error = read(&cache(&server), None).expect_err("they are two");
        assert!(error.contains("another file"), "{error}");
    }
}

#[test]
fn a_length_that_is_wrong_gives_no_wrong_bytes() {
    let content = noise(1000);
    let (file, request) = (content.clone(), |length: usize| {
        format!("Content-Length: {length}\r\n")
    });
    let server = Server::start(move |_, _| {
        Reply::new("200 OK", &request(5000), &file).at(Pace::CutAfter(1000))
    });
    let error = read(&cache(&server), None).expect_err("it is too short");
    assert!(error.contains("after 1000 bytes"), "{error}");
    let file = content.clone();
    let server = Server::start(move |_, _| {
        Reply::new("200 OK", &request(400), &file).at(Pace::CutAfter(1000))
    });
    // What comes after what was announced is nobody's.
    assert_eq!(
        read(&cache(&server), None).expect("it goes"),
        content[..400]
    );
}

#[test]
fn a_body_that_stalls_is_given_up_or_goes_on() {
    let content = noise(50_000);
    let file = content.clone();
    let server = Server::start(move |request, count| match count {
        0 => Reply::decent(request, &file).at(Pace::StallAfter(20_000)),
        _ => Reply::decent(request, &file),
    });
    assert_eq!(read(&cache(&server), None).expect("it goes"), content);

    let file = noise(50_000);
    let server =
        Server::start(move |request, _| Reply::decent(request, &file).at(Pace::StallAfter(0)));
    let start = Instant::now();
    read(&cache(&server), None).expect_err("it never comes");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_body_that_dribbles_is_given_up() {
    let server = Server::start(move |_, _| {
        Reply::new("200 OK", "Content-Length: 1000000\r\n", b"").at(Pace::Endless(10))
    });
    let start = Instant::now();
    let error = read(&cache(&server), None).expect_err("it is too slow");
    assert!(error.contains("fewer than 10000 bytes a second"), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn of_an_endless_body_a_part_is_a_part() {
    let server = Server::start(move |_, _| {
        Reply::new("200 OK", "Connection: close\r\n", b"").at(Pace::Endless(50_000))
    });
    let cache = cache(&server);
    let part = read(&cache, Some((100_000, 1000))).expect("it goes");
    assert_eq!(part, [b'x'; 1000]);
    // Who reads the whole says how much.
    let body = cache
        .open(&name("file"), None)
        .expect("it goes")
        .expect("it is there");
    let mut taken = Vec::new();
    body.content
        .take(200_000)
        .read_to_end(&mut taken)
        .expect("it goes");
    assert_eq!((body.length, taken.len()), (None, 200_000));
}

#[test]
fn what_is_not_the_file_is_refused() {
    let check = |status: &'static str, headers: &'static str, part: &str| {
        let headers = format!("{headers}Content-Length: 10\r\n");
        let server = Server::start(move |_, _| Reply::new(status, &headers, b"0123456789"));
        let error = read(&cache(&server), Some((5, 10))).expect_err("it is not");
        assert!(error.contains(part), "{error}");
    };
    check("200 OK", "Content-Encoding: gzip\r\n", "coded as `gzip`");
    check("206 Partial Content", "", "but of what");
    check(
        "206 Partial Content",
        "Content-Range: bytes 0-9/100\r\n",
        "from 0 on, asked from 5 on",
    );
    check(
        "206 Partial Content",
        "Content-Range: bytes 5-14/9\r\n",
        "but of what",
    );
    check("204 No Content", "", "204");
    check("304 Not Modified", "", "304");
}

#[test]
fn sizes_are_found_where_head_is_not_known() {
    let server = Server::start(|request, _| match request.is("HEAD ") {
        true => Reply::status("405 Method Not Allowed", ""),
        false => Reply::decent(request, &[0; 77]),
    });
    assert_eq!(
        cache(&server).size(&name("file")).expect("it goes"),
        Some(77)
    );
    let server = Server::start(|request, _| match request.is("HEAD ") {
        true => Reply::status("501 Not Implemented", ""),
        false => Reply::decent(request, b""),
    });
    assert_eq!(
        cache(&server).size(&name("file")).expect("it goes"),
        Some(0)
    );
}
