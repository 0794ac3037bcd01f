//! The servers that teams have: kiln's caches on nginx, on a registry and on an
//! S3 server, as Debian packages them, put to the one contract.
//!
//! - [`servers`]: the programs, from the pinned seed of `project/`, run without
//!   being installed; each dies with its test.
//! - [`nginx`]: WebDAV, static files, passwords and certificates.
//! - [`registry`]: docker-registry, with passwords and with tokens.
//! - [`s3`]: radosgw, Ceph's S3 server, on its store in one SQLite file.

mod nginx;
mod registry;
mod s3;
mod servers;

use std::io::{Cursor, Read};

use kiln_store::cache::access::Access;
use kiln_store::cache::backend::{Backend, BackendError};
use kiln_store::cache::credentials::Credentials;
use kiln_store::cache::name::Name;
use kiln_store::cache::open::open;

/// Access with these variables in the environment, and nothing else of it.
fn access(variables: &[(&str, &str)]) -> Access {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    Access {
        credentials: Credentials::of(variables, None),
        ..Access::anonymous()
    }
}

fn cache(url: &str, access: &Access) -> Box<dyn Backend> {
    open(url, access).unwrap_or_else(|error| panic!("{error}"))
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn put(cache: &dyn Backend, at: &str, content: &[u8]) -> Result<(), BackendError> {
    cache.put(&name(at), &mut Cursor::new(content), content.len() as u64)
}

/// Reads a file; none if it is not there.
fn get(cache: &dyn Backend, at: &str) -> Option<Vec<u8>> {
    let body = cache
        .open(&name(at), None)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut content = Vec::new();
    let read = body?.content.read_to_end(&mut content);
    read.unwrap_or_else(|error| panic!("{error}"));
    Some(content)
}
