//! What only registries and buckets meet.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::server::{Reply, Request, Server};
use super::{impatient, name, read};
use crate::cache::access::Access;
use crate::cache::backend::{Backend, Kind};
use crate::cache::contract;
use crate::cache::credentials::Credentials;
use crate::cache::open::open;

fn access(variables: &[(&str, &str)]) -> Access {
    let variables = variables
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()));
    Access {
        credentials: Credentials::of(variables, None),
        ..impatient()
    }
}

fn bucket(server: &Server) -> Box<dyn Backend> {
    let url = format!("s3://bucket/pre?endpoint=http://{}", server.address());
    let keys = [
        ("AWS_ACCESS_KEY_ID", "KEYID"),
        ("AWS_SECRET_ACCESS_KEY", "s3cret"),
    ];
    open(&url, &access(&keys)).expect("it is one")
}

fn page(inner: &str) -> Reply {
    let text = format!("<ListBucketResult>{inner}</ListBucketResult>");
    Reply::whole(text.as_bytes())
}

fn file(key: &str) -> String {
    format!(
        "<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"
    )
}

#[test]
fn listings_of_buckets_have_pages_and_hold_foreign_files() {
    let server = Server::start(|request, _| {
        match request.line.contains("continuation-token=t%2F1") {
            false => page(&format!(
                "{}{}{}<IsTruncated>true</IsTruncated><NextContinuationToken>t/1</NextContinuationToken>",
                file("pre/a"),
                file("elsewhere/b"),
                file("pre/../../etc/passwd"),
            )),
            true => page(&file("pre/b/c")),
        }
    });
    let listed = bucket(&server)
        .list("")
        .expect("it goes")
        .expect("it lists");
    let names: Vec<_> = listed.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a", "b/c"]);
    for request in server.requests() {
        assert!(request.line.contains("X-Amz-Signature="), "{request:?}");
        assert!(request.line.contains("prefix=pre%2F"), "{request:?}");
    }
}

#[test]
fn listings_that_never_end_do() {
    let server = Server::start(|_, _| {
        page("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>")
    });
    let error = bucket(&server).list("").expect_err("it never ends");
    assert!(matches!(error.kind, Kind::Protocol(_)), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_bucket_says_why_and_no_signature_is_shown() {
    let check = |status: &'static str, headers: &'static str, body: &'static str, part: &str| {
        let server = Server::start(move |_, _| {
            let headers = format!("{headers}Content-Length: {}\r\n", body.len());
            Reply::new(status, &headers, body.as_bytes())
        });
        let error = bucket(&server).list("x").expect_err("it says no");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(part), "{shown}");
        for secret in ["s3cret", "Signature", "KEYID"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    };
    let denied = "<Error><Code>SlowDownPlease</Code><Message>KEYID may not</Message></Error>";
    check("403 Forbidden", "", denied, "403 Forbidden, SlowDownPlease");
    check(
        "404 Not Found",
        "",
        "<Error><Code>NoSuchBucket</Code></Error>",
        "NoSuchBucket",
    );
    check(
        "301 Moved",
        "x-amz-bucket-region: eu-west-3\r\nLocation: /x\r\n",
        "",
        "region=eu-west-3",
    );
    check(
        "200 OK",
        "",
        "<html>Please log in, KEYID</html>",
        "no ListBucketResult",
    );
}

/// A registry that wants a token from a server of its own.
fn registry(token: &'static str, expected: &'static str) -> (Server, Server) {
    let tokens = Server::start(move |request, _| {
        match request.header("authorization") == Some("Basic bWU6czNjcmV0") {
            true => Reply::whole(token.as_bytes()),
            false => Reply::status("401 Unauthorized", ""),
        }
    });
    let realm = format!(
        "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"reg\",scope=\"repository:team/cache:pull\"\r\n",
        tokens.address()
    );
    let server =
        Server::start(
            move |request, _| match request.header("authorization") == Some(expected) {
                true => blob_or_manifest(request),
                false => Reply::status("401 Unauthorized", &realm),
            },
        );
    (server, tokens)
}

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/octet-stream","digest":"sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73","size":7}],"annotations":{"org.opencontainers.image.title":"file","org.opencontainers.image.created":"2026-01-02T03:04:05Z"}}"#;

fn blob_or_manifest(request: &Request) -> Reply {
    match request.line.split(' ').nth(1) {
        Some("/v2/team/cache/manifests/N-file") => Reply::whole(MANIFEST.as_bytes()),
        Some(path) if path.starts_with("/v2/team/cache/blobs/sha256:ed70") => {
            Reply::decent(request, b"content")
        }
        _ => Reply::status("404 Not Found", ""),
    }
}

fn repository(server: &Server, login: &str) -> Box<dyn Backend> {
    let directory = tempfile::tempdir().expect("a directory");
    let config = format!(r#"{{"auths": {{"{}": {login}}}}}"#, server.address());
    std::fs::write(directory.path().join("config.json"), config).expect("it can be written");
    let path = directory.path().to_str().expect("a plain name");
    let url = format!("oci+http://{}/team/cache", server.address());
    open(&url, &access(&[("DOCKER_CONFIG", path)])).expect("it is one")
}

/// `me:s3cret`.
const LOGIN: &str = r#"{"auth": "bWU6czNjcmV0"}"#;

#[test]
fn a_token_is_fetched_with_the_login_and_kept() {
    let (server, tokens) = registry(r#"{"token": "t0k"}"#, "Bearer t0k");
    let cache = repository(&server, LOGIN);
    assert_eq!(read(&*cache, None).expect("it goes"), b"content");
    assert_eq!(read(&*cache, Some((3, 2))).expect("it goes"), b"te");
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1);
    let query = "GET /token?service=reg&scope=repository%3Ateam%2Fcache%3Apull ";
    assert!(asked[0].is(query), "{asked:?}");
    // The login itself is for the token's server alone.
    assert!(server.requests().iter().all(|request| {
        request
            .header("authorization")
            .is_none_or(|proof| proof == "Bearer t0k")
    }));
    // Two for the challenge and the manifest, two for the blob, and one for the
    // part of what was seen already.
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_login_that_will_not_do_is_denied_once() {
    let (server, tokens) = registry(r#"{"token": "t0k"}"#, "Bearer t0k");
    let error = repository(&server, "{}")
        .size(&name("file"))
        .expect_err("nobody may");
    assert!(matches!(error.kind, Kind::Denied(_)), "{error}");
    assert_eq!(tokens.requests().len(), 1);

    let (server, tokens) = registry(r#"{"token": "stale"}"#, "Bearer t0k");
    let error = repository(&server, LOGIN)
        .size(&name("file"))
        .expect_err("it is stale");
    assert!(matches!(error.kind, Kind::Denied(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("stale"), "{error}");
    assert_eq!(tokens.requests().len(), 1);
}

/// The attack: a tag that leads to another file's manifest, or to no manifest.
#[test]
fn a_tag_that_is_of_another_file_is_refused() {
    let other = MANIFEST.replace("\"file\"", "\"other\"");
    for manifest in [other.as_str(), "[]", "{\"layers\": []}"] {
        let manifest = manifest.to_owned();
        let server = Server::start(move |_, _| Reply::whole(manifest.as_bytes()));
        let error = repository(&server, LOGIN)
            .size(&name("file"))
            .expect_err("it is not");
        assert!(matches!(error.kind, Kind::Protocol(_)), "{error}");
    }
}

/// A bucket as far as parts of files go, which is what the S3 server of the
/// checks does not do right.
#[test]
fn parts_of_files_in_a_bucket_are_the_right_ones() {
    let files = Mutex::<BTreeMap<String, Vec<u8>>>::default();
    let server = Server::start(move |request, _| {
        let mut files = files.lock().expect("nobody panics");
        let target = request.line.split(' ').nth(1).expect("a target");
        let path = target.split('?').next().expect("a path").to_owned();
        match request.line.split(' ').next() {
            Some("PUT") => {
                files.insert(path, request.body.clone());
                Reply::status("200 OK", "")
            }
            Some("DELETE") => {
                files.remove(&path);
                Reply::status("204 No Content", "")
            }
            _ => match files.get(&path) {
                Some(content) => Reply::decent(request, content),
                None => Reply::status("404 Not Found", ""),
            },
        }
    });
    let bucket = bucket(&server);
    contract::check_parts(&*bucket);
    contract::check_races(&*bucket);
}
