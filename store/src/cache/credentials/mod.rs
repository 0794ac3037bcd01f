//! Who kiln is to a cache.
//!
//! - [`Credentials`]: where they may be: variables and a home directory, as
//!   plain data. Only [`Credentials::of_environment`] looks at the environment.
//! - `netrc`, `aws`, `docker`: the files that other programs keep them in.
//!
//! Files are read when a cache of that kind is opened, so that a mistake in one
//! does no harm to the other kinds. Nothing here runs a program: credential
//! helpers and processes are refused by name. No secret is in an error, nor in
//! what `Debug` prints.

pub(super) mod aws;
pub(super) mod docker;
pub(super) mod netrc;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

pub use aws::{Aws, AwsKeys};

/// The variable that has bearer tokens: `HOST[:PORT]=TOKEN`, separated by
/// spaces or commas. A token is bound to its host, so that no other cache sees
/// it.
pub const TOKENS: &str = "KILN_CACHE_TOKENS";

/// What is looked at in the environment.
const VARIABLES: [&str; 13] = [
    TOKENS,
    "NETRC",
    "DOCKER_CONFIG",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
];

/// Where credentials may be.
#[derive(Clone, Default)]
pub struct Credentials {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

/// A text that nobody prints by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Who kiln is to one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Login {
    /// Who has this.
    Bearer(Secret),
    /// A user with a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// Why credentials cannot be had. That there are none is no error.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file is there and cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// They are not written as they have to be.
    #[error("{place}: {problem}")]
    Malformed {
        /// The file or the variable.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// They are kept in a way that kiln does not know.
    #[error("{place}: {what} is not supported; {instead}")]
    Unsupported {
        /// The file.
        place: String,
        /// The way.
        what: String,
        /// What to do.
        instead: String,
    },
}

impl Credentials {
    /// Nobody's.
    pub fn none() -> Self {
        Self::default()
    }

    /// What this process's environment says.
    pub fn of_environment() -> Self {
        let value = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        Self::of(
            VARIABLES.iter().filter_map(|name| value(name)),
            std::env::var_os("HOME").map(PathBuf::from),
        )
    }

    /// Those of an environment with these variables and this home directory.
    pub fn of(
        variables: impl IntoIterator<Item = (String, String)>,
        home: Option<PathBuf>,
    ) -> Self {
        let variables = variables.into_iter().filter(|(_, value)| !value.is_empty());
        Self {
            variables: variables.collect(),
            home,
        }
    }

    /// Who kiln is to the web server of `url`: as the URL itself says, else by
    /// a token, else by netrc.
    pub fn for_url(&self, url: &Url) -> Result<Option<Login>, CredentialsError> {
        if let Some(login) = login_of(url) {
            return Ok(Some(login));
        }
        if let Some(token) = self.token_for(url)? {
            return Ok(Some(Login::Bearer(token)));
        }
        let path = self.file("NETRC", ".netrc");
        let Some((path, text)) = read(path)? else {
            return Ok(None);
        };
        let found = netrc::find(&text, url.host_str().unwrap_or_default());
        found.map_err(|problem| malformed(path.display(), problem))
    }

    /// Keys and region for S3, by the environment, then by the profile.
    pub fn for_s3(&self) -> Result<Aws, CredentialsError> {
        aws::of(self)
    }

    /// Who kiln is to the registry at `authority` (host and port): by a token,
    /// else by docker's configuration.
    pub fn for_registry(&self, authority: &Url) -> Result<Option<Login>, CredentialsError> {
        if let Some(token) = self.token_for(authority)? {
            return Ok(Some(Login::Bearer(token)));
        }
        let directory = self.file("DOCKER_CONFIG", ".docker");
        let Some((path, text)) = read(directory.map(|path| path.join("config.json")))? else {
            return Ok(None);
        };
        docker::find(&path, &text, authority)
    }

    fn token_for(&self, url: &Url) -> Result<Option<Secret>, CredentialsError> {
        let tokens = self.variable(TOKENS).unwrap_or_default();
        for token in tokens.split([' ', ',', '\n']).filter(|t| !t.is_empty()) {
            let Some((place, token)) = token.split_once('=') else {
                return Err(malformed(
                    TOKENS,
                    "expected `HOST=TOKEN`, separated by spaces",
                ));
            };
            if is_place(place, url) {
                return Ok(Some(Secret(token.to_owned())));
            }
        }
        Ok(None)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The file that a variable names, or else one in the home directory.
    fn file(&self, variable: &str, in_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from);
        named.or_else(|| Some(self.home.as_ref()?.join(in_home)))
    }
}

impl Login {
    /// The value of `Authorization`.
    pub(super) fn header(&self) -> String {
        match self {
            Login::Bearer(token) => format!("Bearer {}", token.expose()),
            Login::Basic { user, password } => {
                let both = format!("{user}:{}", password.expose());
                format!("Basic {}", STANDARD.encode(both))
            }
        }
    }
}

impl Secret {
    /// Makes a text a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for where it is sent.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Credentials")
            .field("variables", &names)
            .field("home", &self.home)
            .finish()
    }
}

/// `user:password` of a URL.
fn login_of(url: &Url) -> Option<Login> {
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8_lossy().into_owned()
    };
    let password = url.password();
    (!url.username().is_empty() || password.is_some()).then(|| Login::Basic {
        user: decoded(url.username()),
        password: Secret(decoded(password.unwrap_or_default())),
    })
}

/// Whether `place` is where `url` leads: a host with a port, or one without
/// for the port that its scheme has anyway. Another port is another server.
fn is_place(place: &str, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default();
    (url.port().is_none() && place.eq_ignore_ascii_case(host))
        || port.is_some_and(|port| place.eq_ignore_ascii_case(&format!("{host}:{port}")))
}

/// A file's text; none if there is no such file.
fn read(path: Option<PathBuf>) -> Result<Option<(PathBuf, String)>, CredentialsError> {
    let Some(path) = path else { return Ok(None) };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(CredentialsError::Unreadable { path, source }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn malformed(place: impl fmt::Display, problem: impl Into<String>) -> CredentialsError {
    CredentialsError::Malformed {
        place: place.to_string(),
        problem: problem.into(),
    }
}

fn unsupported(path: &Path, what: impl Into<String>, instead: &str) -> CredentialsError {
    CredentialsError::Unsupported {
        place: path.display().to_string(),
        what: what.into(),
        instead: instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], home: Option<&Path>) -> Credentials {
        let variables = variables
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()));
        Credentials::of(variables, home.map(Path::to_owned))
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn basic(user: &str, password: &str) -> Option<Login> {
        let (user, password) = (user.to_owned(), Secret::new(password));
        Some(Login::Basic { user, password })
    }

    #[test]
    fn a_web_server_is_told_the_nearest_credentials() {
        let home = tempfile::tempdir().expect("a directory");
        let text = "machine a.example login me password p\nmachine b.example login b password q";
        fs::write(home.path().join(".netrc"), text).expect("it can be written");
        let some = of(
            &[(TOKENS, "a.example:444=t0k=,c.example=x")],
            Some(home.path()),
        );
        let check = |at: &str, expected: Option<Login>| {
            assert_eq!(some.for_url(&url(at)).expect("good"), expected, "{at}");
        };
        check("https://you:p%40ss@a.example/", basic("you", "p@ss"));
        let token = |text: &str| Some(Login::Bearer(Secret::new(text)));
        check("https://a.example:444/", token("t0k="));
        check("https://a.example/", basic("me", "p"));
        check("http://c.example/", token("x"));
        check("http://c.example:80/", token("x"));
        check("http://c.example:8080/", None);
        check("https://b.example/", basic("b", "q"));
        check("https://d.example/", None);
        assert_eq!(
            Credentials::none().for_url(&url("http://a")).expect("good"),
            None
        );
    }

    #[test]
    fn no_secret_is_printed() {
        let some = of(
            &[(TOKENS, "h1dden"), ("AWS_SECRET_ACCESS_KEY", "h1dden")],
            None,
        );
        let error = some.for_url(&url("http://a/")).expect_err("no `=`");
        let login = basic("me", "h1dden");
        let shown = format!("{some:?} {error} {error:?} {login:?}");
        assert!(!shown.contains("h1dden"), "{shown}");
    }
}
