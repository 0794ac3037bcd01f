//! Content on its way into the store: put there when all of it is right.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use super::plan::{Needed, Plan, Segment, Wanted};
use crate::blobs::Published;
use crate::cache::catalogue::{Catalogue, Number};
use crate::cache::error::{CacheError, Flaw};
use crate::cache::id::{ChunkId, index_name, pack_name, tree_name};
use crate::cache::name::Name;
use crate::cache::transfer::Reader;
use crate::error::During;
use crate::hash::Digest;
use crate::session::{Aside, Temporary};
use crate::store::Store;

/// All content that is wanted.
pub(super) struct Assemblies<'a> {
    reader: &'a Reader<'a>,
    store: &'a Store,
    catalogue: &'a Catalogue,
    plan: &'a Plan,
    /// For each file, what has come of it.
    parts: Vec<Mutex<Part<'a>>>,
}

/// A file of which something has come.
#[derive(Default)]
struct Part<'a> {
    segments: u32,
    /// It has no descriptor meanwhile: there may be thousands.
    file: Option<Aside<'a>>,
}

impl<'a> Assemblies<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        store: &'a Store,
        catalogue: &'a Catalogue,
        plan: &'a Plan,
    ) -> Self {
        Self {
            reader,
            store,
            catalogue,
            plan,
            parts: plan.files.iter().map(|_| Mutex::default()).collect(),
        }
    }

    /// Files without content need nothing to be fetched.
    pub(super) fn put_empty(&self) -> Result<(), CacheError> {
        let mut files = self.plan.files.iter();
        match files.find(|file| file.size_bytes == 0) {
            Some(file) => self.put(file, &[], None),
            None => Ok(()),
        }
    }

    /// Takes what is needed of an unpacked frame.
    pub(super) fn take(
        &self,
        needed: &Needed,
        segments: &[Segment],
        raw: &[u8],
    ) -> Result<(), CacheError> {
        let _in_use = self.store.share()?;
        let entry = self.catalogue.entry(needed.index);
        let start = entry.offset(needed.first_chunk);
        for segment in segments {
            let from = (entry.offset(segment.first) - start) as usize;
            let to = (entry.offset(segment.first + segment.count) - start) as usize;
            let file = &self.plan.files[segment.file as usize];
            match self.plan.segments_of[segment.file as usize] {
                1 => self.put(file, &raw[from..to], Some(segment))?,
                count => self.add(file, segment, &raw[from..to], count)?,
            }
        }
        Ok(())
    }

    /// Stores content that is here as a whole, if it is right.
    fn put(
        &self,
        file: &Wanted,
        bytes: &[u8],
        segment: Option<&Segment>,
    ) -> Result<(), CacheError> {
        if self
            .store
            .put_known(&file.content, bytes, file.executable)?
        {
            return Ok(());
        }
        let wrong = segment.and_then(|segment| self.wrong_chunk(segment, bytes));
        Err(wrong.unwrap_or_else(|| self.wrong_recipe(file, Digest::of(bytes))))
    }

    /// Adds to content that comes in several segments.
    fn add(
        &self,
        file: &Wanted,
        segment: &Segment,
        bytes: &[u8],
        count: u32,
    ) -> Result<(), CacheError> {
        let part = &self.parts[segment.file as usize];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let mut temporary = match part.file.take() {
            Some(aside) => aside.resume()?,
            None => self.store.temporary()?,
        };
        let path = temporary.path().to_owned();
        let handle = temporary.file();
        let sought = handle.seek(SeekFrom::Start(segment.at));
        let written = sought.and_then(|_| handle.write_all(bytes));
        written.during("write", &path)?;
        part.segments += 1;
        if part.segments < count {
            part.file = Some(temporary.set_aside());
            return Ok(());
        }
        drop(part);
        // All of it is there: what counts is what the file really holds.
        let content = &file.content;
        match self
            .store
            .publish_known(temporary, content, file.executable)?
        {
            Published::Yes => Ok(()),
            Published::No { got, temporary } => {
                let wrong = self.wrong_segment(segment.file, temporary)?;
                Err(wrong.unwrap_or_else(|| self.wrong_recipe(file, got)))
            }
        }
    }

    /// Which chunk of a file that was put together is wrong, if one is.
    fn wrong_segment(
        &self,
        number: u32,
        mut temporary: Temporary<'_>,
    ) -> Result<Option<CacheError>, CacheError> {
        let path = temporary.path().to_owned();
        let handle = temporary.file();
        let segments = self.plan.segments.iter();
        for segment in segments.filter(|segment| segment.file == number) {
            let entry = self.catalogue.entry(segment.index);
            let end = entry.offset(segment.first + segment.count);
            let mut bytes = vec![0; (end - entry.offset(segment.first)) as usize];
            let sought = handle.seek(SeekFrom::Start(segment.at));
            let read = sought.and_then(|_| handle.read_exact(&mut bytes));
            read.during("read", &path)?;
            let wrong = self.wrong_chunk(segment, &bytes);
            if wrong.is_some() {
                return Ok(wrong);
            }
        }
        Ok(None)
    }

    /// Which chunk of a segment is not what the index says, if one is.
    fn wrong_chunk(&self, segment: &Segment, bytes: &[u8]) -> Option<CacheError> {
        let index = &self.catalogue.entry(segment.index).index;
        let chunks = &index.chunks[segment.first as usize..][..segment.count as usize];
        let mut rest = bytes;
        for chunk in chunks {
            let (first, more) = rest.split_at(chunk.length as usize);
            let (expected, got) = (chunk.id, ChunkId(Digest::of(first)));
            if got != expected {
                let name = pack_name(&index.pack_of(segment.frame));
                let offset = index.frames[segment.frame as usize].offset;
                let flaw = Flaw::Chunk {
                    offset,
                    expected,
                    got,
                };
                return Some(self.reader.damaged(&name, flaw));
            }
            rest = more;
        }
        None
    }

    /// The chunks are right, and so what says that they are the file is wrong.
    fn wrong_recipe(&self, file: &Wanted, got: Digest) -> CacheError {
        let content = file.content;
        let flaw = Flaw::Recipe { content, got };
        self.reader.damaged(&tree_name(&file.root), flaw)
    }

    /// What the index is called that names a frame.
    pub(super) fn index_name(&self, number: Number) -> Name {
        match self.catalogue.entry(number).id {
            Some(id) => index_name(&id),
            None => unreachable!("what is pulled from was read from the cache"),
        }
    }
}
