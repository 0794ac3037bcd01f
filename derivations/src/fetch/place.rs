//! From candidates to places in the order in which they are tried.

use super::candidate::Candidate;
use super::config::FetchConfig;
use super::timestamp::Timestamp;

/// One URL to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `http:`, `https:` or `file:`.
    pub(super) url: String,
    /// How it is treated.
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something of which no more is known.
    Plain,
    /// The Debian archive of this number among all; apt's proxies hold.
    Archive(usize),
    /// The dated archive: one connection at a time.
    Snapshot,
}

/// All places of all candidates. `preferred` is the number of the archive that
/// served last: the other ones may be of another distribution.
pub(super) fn places(
    candidates: &[Candidate],
    first_seen: Option<Timestamp>,
    config: &FetchConfig,
    preferred: usize,
) -> Vec<Place> {
    let plain = |url| Place {
        url,
        kind: Kind::Plain,
    };
    let mut places = Vec::new();
    // Whatever is rate-limited comes after everything else.
    let mut last = Vec::new();
    for candidate in candidates {
        match candidate {
            Candidate::Http { url } => places.push(plain(url.clone())),
            Candidate::File { path } => places.push(plain(format!("file:{}", path.display()))),
            Candidate::Debian { path } => {
                places.extend(archives(path, config, preferred));
                last.extend(snapshot(path, first_seen, config));
            }
        }
    }
    places.extend(last);
    places
}

fn archives(path: &str, config: &FetchConfig, preferred: usize) -> Vec<Place> {
    let roots = config.debian_roots.iter().chain(&config.mirrors);
    let mut places: Vec<Place> = roots
        .enumerate()
        .map(|(number, root)| Place {
            url: below(root, path),
            kind: Kind::Archive(number),
        })
        .collect();
    places.sort_by_key(|place| place.kind != Kind::Archive(preferred));
    places
}

fn snapshot(path: &str, first_seen: Option<Timestamp>, config: &FetchConfig) -> Option<Place> {
    let root = config.snapshots.as_deref()?.trim_end_matches('/');
    // Security updates have a pool of their own, told by its paths.
    let security = path.starts_with("pool/updates/");
    let archive = if security {
        "debian-security"
    } else {
        "debian"
    };
    Some(Place {
        url: format!("{root}/{archive}/{}/{}", first_seen?, encode(path)),
        kind: Kind::Snapshot,
    })
}

fn below(root: &str, path: &str) -> String {
    let root = root.trim_end_matches('/');
    match root.starts_with("file:") {
        true => format!("{root}/{path}"),
        false => format!("{root}/{}", encode(path)),
    }
}

/// Versions hold `+`, `~` and `:`, of which only `+` is read differently by
/// some servers.
fn encode(path: &str) -> String {
    path.replace('%', "%25")
        .replace('+', "%2B")
        .replace('#', "%23")
        .replace('?', "%3F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_archives_then_mirrors_then_upstream_then_snapshots() {
        let mut config = FetchConfig::new("/nowhere".into());
        config.debian_roots = vec!["http://own/debian".into(), "file:/srv/debian/".into()];
        config.mirrors = vec!["https://mirror/debian".into()];
        config.snapshots = Some("https://snap/archive".into());
        let candidates = [
            "debian:pool/main/x/x_1+b1.deb".parse().expect("candidate"),
            "https://upstream/x.deb".parse().expect("candidate"),
        ];
        let seen = "20261121T091300Z".parse().ok();
        let urls = |preferred| -> Vec<String> {
            let places = places(&candidates, seen, &config, preferred);
            places.into_iter().map(|place| place.url).collect()
        };
        assert_eq!(
            urls(0),
            [
                "http://own/debian/pool/main/x/x_1%2Bb1.deb",
                "file:/srv/debian/pool/main/x/x_1+b1.deb",
                "https://mirror/debian/pool/main/x/x_1%2Bb1.deb",
                "https://upstream/x.deb",
                "https://snap/archive/debian/20261121T091300Z/pool/main/x/x_1%2Bb1.deb",
            ]
        );
        assert_eq!(urls(2)[0], "https://mirror/debian/pool/main/x/x_1%2Bb1.deb");
    }
}
