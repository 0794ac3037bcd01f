//! Logins to registries, as docker and podman keep them. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::Url;

use super::{CredentialsError, Login, Secret, is_place, malformed, unsupported};

const INSTEAD: &str =
    "log in without it (so that `auths` has the password), or set KILN_CACHE_TOKENS";

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// The login for the registry at `authority`. An entry with no password is one
/// that a helper keeps.
pub(in crate::cache) fn find(
    path: &Path,
    text: &str,
    authority: &Url,
) -> Result<Option<Login>, CredentialsError> {
    let config: Config = serde_json::from_str(text).map_err(|error| {
        // serde's message may quote a value; its position does not.
        let problem = format!(
            "not docker's JSON, at line {}, column {}",
            error.line(),
            error.column()
        );
        malformed(path.display(), problem)
    })?;
    if let Some((_, helper)) = config
        .helpers
        .iter()
        .find(|(key, _)| is_for(key, authority))
    {
        let what = format!("the credential helper `{helper}`");
        return Err(unsupported(path, what, INSTEAD));
    }
    let found = config
        .auths
        .into_iter()
        .find(|(key, _)| is_for(key, authority));
    let Some((key, auth)) = found else {
        return Ok(None);
    };
    if let Some(login) = login(path, &key, auth)? {
        return Ok(Some(login));
    }
    match config.store {
        Some(store) => {
            let what = format!("the credential store `{store}`");
            Err(unsupported(path, what, INSTEAD))
        }
        None => Ok(None),
    }
}

fn login(path: &Path, key: &str, auth: Auth) -> Result<Option<Login>, CredentialsError> {
    if !auth.registrytoken.is_empty() {
        return Ok(Some(Login::Bearer(Secret::new(auth.registrytoken))));
    }
    if !auth.identitytoken.is_empty() {
        let what = format!("an identity token (for `{key}`)");
        return Err(unsupported(path, what, INSTEAD));
    }
    if auth.auth.is_empty() {
        let (user, password) = (auth.username, Secret::new(auth.password));
        return Ok((!user.is_empty()).then_some(Login::Basic { user, password }));
    }
    let bytes = STANDARD.decode(auth.auth.trim()).ok();
    let both = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((user, password)) = both.as_deref().and_then(|both| both.split_once(':')) else {
        let problem = format!("`auth` of `{key}` is not the base64 of `user:password`");
        return Err(malformed(path.display(), problem));
    };
    Ok(Some(Login::Basic {
        user: user.to_owned(),
        // docker pads with zero bytes.
        password: Secret::new(password.trim_end_matches('\0')),
    }))
}

/// Keys are hosts with or without port, or old URLs with a path.
fn is_for(key: &str, authority: &Url) -> bool {
    let key = key.strip_prefix("https://").unwrap_or(key);
    let key = key.strip_prefix("http://").unwrap_or(key);
    is_place(key.split('/').next().unwrap_or_default(), authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expected: Result<Option<(&str, &str)>, &str>) {
        let text = r#"{"auths": {
            "a.example": {"auth": "bWU6c2VjcmV0"},
            "https://b.example:5000/v2/": {"username": "you", "password": "p"},
            "kept.example": {},
            "bad.example": {"auth": "c2VjcmV0"},
            "id.example": {"auth": "bWU6", "identitytoken": "secret"}
        }, "credsStore": "pass", "credHelpers": {"helped.example": "gcloud"}}"#;
        let authority = Url::parse(&format!("https://{host}")).expect("a URL");
        let got = find(Path::new("config.json"), text, &authority);
        match (got, expected) {
            (Ok(got), Ok(expected)) => {
                let expected = expected.map(|(user, password)| Login::Basic {
                    user: user.to_owned(),
                    password: Secret::new(password),
                });
                assert_eq!(got, expected, "{host}");
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error}");
                assert!(!error.to_string().contains("secret"), "{error}");
            }
            (got, expected) => panic!("{host}: {got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn logins_are_found_and_helpers_named() {
        check("a.example", Ok(Some(("me", "secret"))));
        check("b.example:5000", Ok(Some(("you", "p"))));
        check("c.example", Ok(None));
        check("kept.example", Err("the credential store `pass`"));
        check("helped.example", Err("the credential helper `gcloud`"));
        check("bad.example", Err("base64"));
        check("id.example", Err("an identity token"));
    }

    #[test]
    fn broken_json_is_located_and_not_quoted() {
        let authority = Url::parse("https://a").expect("a URL");
        let error = find(Path::new("f"), r#"{"auths": "secret"}"#, &authority);
        let error = error.expect_err("it is no map").to_string();
        assert!(
            error.contains("line 1") && !error.contains("secret"),
            "{error}"
        );
    }
}
