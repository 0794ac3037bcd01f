//! Servers that misbehave, and what comes of it.
//!
//! - `server`: a server that answers as it is told.
//! - `reading`, `writing`, `asking`: a cache on a web server under them.
//! - `others`: what only registries and buckets meet.

mod asking;
mod others;
mod reading;
mod server;
mod writing;

use std::io::Read;
use std::time::Duration;

use url::Url;

use self::server::Server;
use super::access::Access;
use super::backend::{Backend, BackendError, ByteRange};
use super::http::Http;
use super::name::Name;
use super::patience::Patience;

/// Everything that is waited for takes milliseconds, but for what a server
/// cannot say in less than a second.
fn impatient() -> Access {
    Access {
        patience: Patience {
            connect: Duration::from_secs(5),
            response: Duration::from_millis(500),
            stall: Duration::from_millis(300),
            speed_window: Duration::from_millis(400),
            min_bytes_per_s: 10_000,
            tries: 3,
            max_tries: 6,
            first_pause: Duration::from_millis(1),
            max_pause: Duration::from_millis(5),
            max_waiting: Duration::from_millis(1500),
        },
        ..Access::anonymous()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn cache(server: &Server) -> Http {
    with(server, "", &impatient())
}

/// A cache on a server, reached with a login that may be in the URL.
fn with(server: &Server, login: &str, access: &Access) -> Http {
    let url = format!("http://{login}{}/cache", server.address());
    let url = Url::parse(&url).expect("a URL");
    Http::new(&url, access).expect("credentials can be had")
}

/// Reads a file or a part, which has to be there.
fn read(cache: &dyn Backend, range: Option<(u64, u64)>) -> Result<Vec<u8>, String> {
    let range = range.map(|(start, length)| ByteRange { start, length });
    let shown = |error: BackendError| error.to_string();
    let body = cache.open(&name("file"), range).map_err(shown)?;
    let mut content = Vec::new();
    let mut body = body.expect("it is there").content;
    let read = body.read_to_end(&mut content);
    read.map_err(|error| format!("after {} bytes: {error}", content.len()))?;
    Ok(content)
}

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
