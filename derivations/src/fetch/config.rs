//! What fetching knows of the machine, gathered once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_store::web;
use url::Url;

use super::apt::AptSettings;

/// The dated archive that keeps every file that was ever in Debian. It is
/// rate-limited, so it is asked last, over one connection.
pub const SNAPSHOT_ARCHIVE: &str = "https://snapshot.debian.org/archive";

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
        let proxies = Proxies {
            all: web::Proxies::of_environment(variable),
            apt: apt.proxies,
        };
        Self {
            debian_roots: apt.roots,
            proxies,
            ca_bundle: web::ca_bundle(variable),
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
    /// For all URLs.
    pub all: web::Proxies,
    /// What apt is told, for Debian archives: from `http`, `https` or
    /// `http::host` to a proxy, or to none.
    pub apt: BTreeMap<String, Option<String>>,
}

impl Proxies {
    /// The proxy for `url`. apt's word counts for Debian archives only, and
    /// there before the environment's.
    pub fn for_url(&self, url: &Url, debian: bool) -> Option<&str> {
        let told = self.told_to_apt(url).filter(|_| debian);
        told.unwrap_or_else(|| self.all.for_url(url))
    }

    fn told_to_apt(&self, url: &Url) -> Option<Option<&str>> {
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        let of_host = format!("{scheme}::{host}");
        // apt's https follows its http where it is not told otherwise.
        let keys = [of_host.as_str(), scheme, "http"];
        let told = keys.into_iter().find_map(|key| self.apt.get(key))?;
        Some(told.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_proxies_come_first_for_debian() {
        let all = web::Proxies {
            http: Some("http://env:1".to_owned()),
            ..web::Proxies::default()
        };
        let mut proxies = Proxies {
            all,
            apt: BTreeMap::new(),
        };
        let check = |proxies: &Proxies, url: &str, debian: bool, expected: Option<&str>| {
            let parsed = Url::parse(url).expect("a URL");
            assert_eq!(proxies.for_url(&parsed, debian), expected, "{url}");
        };
        check(&proxies, "http://a.example/x", true, Some("http://env:1"));
        check(&proxies, "https://a.example/x", true, None);

        proxies.apt = BTreeMap::from([
            ("http".to_owned(), Some("http://apt:2".to_owned())),
            ("http::direct.example".to_owned(), None),
        ]);
        check(&proxies, "http://a.example/x", true, Some("http://apt:2"));
        check(&proxies, "https://a.example/x", true, Some("http://apt:2"));
        check(&proxies, "http://direct.example/x", true, None);
        check(&proxies, "http://a.example/x", false, Some("http://env:1"));
        check(&proxies, "https://a.example/x", false, None);
    }
}
