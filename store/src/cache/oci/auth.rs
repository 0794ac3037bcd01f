//! Basic and token authentication at a registry.
//!
//! A registry that wants a token says where to get it, and the login goes there:
//! to any host that the registry names, as with every client. It goes over TLS,
//! unless the registry itself is spoken to without.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use ureq::http::{Method, header};
use url::Url;

use crate::cache::backend::Kind;
use crate::cache::credentials::{Login, Secret};
use crate::cache::web::answer::{Answer, refusal, shown, text, whole};
use crate::cache::web::{Client, Question, Signer};

const TOKEN_BYTES: u64 = 256 << 10;

/// Who asks a registry.
pub(super) struct Authority {
    registry: Url,
    login: Option<Login>,
    /// The value of `Authorization` that is sent for each deed. A token allows
    /// what it was asked for; with one for all, threads that read and threads
    /// that write would take each other's away.
    proofs: Mutex<BTreeMap<Deed, Secret>>,
}

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Read,
    Write,
    Remove,
}

impl Deed {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Deed::Read,
            Method::DELETE => Deed::Remove,
            _ => Deed::Write,
        }
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Sends a login to where tokens are.
struct WithLogin<'a>(Option<&'a Login>);

impl Signer for WithLogin<'_> {
    fn sign(&self, question: Question) -> Result<Question, Kind> {
        match self.0 {
            Some(login) => Ok(question.with(header::AUTHORIZATION, &login.header())?),
            None => Ok(question),
        }
    }
}

impl Authority {
    pub(super) fn new(registry: Url, login: Option<Login>) -> Self {
        Self {
            registry,
            login,
            proofs: Mutex::default(),
        }
    }

    fn proofs(&self) -> MutexGuard<'_, BTreeMap<Deed, Secret>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, client: &Client, challenge: &[(String, String)]) -> Result<String, Kind> {
        let get = |name: &str| {
            let found = challenge
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        let realm = get("realm").and_then(|realm| Url::parse(realm).ok());
        let mut url =
            realm.ok_or_else(|| Kind::Protocol("it wants a token, from nowhere".to_owned()))?;
        match (self.registry.scheme(), url.scheme()) {
            (_, "https") | ("http", "http") => {}
            _ => {
                let why = format!("it wants a token from {}, without TLS", shown(&url));
                return Err(Kind::Protocol(why));
            }
        }
        let named = ["service", "scope"].map(|name| (name, get(name)));
        for (name, value) in named {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let place = shown(&url);
        let question = Question::new(Method::GET, url);
        let signer = WithLogin(self.login.as_ref());
        let bytes = client.ask(&signer, &question, None, |answer| {
            match answer.status().as_u16() {
                200 => whole(answer, TOKEN_BYTES),
                _ => Err(at_token_server(refusal(&answer), &place)),
            }
        })?;
        let none = || Kind::Protocol(format!("{place} gives no token"));
        token(&bytes).ok_or_else(none)
    }
}

impl Signer for Authority {
    fn sign(&self, question: Question) -> Result<Question, Kind> {
        // Who has a token need not be asked for one.
        if let Some(login @ Login::Bearer(_)) = &self.login {
            return Ok(question.with(header::AUTHORIZATION, &login.header())?);
        }
        let proof = self.proofs().get(&Deed::of(&question.method)).cloned();
        match proof {
            Some(proof) => Ok(question.with(header::AUTHORIZATION, proof.expose())?),
            None => Ok(question),
        }
    }

    fn challenged(
        &self,
        client: &Client,
        question: &Question,
        answer: &Answer,
    ) -> Result<bool, Kind> {
        let challenge = text(answer, header::WWW_AUTHENTICATE).and_then(challenge);
        let Some((scheme, values)) = challenge else {
            return Ok(false);
        };
        let proof = match (scheme.to_ascii_lowercase().as_str(), &self.login) {
            (_, Some(Login::Bearer(_))) => return Ok(false),
            ("basic", Some(login)) => login.header(),
            ("bearer", _) => format!("Bearer {}", self.token(client, &values)?),
            _ => return Ok(false),
        };
        let deed = Deed::of(&question.method);
        self.proofs().insert(deed, Secret::new(proof));
        Ok(true)
    }
}

/// The token that such a server gives.
pub(in crate::cache) fn token(bytes: &[u8]) -> Option<String> {
    let token: Token = serde_json::from_slice(bytes).ok()?;
    token.token.or(token.access_token)
}

fn at_token_server(kind: Kind, place: &str) -> Kind {
    match kind {
        Kind::Denied(why) => Kind::Denied(format!(
            "at {place}: {why} (logins come from docker's config.json)"
        )),
        Kind::Refused(why) => Kind::Refused(format!("at {place}: {why}")),
        kind => kind,
    }
}

/// `Bearer realm="…",service="…"`: the scheme and its values.
pub(in crate::cache) fn challenge(text: &str) -> Option<(String, Vec<(String, String)>)> {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return Some((scheme.to_owned(), values));
        }
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        values.push((key.trim().to_owned(), value.to_owned()));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let check = |text: &str, expected: Option<(&str, &[(&str, &str)])>| {
            let expected = expected.map(|(scheme, values)| {
                let own = |(k, v): &(&str, &str)| (k.to_string(), v.to_string());
                (
                    scheme.to_owned(),
                    values.iter().map(own).collect::<Vec<_>>(),
                )
            });
            assert_eq!(challenge(text), expected, "{text}");
        };
        check(
            "Bearer realm=\"https://a/t?x=y\", service=\"r\",scope=\"repository:a/b:pull,push\"",
            Some((
                "Bearer",
                &[
                    ("realm", "https://a/t?x=y"),
                    ("service", "r"),
                    ("scope", "repository:a/b:pull,push"),
                ],
            )),
        );
        check("Basic realm=here", Some(("Basic", &[("realm", "here")])));
        check("Negotiate", Some(("Negotiate", &[])));
        check("Bearer realm=\"x", None);
    }
}
