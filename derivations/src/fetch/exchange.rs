//! One question to a server: through the right proxy, along its redirects.
//!
//! The HTTP library would tunnel everything through a proxy with CONNECT. The
//! proxies that Debian machines have (caches for apt above all) allow that for
//! `https:` only, if at all, so `http:` is asked the classic way, with [`forward`].
//! Redirects are followed here, because each may lead to another proxy.

use std::fs;
use std::path::Path;

use ureq::http::uri::{Parts, PathAndQuery, Scheme};
use ureq::http::{Request, Response, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::config::{FetchConfig, Proxies};
use super::error::Problem;
use super::forward;

const MAX_REDIRECTS: usize = 10;

/// Keeps connections open between files.
#[derive(Clone)]
pub(super) struct Agents {
    direct: Agent,
    forwarding: Agent,
}

impl Agents {
    pub(super) fn new(config: &FetchConfig) -> Self {
        let timeouts = &config.timeouts;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(&config.user_agent)
            .accept_encoding("identity")
            .proxy(None)
            .tls_config(tls(config.ca_bundle.as_deref()))
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.response))
            .timeout_per_read(Some(timeouts.stall))
            .build();
        Self {
            direct: config.new_agent(),
            forwarding: forward::agent(config),
        }
    }
}

/// Trusts the certificates of `bundle`, if it has any that can be read.
fn tls(bundle: Option<&Path>) -> TlsConfig {
    let pem = bundle.and_then(|path| fs::read(path).ok());
    let items = pem.iter().flat_map(|pem| parse_pem(pem)).flatten();
    let certificates: Vec<_> = items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    let roots = match certificates.is_empty() {
        true => RootCerts::WebPki,
        false => RootCerts::from(certificates),
    };
    TlsConfig::builder().root_certs(roots).build()
}

/// Which bytes of a file are wanted.
#[derive(Clone, Copy)]
pub(super) struct From<'a> {
    /// The first of them.
    pub(super) offset: u64,
    /// What the server said of the file when it sent the bytes before.
    pub(super) validator: Option<&'a str>,
}

/// Asks for `url` and follows where it leads.
pub(super) fn get(
    agents: &Agents,
    proxies: &Proxies,
    debian: bool,
    url: &str,
    from: From<'_>,
) -> Result<Response<Body>, Problem> {
    let mut uri: Uri = url.parse().map_err(|_| not_a_url(url))?;
    for _ in 0..=MAX_REDIRECTS {
        let proxy = proxies.for_url(&uri.to_string(), debian);
        let response = ask(agents, proxy, &uri, from)?;
        let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = response.headers().get(header::LOCATION);
        match location.filter(|_| moved).map(|value| value.to_str()) {
            None => return Ok(response),
            Some(Ok(location)) => uri = join(&uri, location).ok_or_else(|| not_a_url(location))?,
            Some(Err(_)) => return Err(not_a_url("the redirect")),
        }
    }
    Err(Problem::Protocol {
        reason: format!("more than {MAX_REDIRECTS} redirects"),
    })
}

fn not_a_url(text: &str) -> Problem {
    Problem::Protocol {
        reason: format!("`{text}` is not a URL that kiln can fetch"),
    }
}

fn ask(
    agents: &Agents,
    proxy: Option<&str>,
    uri: &Uri,
    from: From<'_>,
) -> Result<Response<Body>, Problem> {
    let mut request = Request::get(uri);
    if from.offset > 0 {
        request = request.header(header::RANGE, format!("bytes={}-", from.offset));
        if let Some(validator) = from.validator {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    let (agent, tunnel) = match proxy {
        Some(proxy) if uri.scheme() == Some(&Scheme::HTTP) && is_http(proxy) => {
            request = through(request, proxy, uri).ok_or_else(|| bad_proxy(proxy))?;
            (&agents.forwarding, None)
        }
        Some(proxy) => {
            let tunnel = Proxy::new(proxy).map_err(|_| bad_proxy(proxy))?;
            (&agents.direct, Some(tunnel))
        }
        None => (&agents.direct, None),
    };
    let request = request.body(()).map_err(|error| Problem::Protocol {
        reason: error.to_string(),
    })?;
    let request = agent.configure_request(request).proxy(tunnel).build();
    agent.run(request).map_err(|error| problem(&error))
}

fn is_http(proxy: &str) -> bool {
    proxy.starts_with("http://") || !proxy.contains("://")
}

fn bad_proxy(proxy: &str) -> Problem {
    Problem::Unreachable {
        reason: format!("`{proxy}` is not a proxy"),
    }
}

/// The request as a forwarding proxy wants it.
fn through(
    request: ureq::http::request::Builder,
    proxy: &str,
    target: &Uri,
) -> Option<ureq::http::request::Builder> {
    let proxy = proxy.strip_prefix("http://").unwrap_or(proxy);
    let proxy = proxy.split('/').next()?;
    let (login, address) = match proxy.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, proxy),
    };
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(address.parse().ok()?);
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/{target}")).ok()?);
    let request = request
        .uri(Uri::from_parts(parts).ok()?)
        .header(header::HOST, target.authority()?.as_str());
    Some(match login {
        None => request,
        Some(login) => {
            let login = format!("Basic {}", base64(login.as_bytes()));
            request.header(header::PROXY_AUTHORIZATION, login)
        }
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| {
            bits << 8 | usize::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() {
                digit as char
            } else {
                '='
            });
        }
    }
    text
}

/// Where a redirect leads.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let location = location.split('#').next()?;
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(head, _)| head);
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let uri: Uri = absolute.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then_some(uri)
}

fn problem(error: &ureq::Error) -> Problem {
    let reason = error.to_string();
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            Problem::Tls { reason }
        }
        // TLS reports a certificate that it refuses as an error of the stream.
        ureq::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            Problem::Tls { reason }
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Protocol(_) => Problem::Unreachable { reason },
        _ => Problem::Protocol { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined() {
        let base: Uri = "https://a.example/x/y?z".parse().expect("uri");
        let check = |location: &str, expected: Option<&str>| {
            let joined = join(&base, location).map(|uri| uri.to_string());
            assert_eq!(joined.as_deref(), expected, "{location}");
        };
        check("http://b.example/f", Some("http://b.example/f"));
        check("//b.example/f#part", Some("https://b.example/f"));
        check("/f?g", Some("https://a.example/f?g"));
        check("f", Some("https://a.example/x/f"));
        check("file:///etc/passwd", None);
    }

    #[test]
    fn base64_agrees_with_rfc_4648() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }
}
