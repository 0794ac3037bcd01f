//! Fetching: the only code of kiln that uses the network.
//!
//! 1. A [`Candidate`] says where bytes may be had: `debian:pool/…`, `https:`,
//!    `http:` or `file:`. [`place`] turns it into URLs in the order to try: the
//!    machine's own archives, the manifest's mirrors, the dated snapshots.
//! 2. One place is tried at a time. [`http`] appends to a `.part` file; what is
//!    temporary is retried with growing pauses, what is not is left for the
//!    next place. What went wrong is kept for the final [`FetchError`]. Whoever
//!    asks to stop need not wait for a server ([`arrival`]).
//! 3. A complete file is read again from the start and compared by size and
//!    hash ([`verify`]). Only then does it get its final name: its sha256.
//!
//! The hash decides and nothing else, so plain `http` is as good as `https`,
//! and a part that one mirror began another may finish.
//!
//! Files in [`FetchConfig::cache_dir`]:
//!
//! ```text
//! <sha256>         a verified file; whoever asked for it may remove it
//! <sha256>.part    its beginning; locked (flock) while somebody writes it
//! new-<id>.part    the same for a file whose hash is not known yet
//! ```
//!
//! Several processes may share the directory: whoever comes second waits for
//! the first and takes its file. A kill at any moment leaves at most parts,
//! which the next run continues.
//!
//! This module looks at no environment variable and no home directory, but for
//! [`FetchConfig::of_machine`]. It knows no manifest, and no store but to write
//! [`git`] trees into.

mod apt;
mod arrival;
mod candidate;
mod config;
mod error;
mod exchange;
mod fetcher;
pub mod git;
mod http;
mod many;
mod part;
mod place;
mod progress;
mod retry;
mod timestamp;
mod verify;

pub use apt::AptSettings;
pub use candidate::{BadCandidate, Candidate};
pub use config::{FetchConfig, Proxies, Retry, SNAPSHOT_ARCHIVE, Timeouts};
pub use error::{Attempt, FetchError, Problem};
pub use fetcher::Fetcher;
pub use progress::{Cancel, FetchProgress, Silent};
pub use timestamp::{BadTimestamp, Timestamp};

use std::path::PathBuf;

use kiln_store::hash::{ContentId, Digest};

/// A file that is wanted. Only `name` is free to choose; the rest is promised
/// by whoever pinned it.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// What people know it by, in messages.
    pub name: String,
    /// Where it may be had, best first.
    pub candidates: Vec<Candidate>,
    /// SHA-256 of the file. [`Digest`] serves for its form, 32 bytes; it is no
    /// BLAKE3.
    pub sha256: Digest,
    /// BLAKE3 of the file; checked if known.
    pub blake3: Option<ContentId>,
    /// Its length in bytes; checked before, while and after it is fetched.
    pub size: Option<u64>,
    /// When it was pinned: which dated snapshot of the archive has it. Without,
    /// the snapshots are not asked.
    pub first_seen: Option<Timestamp>,
}

/// A verified file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies. The caller may remove it.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// BLAKE3 of its bytes.
    pub blake3: ContentId,
    /// Its length in bytes.
    pub size: u64,
    /// The URL that it came from; none if it was there already.
    pub from: Option<String>,
}
