//! What fetching knows of the machine, gathered once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::apt::AptSettings;

/// The dated archive that keeps every file that was ever in Debian. It is
/// rate-limited, so it is asked last, over one connection.
pub const SNAPSHOT_ARCHIVE: &str = "https://snapshot.debian.org/archive";

/// Where distributions keep the certificates that the machine trusts. A machine
/// behind a proxy that opens TLS trusts one that nobody else knows.
const CA_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// How files are fetched. Plain data: no field is looked up later.
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// Where parts and fetched files lie. Kept between runs, so that fetches
    /// go on where they ended.
    pub cache_dir: PathBuf,
    /// The roots of the machine's own Debian archives.
    pub debian_roots: Vec<String>,
    /// Further roots of Debian archives, as the manifest names them.
    pub mirrors: Vec<String>,
    /// The root of the dated archive; none if it shall not be asked.
    pub snapshots: Option<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// The certificates that the machine trusts, in PEM form; without, those
    /// that kiln was built with.
    pub ca_bundle: Option<PathBuf>,
    /// When a server is too slow.
    pub timeouts: Timeouts,
    /// How often a place is tried again.
    pub retry: Retry,
    /// What kiln calls itself.
    pub user_agent: String,
    /// The largest file that is fetched if its size is not pinned.
    pub max_unpinned_bytes: u64,
}

impl FetchConfig {
    /// A configuration that knows nothing of the machine.
    pub fn new(cache_dir: PathBuf) -> Self {
        Self {
            cache_dir,
            debian_roots: Vec::new(),
            mirrors: Vec::new(),
            snapshots: Some(SNAPSHOT_ARCHIVE.to_owned()),
            proxies: Proxies::default(),
            ca_bundle: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_unpinned_bytes: 16 << 30,
        }
    }

    /// What this machine's apt and environment say. A machine without apt has
    /// no archives of its own, which is no error.
    pub fn of_machine(cache_dir: PathBuf) -> Self {
        let apt = AptSettings::of_machine();
        let variable = |name: &str| std::env::var(name).ok();
        let mut proxies = Proxies::of_environment(variable);
        proxies.apt = apt.proxies;
        let named = variable("SSL_CERT_FILE").map(PathBuf::from);
        let usual = CA_BUNDLES.iter().map(PathBuf::from);
        Self {
            debian_roots: apt.roots,
            proxies,
            ca_bundle: named.into_iter().chain(usual).find(|path| path.is_file()),
            ..Self::new(cache_dir)
        }
    }
}

/// When a server is too slow.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To look up a name and to connect.
    pub connect: Duration,
    /// Until the first byte of an answer.
    pub response: Duration,
    /// Between two bytes of a body.
    pub stall: Duration,
    /// The time over which the least speed is measured.
    pub speed_window: Duration,
    /// The least speed, in bytes a second.
    pub min_bytes_per_s: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            response: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            speed_window: Duration::from_secs(30),
            min_bytes_per_s: 2048,
        }
    }
}

/// How often a place is tried again after a temporary problem.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Tries without getting on. A try that got on does not count.
    pub tries: u32,
    /// Tries altogether.
    pub max_tries: u32,
    /// The pause after the first; doubled each time.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 4,
            max_tries: 20,
            first_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(15),
        }
    }
}

/// Which proxy serves which URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http:` URLs.
    pub http: Option<String>,
    /// For `https:` URLs.
    pub https: Option<String>,
    /// Hosts and domains that are reached directly.
    pub direct: Vec<String>,
    /// What apt is told, for Debian archives: from `http`, `https` or
    /// `http::host` to a proxy, or to none.
    pub apt: BTreeMap<String, Option<String>>,
}

impl Proxies {
    /// The customary variables, in lower case before upper case.
    /// `HTTP_PROXY` is left out on purpose, as everywhere: a CGI server sets it
    /// from a request header.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            let values = names.iter().filter_map(|name| variable(name));
            values.into_iter().find(|value| !value.is_empty())
        };
        let direct = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self {
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            direct: direct
                .split([',', ' '])
                .filter(|host| !host.is_empty())
                .map(|host| host.trim_start_matches('.').to_owned())
                .collect(),
            apt: BTreeMap::new(),
        }
    }

    /// The proxy for `url`. apt's word counts for Debian archives only, and
    /// there before the environment's.
    pub fn for_url(&self, url: &str, debian: bool) -> Option<&str> {
        let (scheme, rest) = url.split_once("://")?;
        let host = host_of(rest);
        if debian {
            let keys = [format!("{scheme}::{host}"), scheme.to_owned()];
            // apt's https follows its http where it is not told otherwise.
            let keys = keys.into_iter().chain(["http".to_owned()]);
            if let Some(told) = keys.into_iter().find_map(|key| self.apt.get(&key)) {
                return told.as_deref();
            }
        }
        if self.direct.iter().any(|domain| is_within(host, domain)) {
            return None;
        }
        match scheme {
            "https" => self.https.as_deref(),
            _ => self.http.as_deref(),
        }
    }
}

fn host_of(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    }
}

fn is_within(host: &str, domain: &str) -> bool {
    domain == "*"
        || host == domain
        || host
            .strip_suffix(domain)
            .is_some_and(|head| head.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_chosen_by_scheme_host_and_apt() {
        let mut proxies = Proxies::of_environment(|name| match name {
            "http_proxy" => Some("http://env:1".to_owned()),
            "no_proxy" => Some("localhost,.inside.example".to_owned()),
            _ => None,
        });
        let check = |proxies: &Proxies, url: &str, debian: bool, expected: Option<&str>| {
            assert_eq!(proxies.for_url(url, debian), expected, "{url}");
        };
        check(&proxies, "http://a.example/x", false, Some("http://env:1"));
        check(&proxies, "https://a.example/x", false, None);
        check(&proxies, "http://b.inside.example:80/x", false, None);
        check(
            &proxies,
            "http://notinside.example/x",
            false,
            Some("http://env:1"),
        );
        check(&proxies, "http://a.example/x", true, Some("http://env:1"));

        proxies.apt = BTreeMap::from([
            ("http".to_owned(), Some("http://apt:2".to_owned())),
            ("http::direct.example".to_owned(), None),
        ]);
        check(&proxies, "http://a.example/x", true, Some("http://apt:2"));
        check(&proxies, "https://a.example/x", true, Some("http://apt:2"));
        check(&proxies, "http://direct.example/x", true, None);
        check(&proxies, "http://a.example/x", false, Some("http://env:1"));
    }
}
