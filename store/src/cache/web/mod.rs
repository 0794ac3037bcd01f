//! HTTP as all caches on servers need it, above [`crate::web`].
//!
//! - `client`: asks again after passing problems, follows redirects, and lets
//!   no credentials follow to another origin.
//! - `answer`: what an answer means.
//! - `download`: a body that goes on where it was cut off.
//! - `upload`: a body that can be sent again.
//! - `site`: reading and writing a file at a URL.
//! - `retry`, `speed`: when to ask again; whether a body gets on.
//!
//! It knows nothing of caches' names. What is secret (logins, signed URLs) is
//! in no error.

pub(super) mod answer;
mod client;
mod download;
mod retry;
mod site;
mod speed;
mod upload;

pub(super) use client::{Client, Nobody, Problem, Signer};
pub(super) use retry::Tries;
pub(super) use site::{Site, Written};
pub(super) use upload::Upload;

pub(super) use crate::web::Question;
