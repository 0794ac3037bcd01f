//! docker-registry: open, with passwords, and with tokens that are signed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiln_checks::Scratch;
use kiln_store::cache::access::Access;
use kiln_store::cache::backend::{ByteRange, Kind};
use kiln_store::cache::contract;
use serde_json::json;

use crate::servers::{Programs, Server, Start, own, scratch};
use crate::{access, cache, get, name, put};

const START: Start<'_> = Start {
    program: "docker-registry",
    arguments: &["serve", "config.yml"],
    config: "config.yml",
};
/// `ci` with the password `s3cret`.
const HTPASSWD: &str = "ci:$2b$04$nCVXPgUSm2TIdapr063haemceCagD2ZIWIssE.zb4WZl7ZuvgVSQK\n";

fn config(address: SocketAddr, directory: &Path, more: &str) -> String {
    let data = directory.join("data");
    format!(
        "version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
  delete: {{enabled: true}}
http: {{addr: '{address}', secret: none}}
{more}",
        data.display()
    )
}

fn start(scratch: Scratch, more: &str) -> Server {
    Server::start(scratch, &START, |address, directory: &Path| {
        config(address, directory, more)
    })
}

fn url(server: &Server) -> String {
    format!("oci+http://{}/team/cache", server.address())
}

/// Access of a user with a password in docker's configuration.
fn with_password(server: &Server, password: &str) -> Access {
    let directory = server.path(&format!("docker-{password}"));
    fs::create_dir_all(&directory).expect("it can be made");
    let login = STANDARD.encode(format!("ci:{password}"));
    let config = json!({"auths": {server.address().to_string(): {"auth": login}}});
    fs::write(directory.join("config.json"), config.to_string()).expect("it can be written");
    access(&[("DOCKER_CONFIG", directory.to_str().expect("a plain path"))])
}

/// Nobody gets at a cache on `server`, and no message has the password.
fn is_denied(server: &Server, access: &Access) {
    let cache = cache(&url(server), access);
    let read = cache.open(&name("file"), None).map(|_| ());
    for error in [read, put(&*cache, "new", b"x"), cache.list("").map(|_| ())] {
        let error = error.expect_err("nobody may");
        assert!(matches!(error.kind, Kind::Denied(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error}");
    }
}

#[test]
fn a_repository_keeps_the_contract() {
    let server = start(scratch(&["data"]), "");
    contract::check(&*cache(&url(&server), &access(&[])));
    // Another process sees what was written, under names of both forms.
    let long = format!("long/{}", "l".repeat(200));
    for at in ["file", long.as_str()] {
        put(&*cache(&url(&server), &access(&[])), at, b"content").expect("it goes");
        let other = cache(&url(&server), &access(&[]));
        assert_eq!(get(&*other, at).as_deref(), Some(&b"content"[..]));
    }
}

/// Who reads a small file asks for its manifest alone: with its blob gone from the
/// registry it is still there.
#[test]
fn small_files_are_in_their_manifests() {
    let server = start(scratch(&["data"]), "");
    let content = vec![7; 32 << 10];
    put(&*cache(&url(&server), &access(&[])), "file", &content).expect("it goes");
    let digest = "40f7dc455a85f953580d6f3c11cf3b90413e53c41a4dd111100ad02ebfa49d33";
    let blob = format!(
        "data/docker/registry/v2/blobs/sha256/{}/{digest}",
        &digest[..2]
    );
    fs::remove_dir_all(server.path(&blob)).expect("it was uploaded");
    let reader = cache(&url(&server), &access(&[]));
    assert_eq!(get(&*reader, "file"), Some(content));
    let end = ByteRange {
        start: (32 << 10) - 3,
        length: 10,
    };
    let body = reader.open(&name("file"), Some(end)).expect("it is there");
    assert_eq!(body.and_then(|body| body.length), Some(3));
}

#[test]
fn a_registry_that_removes_nothing_is_told_apart() {
    let server = Server::start(scratch(&["data"]), &START, |address, directory: &Path| {
        config(address, directory, "").replace("enabled: true", "enabled: false")
    });
    let cache = cache(&url(&server), &access(&[]));
    put(&*cache, "file", b"content").expect("it goes");
    let error = cache.remove(&name("file")).expect_err("it removes nothing");
    assert!(matches!(error.kind, Kind::Refused(_)), "{error}");
    assert!(
        error.to_string().contains("storage.delete.enabled"),
        "{error}"
    );
}

#[test]
fn passwords_come_from_dockers_configuration() {
    let scratch = scratch(&["data"]);
    let file = scratch.join("htpasswd");
    fs::write(&file, HTPASSWD).expect("it can be written");
    let auth = format!(
        "auth: {{htpasswd: {{realm: kiln, path: {}}}}}",
        file.display()
    );
    let server = start(scratch, &auth);
    contract::check(&*cache(&url(&server), &with_password(&server, "s3cret")));
    is_denied(&server, &with_password(&server, "wr0ng"));
    is_denied(&server, &access(&[]));
}

#[test]
fn tokens_are_fetched_for_what_is_done() {
    let scratch = scratch(&["data"]);
    let tokens = Tokens::start(scratch.path());
    let auth = format!(
        "auth: {{token: {{realm: 'http://{}/token', service: kiln, issuer: kiln, rootcertbundle: {}}}}}",
        tokens.address,
        scratch.join("token.pem").display()
    );
    let server = start(scratch, &auth);
    contract::check(&*cache(&url(&server), &with_password(&server, "s3cret")));
    let scopes = tokens.scopes.lock().expect("nobody panics").clone();
    for deed in ["pull", "push", "delete"] {
        assert!(
            scopes.iter().any(|scope| scope.contains(deed)),
            "{scopes:?}"
        );
    }
    is_denied(&server, &with_password(&server, "wr0ng"));
}

/// A server that gives tokens to who knows the password.
struct Tokens {
    address: SocketAddr,
    /// What was asked for.
    scopes: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    /// Starts it until the program ends, with a key in `directory`.
    fn start(directory: &Path) -> Self {
        let programs = Programs::get();
        fs::write(
            directory.join("openssl.cnf"),
            "[req]\ndistinguished_name = name\n[name]\n",
        )
        .expect("it can be written");
        #[rustfmt::skip]
        let arguments = [
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kiln",
            "-config", "openssl.cnf", "-keyout", "token.key", "-out", "token.pem",
        ];
        programs.run("openssl", &arguments, directory);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let scopes = Arc::<Mutex<Vec<String>>>::default();
        // This thread outlives its test, and must not keep what goes with it.
        let programs = Arc::downgrade(&programs);
        let (seen, directory) = (scopes.clone(), directory.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(programs) = programs.upgrade() else {
                    return;
                };
                let scope = serve(stream, &programs, &directory);
                seen.lock().expect("nobody panics").extend(scope);
            }
        });
        Self { address, scopes }
    }
}

/// Answers one request: with a token for the scope, or with none.
fn serve(mut stream: TcpStream, programs: &Programs, directory: &Path) -> Option<String> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let line = lines.next()?.ok()?;
    let mut login = None;
    for header in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        let (name, value) = header.split_once(": ")?;
        if name.eq_ignore_ascii_case("authorization") {
            login = Some(value.to_owned());
        }
    }
    let expected = format!("Basic {}", STANDARD.encode("ci:s3cret"));
    if login != Some(expected) {
        let _ = stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return None;
    }
    let url = url::Url::parse(&format!("http://tokens{}", line.split(' ').nth(1)?)).ok()?;
    let scope = url.query_pairs().find(|(key, _)| key == "scope");
    let scope = scope.map(|(_, scope)| scope.into_owned())?;
    let body = json!({"token": token(programs, directory, &scope)}).to_string();
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    Some(scope)
}

/// A signed token that allows `repository:NAME:ACTION,ACTION`.
fn token(programs: &Programs, directory: &Path, scope: &str) -> String {
    let mut parts = scope.split(':');
    let mut part = || parts.next().expect("a scope has three parts");
    let (kind, repository, actions) = (part(), part(), part());
    let actions: Vec<&str> = actions.split(',').collect();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later");
    let pem = fs::read_to_string(directory.join("token.pem")).expect("it is there");
    let certificate: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let claims = json!({
        "iss": "kiln", "sub": "ci", "aud": "kiln", "jti": "1",
        "iat": now.as_secs(), "nbf": now.as_secs() - 60, "exp": now.as_secs() + 300,
        "access": [{"type": kind, "name": repository, "actions": actions}],
    });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let file: PathBuf = directory.join("claims");
    fs::write(&file, &signed).expect("it can be written");
    own(&file);
    let arguments = ["dgst", "-sha256", "-sign", "token.key", "claims"];
    let signature = programs.run("openssl", &arguments, directory);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
