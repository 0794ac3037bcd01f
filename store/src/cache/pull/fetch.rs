//! Fetches frames, on several threads, and hands on what is in them.

use std::io::{self, Read};

use super::assembly::Assemblies;
use super::plan::{Needed, Plan};
use crate::cache::backend::ByteRange;
use crate::cache::catalogue::Catalogue;
use crate::cache::error::{CacheError, Flaw};
use crate::cache::frame::Unpacker;
use crate::cache::id::pack_name;
use crate::cache::transfer::{CONNECTIONS, Reader, in_parallel_with};
use crate::store::Store;

/// How often a request is made again that broke off, if it went further.
const ATTEMPTS: u32 = 4;

/// Fetches all that is planned.
pub(super) fn fetch(
    reader: &Reader<'_>,
    store: &Store,
    catalogue: &Catalogue,
    plan: &Plan,
) -> Result<(), CacheError> {
    let bytes = plan
        .frames
        .iter()
        .map(|needed| u64::from(needed.frame.packed));
    reader.watch.expect(bytes.sum());
    let assemblies = Assemblies::new(reader, store, catalogue, plan);
    assemblies.put_empty()?;
    let start = || Worker {
        reader,
        assemblies: &assemblies,
        plan,
        buffers: Buffers::default(),
    };
    in_parallel_with(CONNECTIONS, &plan.requests, start, |worker, request| {
        worker.request(&plan.frames[request.clone()])
    })
    .map(drop)
}

/// One thread at work.
struct Worker<'a, 'b> {
    reader: &'a Reader<'a>,
    assemblies: &'a Assemblies<'b>,
    plan: &'a Plan,
    buffers: Buffers,
}

/// What a thread unpacks with.
#[derive(Default)]
struct Buffers {
    unpacker: Unpacker,
    packed: Vec<u8>,
    raw: Vec<u8>,
}

impl Worker<'_, '_> {
    /// Fetches neighbouring frames. If that breaks off, it goes on with the
    /// frame where it did.
    fn request(&mut self, frames: &[Needed]) -> Result<(), CacheError> {
        let mut rest = frames;
        let mut attempts = 0;
        while !rest.is_empty() {
            let (done, broken) = self.stream(rest)?;
            rest = &rest[done..];
            attempts = if done > 0 { 0 } else { attempts + 1 };
            match broken {
                Some(error) if attempts == ATTEMPTS => return Err(self.broken(&rest[0], error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Fetches frames until they end or the connection breaks; returns how many
    /// came, and why no more.
    fn stream(&mut self, frames: &[Needed]) -> Result<(usize, Option<io::Error>), CacheError> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Ok((0, None));
        };
        let name = pack_name(&first.pack);
        let mut at = first.frame.offset;
        let range = ByteRange {
            start: at,
            length: last.frame.end() - at,
        };
        let Some(body) = self.reader.backend.open(&name, Some(range))? else {
            return Err(self.missing(first));
        };
        let mut content = body.content;
        for (number, needed) in frames.iter().enumerate() {
            self.reader.check_cancelled()?;
            let gap = needed.frame.offset - at;
            let packed = &mut self.buffers.packed;
            packed.resize(needed.frame.packed as usize, 0);
            let skipped = io::copy(&mut (&mut content).take(gap), &mut io::sink());
            if let Err(error) = skipped.and_then(|_| content.read_exact(packed)) {
                return Ok((number, Some(error)));
            }
            at = needed.frame.end();
            self.reader.watch.moved(u64::from(needed.frame.packed));
            self.frame(needed)?;
        }
        Ok((frames.len(), None))
    }

    /// Unpacks a frame and hands on what is needed of it.
    fn frame(&mut self, needed: &Needed) -> Result<(), CacheError> {
        let Buffers {
            unpacker,
            packed,
            raw,
        } = &mut self.buffers;
        raw.resize(needed.frame.raw as usize, 0);
        if let Err(got) = unpacker.unpack(packed, raw) {
            let flaw = Flaw::Frame {
                offset: needed.frame.offset,
                expected: u64::from(needed.frame.raw),
                got,
            };
            return Err(self.reader.damaged(&pack_name(&needed.pack), flaw));
        }
        let segments = needed.segments_start as usize..needed.segments_end as usize;
        self.assemblies
            .take(needed, &self.plan.segments[segments], raw)
    }

    fn missing(&self, needed: &Needed) -> CacheError {
        let by = self.assemblies.index_name(needed.index);
        self.reader.missing(&pack_name(&needed.pack), &by)
    }

    /// What a body that ends too early comes to, after several attempts.
    fn broken(&self, needed: &Needed, error: io::Error) -> CacheError {
        let name = pack_name(&needed.pack);
        match (error.kind(), self.reader.backend.size(&name)) {
            (io::ErrorKind::UnexpectedEof, Ok(Some(got))) if got < needed.frame.end() => {
                let expected = needed.frame.end();
                self.reader.damaged(&name, Flaw::Length { expected, got })
            }
            _ => CacheError::Io {
                what: "reading from the cache",
                source: error,
            },
        }
    }
}
