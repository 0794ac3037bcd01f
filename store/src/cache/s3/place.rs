//! Where a bucket is: `s3://BUCKET/PREFIX?endpoint=URL&region=NAME&style=path|host`.

use rusty_s3::UrlStyle;
use url::Url;

use super::listing::File;
use super::shown_host;
use crate::cache::backend::Listed;
use crate::cache::credentials::Aws;
use crate::cache::name::Name;
use crate::cache::open::OpenError;

/// The region of a server that has none.
const DEFAULT_REGION: &str = "us-east-1";

/// A bucket, and where in it the cache is.
pub(super) struct Bucket {
    bucket: rusty_s3::Bucket,
    endpoint: Url,
    /// Empty, or ends with a slash.
    prefix: String,
}

impl Bucket {
    /// Reads the URL; what it does not say, `aws` may.
    pub(super) fn of_url(url: &Url, aws: &Aws) -> Result<Self, OpenError> {
        let bad = |problem: &str| OpenError::of_url(url, problem);
        let name = url.host_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| bad("expected `s3://BUCKET/PREFIX`"))?;
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return Err(bad(
                "after `s3://` comes a bucket; a server goes into `endpoint=`, keys into the environment or AWS's files",
            ));
        }
        let (mut endpoint, mut region, mut style) =
            (aws.endpoint.clone(), aws.region.clone(), None);
        for (key, value) in url.query_pairs() {
            match (&*key, &*value) {
                ("endpoint", value) => endpoint = Some(value.to_owned()),
                ("region", value) => region = Some(value.to_owned()),
                ("style", "path") => style = Some(UrlStyle::Path),
                ("style", "host") => style = Some(UrlStyle::VirtualHost),
                _ => {
                    return Err(bad(
                        "expected `endpoint=URL`, `region=NAME`, `style=path` or `style=host`",
                    ));
                }
            }
        }
        let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
        // A certificate for one name below the region's has no room for dots.
        let style = style.unwrap_or(match endpoint.is_some() || name.contains('.') {
            true => UrlStyle::Path,
            false => UrlStyle::VirtualHost,
        });
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = Url::parse(&endpoint).map_err(|_| bad("the endpoint is no URL"))?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(bad(
                "the endpoint has a user or a password, which S3 has not",
            ));
        }
        let bucket = rusty_s3::Bucket::new(endpoint.clone(), style, name.to_owned(), region);
        let bucket = bucket.map_err(|error| bad(&format!("the endpoint will not do: {error}")))?;
        let prefix = url.path().trim_matches('/');
        if prefix.split('/').any(|part| part == ".") {
            return Err(bad("the prefix has a `.`"));
        }
        let prefix = percent_encoding::percent_decode_str(prefix);
        let prefix = prefix
            .decode_utf8()
            .map_err(|_| bad("the prefix is no text"))?;
        Ok(Self {
            bucket,
            endpoint,
            prefix: match prefix.is_empty() {
                true => String::new(),
                false => format!("{prefix}/"),
            },
        })
    }

    pub(super) fn region(&self) -> &str {
        self.bucket.region()
    }

    /// For messages.
    pub(super) fn place(&self) -> String {
        let (bucket, prefix) = (self.bucket.name(), self.prefix.trim_end_matches('/'));
        format!("s3://{bucket}/{prefix} at {}", shown_host(&self.endpoint))
    }

    /// Where a file is, unsigned.
    pub(super) fn url_of(&self, name: &Name) -> Url {
        self.bucket.object_url(&format!("{}{name}", self.prefix))
    }

    /// Where a page of a listing is, unsigned.
    pub(super) fn url_of_listing(&self, prefix: &str, token: Option<&str>) -> Url {
        let mut url = self.bucket.base_url().clone();
        let mut query = url.query_pairs_mut();
        if let Some(token) = token {
            query.append_pair("continuation-token", token);
        }
        query.append_pair("list-type", "2");
        query.append_pair("prefix", &format!("{}{prefix}", self.prefix));
        drop(query);
        url
    }

    /// What a listed file is to the cache; none if it is not of it.
    pub(super) fn listed(&self, file: File) -> Option<Listed> {
        let name = file.key.strip_prefix(&self.prefix)?;
        Some(Listed {
            name: Name::new(name).ok()?,
            size_bytes: file.size_bytes,
            modified: file.modified,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(url: &str) -> Result<Bucket, OpenError> {
        Bucket::of_url(&Url::parse(url).expect("a URL"), &Aws::default())
    }

    #[test]
    fn urls_lead_to_files() {
        let check = |url: &str, file: &str, place: &str| {
            let bucket = bucket(url).expect("it is one");
            let name = Name::new("p/x.pack").expect("a name");
            assert_eq!(bucket.url_of(&name).as_str(), file);
            assert_eq!(bucket.place(), place);
        };
        check(
            "s3://b",
            "https://b.s3.us-east-1.amazonaws.com/p/x.pack",
            "s3://b/ at https://s3.us-east-1.amazonaws.com",
        );
        check(
            "s3://b.c/team/kiln/?region=eu-west-1",
            "https://s3.eu-west-1.amazonaws.com/b.c/team/kiln/p/x.pack",
            "s3://b.c/team/kiln at https://s3.eu-west-1.amazonaws.com",
        );
        check(
            "s3://b/T%20m?endpoint=http://localhost:9000",
            "http://localhost:9000/b/T%20m/p/x.pack",
            "s3://b/T m at http://localhost:9000",
        );
        check(
            "s3://b?endpoint=http://s3.example&style=host",
            "http://b.s3.example/p/x.pack",
            "s3://b/ at http://s3.example",
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_without_showing_it() {
        for url in [
            "s3:///prefix",
            "s3://key:h1dden@b/",
            "s3://b?endpoint=http://k:h1dden@localhost",
            "s3://b?endpoint=ftp://localhost",
            "s3://b?secret=h1dden",
        ] {
            let error = bucket(url).err().expect("it is none").to_string();
            assert!(!error.contains("h1dden"), "{error}");
        }
    }
}
