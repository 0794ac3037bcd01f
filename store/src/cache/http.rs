//! A cache on a web server: HTTP with ranges, and what WebDAV adds for writing.
//!
//! Reading needs GET and HEAD of static files. Writing needs PUT and, where
//! directories do not come by themselves, MKCOL; removing needs DELETE. It
//! cannot list. What a server must offer is in `docs/caches-servers.md`.

use std::sync::Arc;

use ureq::http::{Method, header};
use url::Url;

use super::access::Access;
use super::backend::{Body, ByteRange, Kind, Listed, Source};
use super::credentials::{CredentialsError, Login};
use super::files::Files;
use super::name::Name;
use super::web::answer::{Answer, drain, shown};
use super::web::{Client, Question, Signer, Site, Tries, Upload, Written};

const NO_DIRECTORY: &str = "the server says 409 Conflict: the directory is missing and cannot be made (nginx: dav_methods MKCOL, or create_full_put_path on)";

/// A cache on a web server.
pub struct Http {
    site: Site,
    /// Ends with a slash; without user and password.
    base: Url,
}

/// Sends the same login every time.
struct SameLogin(Option<Login>);

impl Signer for SameLogin {
    fn sign(&self, question: Question) -> Result<Question, Kind> {
        match &self.0 {
            Some(login) => Ok(question.with(header::AUTHORIZATION, &login.header())?),
            None => Ok(question),
        }
    }
}

impl Http {
    /// The cache at `url`, a directory on an `http:` or `https:` server.
    pub fn new(url: &Url, access: &Access) -> Result<Self, CredentialsError> {
        let login = access.credentials.for_url(url)?;
        let mut base = url.clone();
        // They fail for URLs without a host, which these have.
        let _ = (base.set_username(""), base.set_password(None));
        base.set_fragment(None);
        base.set_query(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            site: Site {
                client: Arc::new(Client::new(access)),
                signer: Arc::new(SameLogin(login)),
                place: shown(&base),
                refusal,
            },
            base,
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// Makes the directories that `name` is in, from the outermost on.
    fn make_directories(&self, name: &Name) -> Result<(), Kind> {
        let method = Method::from_bytes(b"MKCOL")
            .map_err(|_| Kind::Protocol("MKCOL is no method".to_owned()))?;
        for (end, _) in name.as_str().match_indices('/') {
            let url = self.url(&name.as_str()[..=end]);
            let question = Question::new(method.clone(), url);
            let client = &self.site.client;
            client.ask(&*self.site.signer, &question, None, |answer| {
                match answer.status().as_u16() {
                    // Made; there already; or to be judged by the write.
                    200..=299 | 301 | 405 | 409 => {
                        drain(answer);
                        Ok(())
                    }
                    _ => Err(refusal(answer)),
                }
            })?;
        }
        Ok(())
    }
}

impl Files for Http {
    fn place(&self) -> String {
        self.site.place.clone()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, Kind> {
        self.site
            .open(self.url(name.as_str()), name.as_str(), range)
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, Kind> {
        self.site.size(self.url(name.as_str()))
    }

    fn sends_parts(&self, name: &Name) -> Result<Option<bool>, Kind> {
        self.site.sends_parts(self.url(name.as_str()))
    }

    fn put(&self, name: &Name, content: &mut dyn Source, size_bytes: u64) -> Result<(), Kind> {
        let url = self.url(name.as_str());
        let mut upload = Upload::new(content, size_bytes)?;
        let mut has_directories = !name.as_str().contains('/');
        let client = &self.site.client;
        client.persist(&mut Tries::default(), || {
            let written = self.site.put(&url, &mut upload);
            let is_missing = match &written {
                Ok(Written::Done) => return Ok(()),
                Ok(Written::Conflict) => true,
                // What nginx says where the directory is missing.
                Err(problem) => problem.is_status(500),
            };
            if is_missing && !has_directories {
                self.make_directories(name)?;
                has_directories = true;
                if let Written::Done = self.site.put(&url, &mut upload)? {
                    return Ok(());
                }
            }
            written?;
            Err(Kind::Refused(NO_DIRECTORY.to_owned()).into())
        })
    }

    fn list(&self, _: &str) -> Result<Option<Vec<Listed>>, Kind> {
        Ok(None)
    }

    fn remove(&self, name: &Name) -> Result<(), Kind> {
        self.site.remove(self.url(name.as_str()))
    }
}

fn refusal(answer: Answer) -> Kind {
    match Site::by_status(answer) {
        Kind::Denied(why) => Kind::Denied(format!(
            "{why} (credentials come from the URL, KILN_CACHE_TOKENS or netrc)"
        )),
        kind => kind,
    }
}
