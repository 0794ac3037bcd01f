//! HTTP as fetching and caches share it: one request to one server, through the
//! right proxy, with the certificates that the machine trusts.
//!
//! - `agents`: asks. Who asks again, and follows redirects, is above it.
//! - `forward`: plain HTTP through a forwarding proxy.
//! - `proxies`: which proxy serves which URL. Pure.
//!
//! It knows neither files nor caches.

mod agents;
mod forward;
mod proxies;

use std::path::PathBuf;

pub use agents::{Agents, BadHeader, Limits, Question};
pub use proxies::Proxies;

/// Where distributions keep the certificates that the machine trusts. A machine
/// behind a proxy that opens TLS trusts one that nobody else knows.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// The file with the certificates that the machine trusts: the one that
/// `SSL_CERT_FILE` names, else where distributions keep it; none if it is nowhere.
pub fn ca_bundle(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = variable("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let usual = CA_BUNDLES.iter().map(PathBuf::from);
    let mut all = named.map(PathBuf::from).into_iter().chain(usual);
    all.find(|path| path.is_file())
}
