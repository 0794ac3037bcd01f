//! One question to a server, along its redirects: each may lead to another proxy.

use kiln_store::web::{Agents, Limits, Question};
use ureq::http::{Method, Response, header};
use ureq::{Body, SendBody};
use url::Url;

use super::config::{FetchConfig, Proxies};
use super::error::Problem;

const MAX_REDIRECTS: usize = 10;

/// What keeps connections open between files.
pub(super) fn agents(config: &FetchConfig) -> Agents {
    Agents::new(&Limits {
        user_agent: &config.user_agent,
        ca_bundle: config.ca_bundle.as_deref(),
        connect: config.timeouts.connect,
        response: config.timeouts.response,
        stall: config.timeouts.stall,
    })
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
    let mut url = Url::parse(url).map_err(|_| not_a_url(url))?;
    for _ in 0..=MAX_REDIRECTS {
        let question = question(url.clone(), from)?;
        let proxy = proxies.for_url(&url, debian);
        let response = agents.ask(&question, SendBody::none(), proxy);
        let response = response.map_err(|error| problem(&error, proxy))?;
        let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = response.headers().get(header::LOCATION);
        match location.filter(|_| moved).map(|value| value.to_str()) {
            None => return Ok(response),
            Some(Ok(location)) => url = join(&url, location).ok_or_else(|| not_a_url(location))?,
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

fn question(mut url: Url, from: From<'_>) -> Result<Question, Problem> {
    url.set_fragment(None);
    let question = Question::new(Method::GET, url);
    if from.offset == 0 {
        return Ok(question);
    }
    let rest = question.with(header::RANGE, &format!("bytes={}-", from.offset));
    let rest = rest.and_then(|rest| match from.validator {
        Some(validator) => rest.with(header::IF_RANGE, validator),
        None => Ok(rest),
    });
    rest.map_err(|error| Problem::Protocol {
        reason: error.to_string(),
    })
}

/// Where a redirect leads.
fn join(base: &Url, location: &str) -> Option<Url> {
    let url = base.join(location).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

fn problem(error: &ureq::Error, proxy: Option<&str>) -> Problem {
    let reason = error.to_string();
    match error {
        ureq::Error::InvalidProxyUrl => Problem::Unreachable {
            reason: format!("`{}` is not a proxy", shown(proxy.unwrap_or_default())),
        },
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

/// A proxy without its password.
fn shown(proxy: &str) -> &str {
    proxy.rsplit('@').next().unwrap_or(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined() {
        let base = Url::parse("https://a.example/x/y?z").expect("a URL");
        let check = |location: &str, expected: Option<&str>| {
            let joined = join(&base, location);
            assert_eq!(joined.as_ref().map(Url::as_str), expected, "{location}");
        };
        check("http://b.example/f", Some("http://b.example/f"));
        check("//b.example/f#part", Some("https://b.example/f#part"));
        check("/f?g", Some("https://a.example/f?g"));
        check("f", Some("https://a.example/x/f"));
        check("../f", Some("https://a.example/f"));
        check("file:///etc/passwd", None);
    }
}
