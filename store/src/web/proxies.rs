//! Which proxy serves which URL. Pure.

use url::Url;

/// Which proxy serves which URL.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http:` URLs.
    pub http: Option<String>,
    /// For `https:` URLs.
    pub https: Option<String>,
    /// Hosts and domains that are reached directly; `*` is all of them.
    pub direct: Vec<String>,
}

impl Proxies {
    /// The customary variables, in lower case before upper case.
    /// `HTTP_PROXY` is left out on purpose, as everywhere: a CGI server sets it
    /// from a request header.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let told = |name: &&str| variable(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(told);
        let direct = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self {
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            direct: direct
                .split([',', ' '])
                .filter(|host| !host.is_empty())
                .map(|host| host.trim_start_matches('.').to_ascii_lowercase())
                .collect(),
        }
    }

    /// The proxy for `url`; none if it is reached directly.
    pub fn for_url(&self, url: &Url) -> Option<&str> {
        let host = url.host_str()?.trim_matches(['[', ']']);
        if self.direct.iter().any(|domain| is_within(host, domain)) {
            return None;
        }
        match url.scheme() {
            "https" => self.https.as_deref(),
            _ => self.http.as_deref(),
        }
    }
}

/// A proxy's URL may hold a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("direct", &self.direct)
            .finish()
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
    fn proxies_are_chosen_by_scheme_and_host() {
        let proxies = Proxies::of_environment(|name| match name {
            "http_proxy" => Some("http://me:secret@proxy:1".to_owned()),
            "no_proxy" => Some("localhost,.Inside.example ::1".to_owned()),
            _ => None,
        });
        let check = |url: &str, expected: Option<&str>| {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(proxies.for_url(&url), expected, "{url}");
        };
        let proxy = Some("http://me:secret@proxy:1");
        check("http://a.example/x", proxy);
        check("https://a.example/x", None);
        check("http://b.inside.example:80/x", None);
        check("http://notinside.example/x", proxy);
        check("http://[::1]:80/x", None);
        assert!(!format!("{proxies:?}").contains("secret"));
    }
}
