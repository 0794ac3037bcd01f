//! One request to one server, through the right proxy.
//!
//! The HTTP library would tunnel everything through a proxy with CONNECT, which
//! many allow for `https:` only. So `http:` is asked the classic way, with
//! `forward`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::uri::{Parts, PathAndQuery, Scheme};
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, SendBody};
use url::Url;

use super::forward::Forwarding;

/// Each of many threads finds a connection that it can use again.
const IDLE_CONNECTIONS: usize = 32;

/// With what servers are asked.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// What kiln calls itself.
    pub user_agent: &'a str,
    /// The certificates that the machine trusts, in PEM form; without, those that
    /// kiln was built with.
    pub ca_bundle: Option<&'a Path>,
    /// How long it may take to look up a name, and how long to connect.
    pub connect: Duration,
    /// How long the first byte of an answer may take.
    pub response: Duration,
    /// How long nothing may come or go in the middle of a body.
    pub stall: Duration,
}

/// A value that cannot be a header's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what is to be sent as `{0}` is no header's value")]
pub struct BadHeader(HeaderName);

/// What is asked of a server. It is made anew for each try.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is to be done.
    pub method: Method,
    /// Without user and password. It may hold a signature: it is never shown.
    pub url: Url,
    /// Headers, besides those that every request has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Question {
    /// Without headers.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
        }
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: &str) -> Result<Self, BadHeader> {
        let mut value = HeaderValue::from_str(value).map_err(|_| BadHeader(name.clone()))?;
        value.set_sensitive(name == header::AUTHORIZATION);
        self.headers.push((name, value));
        Ok(self)
    }
}

/// Keeps connections open between requests. Copies share them.
#[derive(Clone, Debug)]
pub struct Agents {
    direct: Agent,
    forwarding: Forwarding,
}

impl Agents {
    /// Knows no server yet.
    pub fn new(limits: &Limits<'_>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(limits.user_agent)
            .accept_encoding("identity")
            .proxy(None)
            .max_idle_connections(IDLE_CONNECTIONS)
            .max_idle_connections_per_host(IDLE_CONNECTIONS)
            .tls_config(tls(limits.ca_bundle))
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.response))
            .timeout_per_read(Some(limits.stall))
            .timeout_per_write(Some(limits.stall))
            .build();
        Self {
            direct: config.new_agent(),
            forwarding: Forwarding::new(config),
        }
    }

    /// Asks once, through `proxy` if there is one. Every answer comes back as it is,
    /// redirects and refusals too.
    pub fn ask(
        &self,
        question: &Question,
        body: SendBody<'_>,
        proxy: Option<&str>,
    ) -> Result<Response<Body>, ureq::Error> {
        let (agent, target, own, tunnel) = match proxy {
            Some(proxy) if question.url.scheme() == "http" && is_http(proxy) => {
                let (target, own) = self.through(proxy, &question.url)?;
                (self.forwarding.agent(), target, own, None)
            }
            Some(proxy) => {
                let tunnel = Proxy::new(proxy).map_err(|_| ureq::Error::InvalidProxyUrl)?;
                (
                    &self.direct,
                    target(&question.url)?,
                    Vec::new(),
                    Some(tunnel),
                )
            }
            None => (&self.direct, target(&question.url)?, Vec::new(), None),
        };
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(target);
        for (name, value) in question.headers.iter().chain(&own) {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(ureq::Error::Http)?;
        let request = agent.configure_request(request).proxy(tunnel).build();
        agent.run(request)
    }

    /// The target and the headers that a forwarding proxy wants.
    fn through(
        &self,
        proxy: &str,
        url: &Url,
    ) -> Result<(Uri, Vec<(HeaderName, HeaderValue)>), ureq::Error> {
        let bad = || ureq::Error::InvalidProxyUrl;
        let proxy = proxy.strip_prefix("http://").unwrap_or(proxy);
        let proxy = proxy.split('/').next().unwrap_or_default();
        let (login, address) = match proxy.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, proxy),
        };
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(address.parse().map_err(|_| bad())?);
        let path = self.forwarding.path_of(url.as_str());
        parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| bad())?);
        let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let mut headers = vec![(header::HOST, host)];
        if let Some(login) = login {
            let login = percent_encoding::percent_decode_str(login).collect::<Vec<u8>>();
            let login = format!("Basic {}", STANDARD.encode(login));
            headers.push((header::PROXY_AUTHORIZATION, login));
        }
        let value = |(name, text): (_, String)| Some((name, HeaderValue::from_str(&text).ok()?));
        let headers: Option<Vec<_>> = headers.into_iter().map(value).collect();
        Ok((
            Uri::from_parts(parts).map_err(|_| bad())?,
            headers.ok_or_else(bad)?,
        ))
    }
}

fn target(url: &Url) -> Result<Uri, ureq::Error> {
    // Its text may hold a signature, so the error does not.
    let bad = || ureq::Error::BadUri("a URL that cannot be asked for".to_owned());
    url.as_str().parse().map_err(|_| bad())
}

fn is_http(proxy: &str) -> bool {
    proxy.starts_with("http://") || !proxy.contains("://")
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
