//! The members of a tar, one after the other, into a draft of the tree.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ::tar::{Archive, Entry, EntryType};
use kiln_store::objects::Objects;
use kiln_store::tree::{MAX_TARGET_BYTES, Name};

use super::compression::Compression;
use super::draft::{Draft, Folder};
use super::intake::{Intake, with_intake};
use super::limits::{Gauge, Limits};
use super::source::Selection;
use super::{ArchiveError, Metadata, Refusal, Unpacked, member};

const BLOCK_BYTES: u64 = 512;
const PAX_XATTR: &[u8] = b"SCHILY.xattr.";
const PAX_SPARSE: &[u8] = b"GNU.sparse.";

/// Whether owners and modes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owners {
    Record,
    Ignore,
}

/// Decompresses and decodes a tar.
pub(super) fn unpack(
    stream: impl Read,
    selection: &Selection,
    owners: Owners,
    limits: &Limits,
    objects: &dyn Objects,
) -> Result<Unpacked, ArchiveError> {
    let gauge = Gauge::new(limits);
    let (compression, plain) = Compression::open(gauge.packed(stream))
        .map_err(|source| stream_error(Compression::None, source))?;
    let reader = gauge.unpacked(plain);
    let (walk, contents) = with_intake(objects, |intake| {
        let mut walk = Walk {
            root: Folder::default(),
            metadata: BTreeMap::new(),
            entries: 0,
            content_bytes: 0,
            selection: selection.begin(),
            owners,
            limits,
            compression,
            gauge,
        };
        walk.archive(reader, intake)?;
        Ok::<_, ArchiveError>(walk)
    })?;
    walk.selection.finish()?;
    Ok(Unpacked {
        tree: walk.root.finish(&contents).freeze(objects)?,
        metadata: walk.metadata.into_values().collect(),
        entries: walk.entries,
        content_bytes: walk.content_bytes,
    })
}

fn stream_error(compression: Compression, source: io::Error) -> ArchiveError {
    ArchiveError::Stream {
        compression,
        source,
    }
}

struct Walk<'a> {
    root: Folder,
    metadata: BTreeMap<Vec<u8>, Metadata>,
    entries: u64,
    content_bytes: u64,
    selection: super::source::Selecting<'a>,
    owners: Owners,
    limits: &'a Limits,
    compression: Compression,
    gauge: Gauge,
}

impl Walk<'_> {
    fn archive(&mut self, reader: impl Read, intake: &mut Intake<'_>) -> Result<(), ArchiveError> {
        let mut archive = Archive::new(reader);
        let mut members = archive.entries().map_err(|e| self.broken(e))?;
        let mut seen = 0;
        loop {
            self.gauge.headers_begin();
            let Some(next) = members.next() else { break };
            self.gauge.content_begins();
            let mut entry = next.map_err(|e| self.broken(e))?;
            seen += 1;
            if seen > self.limits.max_entries {
                return Err(too_large(self.limits.max_entries, "members"));
            }
            self.member(&mut entry, intake)?;
            // What is left would otherwise count as headers of the next one.
            io::copy(&mut entry, &mut io::sink()).map_err(|e| self.broken(e))?;
        }
        self.end(archive.into_inner())
    }

    /// After the last member: a block of zeros, then nothing but zeros.
    fn end(&self, mut rest: impl Read) -> Result<(), ArchiveError> {
        if self.gauge.trailing_zeros() < BLOCK_BYTES {
            return Err(ArchiveError::NoEnd);
        }
        self.gauge.content_begins();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = rest.read(&mut buffer).map_err(|e| self.broken(e))?;
            if length == 0 {
                return Ok(());
            }
            if buffer[..length].iter().any(|&b| b != 0) {
                return Err(ArchiveError::TrailingGarbage);
            }
        }
    }

    fn member(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        intake: &mut Intake<'_>,
    ) -> Result<(), ArchiveError> {
        let name = entry.path_bytes().into_owned();
        let kind = match Kind::of(entry, &name) {
            Ok(Some(kind)) => kind,
            Ok(None) => return Ok(()),
            Err(refusal) => return Err(refusal.of(&name)),
        };
        let path = member::components(&name).map_err(|refusal| refusal.of(&name))?;
        let Some(path) = self.selection.select(&path, kind == Kind::Directory)? else {
            return Ok(());
        };
        let extended = Extended::read(entry).map_err(|refusal| refusal.of(&name))?;
        let draft = match kind {
            Kind::Directory => Ok(Draft::Directory(Folder::default())),
            Kind::Symlink => symlink(entry),
            Kind::Link => self.link(entry),
            Kind::File => Ok(self.file(entry, &name, intake)?),
        };
        let draft = draft.map_err(|refusal| refusal.of(&name))?;
        if self.owners == Owners::Record && kind != Kind::Link {
            let record = describe(entry, &path, &draft, extended);
            self.record(member::join(&path), record.map_err(|r| r.of(&name))?);
        }
        self.entries += 1;
        self.root
            .insert(&path, draft)
            .map_err(|refusal| refusal.of(&name))
    }

    fn file(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        name: &[u8],
        intake: &mut Intake<'_>,
    ) -> Result<Draft, ArchiveError> {
        let size = entry.size();
        // A sparse file can be larger than the stream it comes from.
        self.content_bytes = self.content_bytes.saturating_add(size);
        if self.content_bytes > self.limits.max_unpacked_bytes {
            return Err(too_large(self.limits.max_unpacked_bytes, "bytes"));
        }
        let mode = entry.header().mode();
        let mode = mode.map_err(|_| Refusal::BadHeader.of(name))?;
        let executable = mode & 0o100 != 0;
        let mut content = Content {
            inner: entry,
            left: size,
            failed: None,
        };
        let taken = intake.file(&mut content, size, executable);
        match (taken, content.failed) {
            (_, Some(source)) => Err(self.broken(source)),
            (Err(error), None) => Err(error.into()),
            (Ok(slot), None) => Ok(Draft::File { slot, executable }),
        }
    }

    /// A hard link is one more name for content that came before. What the
    /// metadata says of the first name it says of this one.
    fn link(&mut self, entry: &Entry<'_, impl Read>) -> Result<Draft, Refusal> {
        let target = entry.link_name_bytes().ok_or(Refusal::NoTarget)?;
        let target = member::components(&target)?;
        let target = self.selection.strip(&target).ok_or(Refusal::DanglingLink)?;
        let draft = self.root.linked(target)?;
        if self.owners == Owners::Record {
            let own = member::components(&entry.path_bytes())?;
            let own = self.selection.strip(&own).ok_or(Refusal::Root)?;
            let record = self.metadata.get(&member::join(target)).cloned();
            self.record(member::join(own), record);
        }
        Ok(draft)
    }

    fn record(&mut self, path: Vec<u8>, record: Option<Metadata>) {
        match record {
            Some(record) => {
                let record = Metadata {
                    path: path.clone(),
                    ..record
                };
                self.metadata.insert(path, record);
            }
            // A later member replaces an earlier one, and what was said of it.
            None => {
                self.metadata.remove(&path);
            }
        }
    }

    /// An error of the stream; if one of our own limits caused it, that.
    fn broken(&self, source: io::Error) -> ArchiveError {
        self.gauge
            .exceeded()
            .unwrap_or_else(|| stream_error(self.compression, source))
    }
}

fn too_large(limit: u64, unit: &'static str) -> ArchiveError {
    ArchiveError::TooLarge { limit, unit }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Symlink,
    Link,
}

impl Kind {
    /// `None` for what describes the archive and is no member.
    fn of(entry: &Entry<'_, impl Read>, name: &[u8]) -> Result<Option<Self>, Refusal> {
        Ok(Some(match entry.header().entry_type() {
            // Before there was a type for them, directories ended in `/`.
            EntryType::Regular if name.ends_with(b"/") => Self::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Self::File,
            EntryType::Directory => Self::Directory,
            EntryType::Symlink => Self::Symlink,
            EntryType::Link => Self::Link,
            EntryType::XGlobalHeader => return Ok(None),
            EntryType::Char | EntryType::Block | EntryType::Fifo => return Err(Refusal::Device),
            _ => return Err(Refusal::UnknownType),
        }))
    }
}

fn symlink(entry: &Entry<'_, impl Read>) -> Result<Draft, Refusal> {
    let target = entry.link_name_bytes().ok_or(Refusal::NoTarget)?;
    if target.is_empty() || target.len() > MAX_TARGET_BYTES || target.contains(&0) {
        return Err(Refusal::BadTarget);
    }
    Ok(Draft::Symlink {
        target: target.into_owned(),
    })
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What is read of a member's PAX header beyond what the decoder applies.
struct Extended {
    xattrs: Xattrs,
}

impl Extended {
    fn read(entry: &mut Entry<'_, impl Read>) -> Result<Self, Refusal> {
        let mut xattrs = Vec::new();
        let records = entry.pax_extensions().map_err(|_| Refusal::BadPax)?;
        for record in records.into_iter().flatten() {
            let record = record.map_err(|_| Refusal::BadPax)?;
            let key = record.key_bytes();
            if key.starts_with(PAX_SPARSE) {
                return Err(Refusal::PaxSparse);
            }
            if let Some(name) = key.strip_prefix(PAX_XATTR) {
                xattrs.push((name.to_vec(), record.value_bytes().to_vec()));
            }
        }
        xattrs.sort();
        Ok(Self { xattrs })
    }
}

/// What the tree cannot say of this member, if there is anything.
fn describe(
    entry: &Entry<'_, impl Read>,
    path: &[Name],
    draft: &Draft,
    extended: Extended,
) -> Result<Option<Metadata>, Refusal> {
    let header = entry.header();
    let usual = match draft {
        Draft::Directory(_)
        | Draft::File {
            executable: true, ..
        } => Some(0o755),
        Draft::File {
            executable: false, ..
        } => Some(0o644),
        Draft::Symlink { .. } => None,
    };
    let bad = |_| Refusal::BadHeader;
    let record = Metadata {
        path: member::join(path),
        uid: header.uid().map_err(bad)?,
        gid: header.gid().map_err(bad)?,
        // A symlink has no mode of its own.
        mode: usual.map_or(Ok(0o777), |_| header.mode().map_err(bad))? & 0o7777,
        xattrs: extended.xattrs,
    };
    let unusual = record.uid != 0
        || record.gid != 0
        || usual.is_some_and(|usual| usual != record.mode)
        || !record.xattrs.is_empty();
    Ok((unusual && !path.is_empty()).then_some(record))
}

/// A member's content: exactly as long as its header says, or an error. The
/// error is kept, because a store would report it as its own.
struct Content<R> {
    inner: R,
    left: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Content<R> {
    fn fail(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.failed = Some(error);
        kind.into()
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(into) {
            Ok(0) if self.left > 0 && !into.is_empty() => {
                Err(self.fail(io::ErrorKind::UnexpectedEof.into()))
            }
            Ok(length) => {
                self.left = self.left.saturating_sub(length as u64);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.fail(error)),
        }
    }
}
