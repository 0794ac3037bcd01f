//! The last step of a push: writes to the cache, in an order in which whatever
//! is named is there.

use std::io::Cursor;
use std::sync::mpsc::Receiver;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Pushed;
use super::watched::Watched;
use crate::cache::backend::{Backend, Source};
use crate::cache::description::Description;
use crate::cache::error::CacheError;
use crate::cache::id::{IndexId, PackId, index_name, pack_name, tree_name};
use crate::cache::name::Name;
use crate::cache::remembered::Remembered;
use crate::cache::transfer::{CONNECTIONS, in_parallel};
use crate::cache::watch::Watch;

/// Packs that are uploaded at one time.
pub(super) const THREADS: usize = 3;

/// A pack, and all that is complete with it.
#[derive(Default)]
pub(super) struct Batch {
    /// Its place among all batches, from zero.
    pub(super) number: u64,
    pub(super) pack: Option<(PackId, Vec<u8>)>,
    /// Bytes of content in the pack, unpacked.
    pub(super) raw_bytes: u64,
    pub(super) indexes: Vec<(IndexId, Vec<u8>)>,
    pub(super) trees: Vec<Description>,
}

/// Uploads under way.
pub(super) struct Uploads<'a> {
    backend: &'a dyn Backend,
    remembered: &'a Remembered,
    watch: &'a dyn Watch,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Batches that are written as a whole, as are all before them.
    done: u64,
    pushed: Pushed,
    failed: Option<CacheError>,
}

impl<'a> Uploads<'a> {
    pub(super) fn new(
        backend: &'a dyn Backend,
        remembered: &'a Remembered,
        watch: &'a dyn Watch,
    ) -> Self {
        Self {
            backend,
            remembered,
            watch,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Uploads until there are no more batches. After a failure they are taken
    /// and dropped, so that nobody waits to hand one on.
    pub(super) fn run(&self, queue: &Mutex<Receiver<Batch>>) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else {
                return;
            };
            let number = batch.number;
            let written = self.batch(batch);
            let mut state = self.state();
            match written {
                Ok(()) => state.done = number + 1,
                Err(error) => drop(state.failed.get_or_insert(error)),
            }
            self.changed.notify_all();
        }
    }

    /// What was written in all, once nothing runs any more.
    pub(super) fn finish(self) -> Result<Pushed, CacheError> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        match state.failed {
            Some(error) => Err(error),
            None => Ok(state.pushed),
        }
    }

    fn batch(&self, batch: Batch) -> Result<(), CacheError> {
        self.check()?;
        if let Some((id, bytes)) = batch.pack {
            self.pack(&id, &bytes, batch.raw_bytes)?;
        }
        // An index may name one of an earlier batch, and packs of it.
        self.wait_for(batch.number)?;
        in_parallel(CONNECTIONS, &batch.indexes, |(id, stored)| {
            self.put(&index_name(id), stored)?;
            self.state().pushed.indexes += 1;
            self.remembered.put(id, stored)
        })?;
        in_parallel(CONNECTIONS, &batch.trees, |description| {
            let stored = description.encode();
            self.put(&tree_name(&description.tree), &stored)?;
            self.state().pushed.trees += 1;
            Ok::<_, CacheError>(())
        })?;
        Ok(())
    }

    /// A push that was killed packs the same again, if asked for the same.
    fn pack(&self, id: &PackId, bytes: &[u8], raw_bytes: u64) -> Result<(), CacheError> {
        let name = pack_name(id);
        let mut source = Watched::new(bytes, raw_bytes, self.watch);
        if self.backend.size(&name)? != Some(bytes.len() as u64) {
            self.put_source(&name, &mut source, bytes.len() as u64)?;
            self.state().pushed.packs += 1;
        }
        source.finish();
        Ok(())
    }

    fn put(&self, name: &Name, bytes: &[u8]) -> Result<(), CacheError> {
        self.put_source(name, &mut Cursor::new(bytes), bytes.len() as u64)
    }

    fn put_source(
        &self,
        name: &Name,
        source: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), CacheError> {
        self.check()?;
        let written = self.backend.put(name, source, size_bytes);
        written.map_err(|error| match self.watch.is_cancelled() {
            true => CacheError::Cancelled,
            false => error.into(),
        })?;
        self.state().pushed.bytes += size_bytes;
        Ok(())
    }

    fn wait_for(&self, done: u64) -> Result<(), CacheError> {
        let mut state = self.state();
        while state.done < done && state.failed.is_none() {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        match state.done < done {
            true => Err(CacheError::Cancelled),
            false => Ok(()),
        }
    }

    /// After a failure nothing more is begun; it is the one that is reported.
    pub(super) fn check(&self) -> Result<(), CacheError> {
        match self.watch.is_cancelled() || self.state().failed.is_some() {
            true => Err(CacheError::Cancelled),
            false => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
