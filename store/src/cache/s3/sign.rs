//! Signs requests with the keys of an account.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusty_s3::Method;
use ureq::http;

use crate::cache::backend::Kind;
use crate::cache::credentials::AwsKeys;
use crate::cache::web::{Question, Signer};

/// How long a signed URL holds. Only a request's beginning has to be within.
const HOLDS_S: u64 = 900;

/// Who asks: without keys, anybody.
pub(super) struct Keys {
    keys: Option<AwsKeys>,
    region: String,
}

impl Keys {
    pub(super) fn new(keys: Option<AwsKeys>, region: &str) -> Self {
        Self {
            keys,
            region: region.to_owned(),
        }
    }
}

impl Signer for Keys {
    fn sign(&self, mut question: Question) -> Result<Question, Kind> {
        let Some(keys) = &self.keys else {
            return Ok(question);
        };
        let method = match question.method {
            http::Method::GET => Method::Get,
            http::Method::HEAD => Method::Head,
            http::Method::PUT => Method::Put,
            http::Method::DELETE => Method::Delete,
            ref other => return Err(Kind::Protocol(format!("S3 knows no {other}"))),
        };
        // The signature is over the sorted query.
        let query: BTreeSet<(String, String)> = question.url.query_pairs().into_owned().collect();
        question.url = rusty_s3::signing::sign(
            &Timestamp::now(),
            method,
            question.url,
            &keys.id,
            keys.secret.expose(),
            keys.token.as_ref().map(|token| token.expose()),
            &self.region,
            HOLDS_S,
            query
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
            std::iter::empty(),
        );
        Ok(question)
    }

    /// A signature is for one host. A public bucket may send anywhere.
    fn may_be_redirected(&self) -> bool {
        self.keys.is_none()
    }
}
