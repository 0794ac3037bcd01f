//! Local sources: directories of the user's that are imported again and again.
//!
//! A cache beside the objects remembers which file had which content, by
//! device, inode, size, mtime and ctime, so that an unchanged file is not read
//! again. A file whose times lie within two seconds of the moment when it was
//! read is not remembered: it could change once more without its times
//! showing it.
//!
//! ```text
//! sources/HEX = "kiln sources 1\n" record* digest[32]
//! record      = dev ino size mtime_ns ctime_ns (8 bytes each, LE) content[32]
//! ```
//!
//! HEX is the digest of the directory's path; the digest at the end is over
//! all before it. A file that is not whole is as good as none.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use rustix::fs::{self, Stat};

use crate::error::{During, StoreError};
use crate::hash::{ContentId, Digest};
use crate::import::{ImportError, Imported, Rules, open_source};
use crate::layout::SOURCES;
use crate::session::Temporary;
use crate::store::Store;
use std::os::fd::AsFd;

const MAGIC: &[u8] = b"kiln sources 1\n";
const NUMBERS: usize = 5;
const RECORD_BYTES: usize = NUMBERS * 8 + 32;
const DIGEST_BYTES: usize = 32;
/// Younger files than this are not remembered.
const SETTLED_NS: i64 = 2_000_000_000;

impl Store {
    /// Captures a directory of the user's, reading only what changed since it
    /// was captured last.
    pub fn import_path(&self, path: &Path, rules: &Rules<'_>) -> Result<Imported, ImportError> {
        let directory = open_source(path)?;
        let absolute = std::fs::canonicalize(path).during("resolve", path)?;
        let name = Digest::of(absolute.as_os_str().as_bytes());
        let cache_path = format!("{SOURCES}/{name}");
        let cache = SourceCache::decode(&self.read_cache(&cache_path)?);
        let imported = self.import_with(directory.as_fd(), rules, Some(&cache))?;
        if let Some(encoded) = cache.into_changed() {
            self.write_cache(&cache_path, &encoded)?;
        }
        Ok(imported)
    }

    fn read_cache(&self, path: &str) -> Result<Vec<u8>, StoreError> {
        match std::fs::read(self.layout.path().join(path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.during("read", path),
        }
    }

    fn write_cache(&self, path: &str, encoded: &[u8]) -> Result<(), StoreError> {
        let mut temporary = Temporary::create(self.session()?)?;
        temporary.write(encoded)?;
        temporary.replace(path)
    }
}

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fingerprint {
    dev: u64,
    ino: u64,
    size: u64,
    mtime_ns: i64,
    ctime_ns: i64,
}

/// What is known of a source's files.
#[derive(Debug, Default)]
pub(crate) struct SourceCache {
    known: HashMap<Fingerprint, ContentId>,
    /// What the next import may rely on.
    next: Mutex<Vec<(Fingerprint, ContentId)>>,
    changed: AtomicBool,
}

impl SourceCache {
    /// The content of a file, if it is as it was.
    pub(crate) fn get(&self, stat: &Stat) -> Option<ContentId> {
        self.known.get(&Fingerprint::of(stat)).copied()
    }

    /// Keeps what is known of a file that has not changed.
    pub(crate) fn confirm(&self, stat: &Stat, content: ContentId) {
        self.push(Fingerprint::of(stat), content);
    }

    /// Remembers the content of a file that was just read, if it cannot have
    /// changed meanwhile.
    pub(crate) fn note(&self, file: &File, before: &Stat, content: ContentId) {
        let fingerprint = Fingerprint::of(before);
        let unchanged = fs::fstat(file).is_ok_and(|after| Fingerprint::of(&after) == fingerprint);
        if unchanged && fingerprint.is_settled(now_ns()) {
            self.changed.store(true, Ordering::Relaxed);
            self.push(fingerprint, content);
        }
    }

    fn push(&self, fingerprint: Fingerprint, content: ContentId) {
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        next.push((fingerprint, content));
    }

    /// The bytes to keep, if they differ from those that were read.
    fn into_changed(self) -> Option<Vec<u8>> {
        let next = self.next.into_inner().unwrap_or_else(|e| e.into_inner());
        let same = !self.changed.into_inner() && next.len() == self.known.len();
        (!same).then(|| encode(&next))
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            known: decode(bytes).unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl Fingerprint {
    fn of(stat: &Stat) -> Self {
        // The types of these fields differ between architectures.
        #[allow(clippy::unnecessary_cast)]
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        #[allow(clippy::unnecessary_cast)]
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    fn is_settled(&self, now_ns: i64) -> bool {
        let youngest_ns = self.mtime_ns.max(self.ctime_ns);
        now_ns.saturating_sub(youngest_ns) > SETTLED_NS
    }

    fn numbers(&self) -> [u64; NUMBERS] {
        let (mtime, ctime) = (self.mtime_ns as u64, self.ctime_ns as u64);
        [self.dev, self.ino, self.size, mtime, ctime]
    }

    fn from_numbers([dev, ino, size, mtime, ctime]: [u64; NUMBERS]) -> Self {
        Self {
            dev,
            ino,
            size,
            mtime_ns: mtime as i64,
            ctime_ns: ctime as i64,
        }
    }
}

fn encode(records: &[(Fingerprint, ContentId)]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.reserve(records.len() * RECORD_BYTES + DIGEST_BYTES);
    for (fingerprint, content) in records {
        let numbers = fingerprint.numbers().map(u64::to_le_bytes);
        bytes.extend_from_slice(numbers.as_flattened());
        bytes.extend_from_slice(content.digest().as_bytes());
    }
    let digest = Digest::of(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Fingerprint, ContentId>> {
    let (content, digest) = bytes.split_last_chunk::<DIGEST_BYTES>()?;
    if Digest::of(content).as_bytes() != digest {
        return None;
    }
    let (records, rest) = content.strip_prefix(MAGIC)?.as_chunks::<RECORD_BYTES>();
    rest.is_empty()
        .then(|| records.iter().map(decode_record).collect())?
}

fn decode_record(record: &[u8; RECORD_BYTES]) -> Option<(Fingerprint, ContentId)> {
    let (numbers, content) = record.split_last_chunk::<32>()?;
    let numbers: [[u8; 8]; NUMBERS] = numbers.as_chunks::<8>().0.try_into().ok()?;
    let fingerprint = Fingerprint::from_numbers(numbers.map(u64::from_le_bytes));
    Some((fingerprint, ContentId(Digest::from_bytes(*content))))
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(mtime_ns: i64, ctime_ns: i64) -> Fingerprint {
        Fingerprint {
            dev: 1,
            ino: u64::MAX,
            size: 3,
            mtime_ns,
            ctime_ns,
        }
    }

    #[test]
    fn a_cache_reads_what_it_wrote_and_nothing_torn() {
        let record = (fingerprint(-5, 7), ContentId(Digest::of(b"x")));
        let bytes = encode(&[record]);
        assert_eq!(decode(&bytes), Some(HashMap::from([record])));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn young_files_are_not_remembered() {
        let check = |mtime_s: i64, ctime_s: i64, now_s: i64, expected| {
            let fingerprint = fingerprint(mtime_s * 1_000_000_000, ctime_s * 1_000_000_000);
            assert_eq!(fingerprint.is_settled(now_s * 1_000_000_000), expected);
        };
        check(10, 10, 13, true);
        check(10, 10, 12, false);
        check(10, 12, 13, false);
        check(99, 10, 13, false);
    }
}
