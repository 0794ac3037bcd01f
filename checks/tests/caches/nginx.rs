//! nginx: as `docs/caches-servers.md` sets it up.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use kiln_checks::program::repository;
use kiln_store::cache::access::Access;
use kiln_store::cache::backend::Kind;
use kiln_store::cache::contract;
use kiln_store::cache::directory::Directory;

use crate::servers::{Programs, Server, Start, own, scratch};
use crate::{access, cache, get, name, put};

const START: Start<'_> = Start {
    program: "nginx",
    arguments: &["-e", "stderr", "-p", ".", "-c", "nginx.conf"],
    config: "nginx.conf",
};

/// A configuration around the `server` block's inner part. One process, so that
/// none is left behind.
fn around(address: SocketAddr, listen: &str, inner: &str) -> String {
    format!(
        "daemon off; master_process off; pid pid; events {{}}
         http {{
           access_log off;
           proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
           client_body_temp_path tmp;
           server {{ listen {address} {listen}; {inner} }}
         }}"
    )
}

/// What stands in the documentation between `marker` and the end of its block.
fn documented(marker: &str) -> String {
    let page = repository().join("docs/caches-servers.md");
    let page = fs::read_to_string(page).expect("it is there");
    let block = page
        .split("```nginx\n")
        .find(|block| block.starts_with(marker));
    let block = block.unwrap_or_else(|| panic!("the page has `{marker}`"));
    block.split("```").next().expect("a block ends").to_owned()
}

fn start(inner: &str) -> Server {
    start_in(scratch(&["www", "tmp"]), "", inner)
}

fn start_in(scratch: kiln_checks::Scratch, listen: &str, inner: &str) -> Server {
    Server::start(scratch, &START, |address, _: &Path| {
        around(address, listen, inner)
    })
}

#[test]
fn a_server_with_webdav_keeps_the_contract() {
    let server = start("root www; client_max_body_size 0; dav_methods PUT DELETE MKCOL;");
    let url = format!("http://{}/kiln", server.address());
    fs::create_dir(server.path("www/kiln")).expect("it is new");
    own(&server.path("www/kiln"));
    contract::check(&*cache(&url, &access(&[])));
}

/// The configuration that the documentation gives is the one that is tested.
#[test]
fn the_documented_server_keeps_the_contract_for_those_who_may() {
    let scratch = scratch(&["www", "tmp"]);
    fs::write(scratch.join("writers"), "ci:{PLAIN}s3cret\n").expect("it can be written");
    let inner = documented("# a cache that a team writes")
        .replace("/srv/kiln-cache", "www")
        .replace("/etc/nginx/kiln-writers", "writers");
    let server = Server::start(scratch, &START, |address, directory: &Path| {
        let writers = directory.join("writers");
        let inner = inner.replace("writers;", &format!("{};", writers.display()));
        around(address, "", &inner)
    });
    let address = server.address();
    contract::check(&*cache(
        &format!("http://ci:s3cret@{address}/"),
        &access(&[]),
    ));

    let writer = cache(&format!("http://ci:s3cret@{address}/"), &access(&[]));
    put(&*writer, "a/b", b"content").expect("it may");
    let reader = cache(&format!("http://{address}/"), &access(&[]));
    assert_eq!(get(&*reader, "a/b").as_deref(), Some(&b"content"[..]));
    for refused in [
        put(&*reader, "a/c", b"x"),
        put(
            &*cache(&format!("http://ci:wr0ng@{address}/"), &access(&[])),
            "a/c",
            b"x",
        ),
        reader.remove(&name("a/b")),
    ] {
        let error = refused.expect_err("nobody may");
        assert!(matches!(error.kind, Kind::Denied(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error}");
    }
    assert_eq!(get(&*reader, "a/b").as_deref(), Some(&b"content"[..]));

    let netrc = server.path("netrc");
    fs::write(&netrc, "machine 127.0.0.1 login ci password s3cret").expect("it can be written");
    let netrc = netrc.to_str().expect("a plain path");
    let named = cache(&format!("http://{address}/"), &access(&[("NETRC", netrc)]));
    put(&*named, "a/c", b"x").expect("it may");
}

/// What is in a directory cache can be read through any web server.
#[test]
fn a_directory_is_a_cache_that_a_web_server_serves() {
    let server =
        start(&documented("# a cache that anybody reads").replace("/srv/kiln-cache", "www"));
    let directory = Directory::new(server.path("www"));
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    put(&directory, "packs/0a/0a1b.pack", &content).expect("it goes");
    put(&directory, "empty", b"").expect("it goes");
    let left = server.path("www/packs/.tmp-1-2-3");
    fs::write(&left, "half").expect("it can be written");

    let web = cache(&format!("http://{}/", server.address()), &access(&[]));
    assert!(get(&*web, "packs/0a/0a1b.pack").as_ref() == Some(&content));
    assert_eq!(get(&*web, "empty").as_deref(), Some(&b""[..]));
    assert_eq!(get(&*web, "missing"), None);
    let range = kiln_store::cache::backend::ByteRange {
        start: 399_990,
        length: 100,
    };
    let body = web
        .open(&name("packs/0a/0a1b.pack"), Some(range))
        .expect("it goes");
    assert_eq!(body.expect("it is there").length, Some(10));
    assert_eq!(web.list("").expect("it goes").map(|_| ()), None);
    for error in [put(&*web, "new", b"x"), web.remove(&name("empty"))] {
        let error = error.expect_err("it serves files");
        assert!(!error.kind.is_passing(), "{error}");
    }
}

#[test]
fn a_certificate_has_to_be_trusted_and_the_hosts() {
    let scratch = scratch(&["www", "tmp"]);
    let programs = Programs::get();
    for (file, host) in [("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")] {
        certificate(&programs, scratch.path(), file, host);
    }
    let serve = |scratch, file: &str| {
        let inner =
            format!("root www; ssl_certificate {file}.pem; ssl_certificate_key {file}.key;");
        start_in(scratch, "ssl", &inner)
    };
    let server = serve(scratch, "good");
    fs::write(server.path("www/file"), "content").expect("it can be written");
    let url = format!("https://{}/", server.address());
    let trusting = |file: &str| Access {
        ca_bundle: Some(server.path(file)),
        ..Access::anonymous()
    };
    let good = cache(&url, &trusting("good.pem"));
    assert_eq!(get(&*good, "file").as_deref(), Some(&b"content"[..]));
    // Another's, and those that kiln was built with.
    for access in [trusting("other.pem"), Access::anonymous()] {
        let error = cache(&url, &access)
            .size(&name("file"))
            .expect_err("it is unknown");
        assert!(matches!(error.kind, Kind::Untrusted(_)), "{error:?}");
        assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
    }
    // Known, and of another host.
    let other = self::scratch(&["www", "tmp"]);
    for file in ["other.pem", "other.key"] {
        fs::copy(server.path(file), other.join(file)).expect("it is there");
        own(&other.join(file));
    }
    let other = serve(other, "other");
    let url = format!("https://{}/", other.address());
    let error = cache(&url, &trusting("other.pem")).size(&name("file"));
    let error = error.expect_err("it is of another host");
    assert!(matches!(error.kind, Kind::Untrusted(_)), "{error:?}");
}

/// A certificate that signs itself.
fn certificate(programs: &Programs, directory: &Path, file: &str, host: &str) {
    let (key, certificate) = (format!("{file}.key"), format!("{file}.pem"));
    let host = format!("subjectAltName={host}");
    fs::write(
        directory.join("openssl.cnf"),
        "[req]\ndistinguished_name = name\n[name]\n",
    )
    .expect("it can be written");
    #[rustfmt::skip]
    let arguments = [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-config", "openssl.cnf", "-subj", "/CN=kiln", "-addext", &host,
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-keyout", &key, "-out", &certificate,
    ];
    programs.run("openssl", &arguments, directory);
}
