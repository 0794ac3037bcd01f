//! The digests of a whole file, and whether they are the pinned ones.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kiln_store::hash::{ContentId, Digest};
use sha2::{Digest as _, Sha256};

use super::FetchRequest;
use super::error::{FetchError, Problem};
use super::part::disk;

const BUFFER_BYTES: usize = 256 << 10;

/// What was found in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) sha256: Digest,
    pub(super) blake3: ContentId,
    pub(super) size: u64,
}

/// Reads the file at `path` from start to end.
pub(super) fn read(path: &Path) -> Result<Found, FetchError> {
    let mut file = File::open(path).map_err(|e| disk("open", path, e))?;
    let mut sha256 = Sha256::new();
    let mut blake3 = blake3::Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = file.read(&mut buffer).map_err(|e| disk("read", path, e))?;
        if length == 0 {
            break;
        }
        let bytes = &buffer[..length];
        sha256.update(bytes);
        blake3.update(bytes);
        size += length as u64;
    }
    Ok(Found {
        sha256: Digest::from_bytes(sha256.finalize().into()),
        blake3: ContentId(Digest::from_bytes(*blake3.finalize().as_bytes())),
        size,
    })
}

/// Compares with what was promised.
pub(super) fn check(found: &Found, request: &FetchRequest) -> Result<(), Problem> {
    if let Some(expected_bytes) = request.size.filter(|size| *size != found.size) {
        return Err(Problem::WrongSize {
            expected_bytes,
            got_bytes: found.size,
        });
    }
    if found.sha256 != request.sha256 {
        return Err(wrong("sha256", &request.sha256, &found.sha256));
    }
    match request.blake3 {
        Some(expected) if expected != found.blake3 => {
            Err(wrong("blake3", &expected.0, &found.blake3.0))
        }
        _ => Ok(()),
    }
}

fn wrong(algorithm: &'static str, expected: &Digest, got: &Digest) -> Problem {
    Problem::WrongHash {
        algorithm,
        expected: expected.to_string(),
        got: got.to_string(),
    }
}
