//! Reading what a cache says of trees: bounded, checked, many at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::backend::Backend;
use super::catalogue::Catalogue;
use super::description::{Description, MAX_TREE_BYTES, Needed};
use super::error::{CacheError, Flaw};
use super::id::{index_name, tree_name};
use super::index::{Index, MAX_INDEX_BYTES};
use super::name::Name;
use super::remembered::Remembered;
use super::watch::Watch;
use crate::hash::{Digest, TreeId};

/// Requests under way at one time.
pub(super) const CONNECTIONS: usize = 8;
/// Indexes that are held at one time take at most this much, unpacked, in bytes.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// Does `work` for every item, on several threads; returns the results in the
/// order of the items. After an error nothing more is begun.
pub(super) fn in_parallel<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    in_parallel_with(threads, items, || (), |(), item| work(item))
}

/// The same, with something that each thread makes once and uses for all.
pub(super) fn in_parallel_with<S, T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<R, E>)>> = Mutex::default();
    let run = || {
        let mut state = start();
        while !stopped.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return;
            };
            let result = work(&mut state, item);
            if result.is_err() {
                stopped.store(true, Ordering::Relaxed);
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((at, result));
        }
    };
    match threads.min(items.len()) {
        0 | 1 => run(),
        threads => std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(run);
            }
        }),
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A cache, and all that is wanted to read from it.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) watch: &'a dyn Watch,
}

impl Reader<'_> {
    pub(super) fn check_cancelled(&self) -> Result<(), CacheError> {
        match self.watch.is_cancelled() {
            true => Err(CacheError::Cancelled),
            false => Ok(()),
        }
    }

    pub(super) fn damaged(&self, name: &Name, flaw: impl Into<Flaw>) -> CacheError {
        CacheError::Damaged {
            place: self.backend.place(),
            name: name.clone(),
            flaw: Box::new(flaw.into()),
        }
    }

    pub(super) fn missing(&self, name: &Name, wanted_by: &Name) -> CacheError {
        CacheError::Missing {
            place: self.backend.place(),
            name: name.clone(),
            wanted_by: wanted_by.clone(),
        }
    }

    /// Reads all of a file, of at most `limit` bytes.
    pub(super) fn whole(&self, name: &Name, limit: u64) -> Result<Option<Vec<u8>>, CacheError> {
        self.check_cancelled()?;
        let Some(body) = self.backend.open(name, None)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = body.content.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| CacheError::Io {
            what: "reading from the cache",
            source,
        })?;
        let length = bytes.len() as u64;
        self.watch.expect(length);
        self.watch.moved(length);
        match bytes.len() as u64 > limit {
            true => Err(self.damaged(name, Flaw::TooLarge { limit })),
            false => Ok(Some(bytes)),
        }
    }

    /// What a cache says of a tree, if it has it.
    pub(super) fn describe(&self, tree: &TreeId) -> Result<Option<Description>, CacheError> {
        let name = tree_name(tree);
        let Some(bytes) = self.whole(&name, MAX_TREE_BYTES)? else {
            return Ok(None);
        };
        let description = Description::decode(tree, &bytes);
        description
            .map(Some)
            .map_err(|error| self.damaged(&name, error))
    }

    /// Reads an index, as it is stored, and checks that it is the one.
    pub(super) fn index_bytes(
        &self,
        needed: &Needed,
        wanted_by: &Name,
    ) -> Result<Vec<u8>, CacheError> {
        let name = index_name(&needed.index);
        let limit = needed.size_bytes.min(MAX_INDEX_BYTES);
        let Some(bytes) = self.whole(&name, limit)? else {
            return Err(self.missing(&name, wanted_by));
        };
        let (expected, got) = (needed.size_bytes, bytes.len() as u64);
        if got != expected {
            return Err(self.damaged(&name, Flaw::Length { expected, got }));
        }
        let (expected, got) = (needed.index.0, Digest::of(&bytes));
        match got == expected {
            true => Ok(bytes),
            false => Err(self.damaged(&name, Flaw::Hash { expected, got })),
        }
    }
}

/// What a cache says of some trees.
pub(super) struct Loaded {
    pub(super) catalogue: Catalogue,
    /// Of those trees that it has.
    pub(super) descriptions: Vec<Description>,
}

/// Reads what a cache says of `trees`, and the indexes named there, in two
/// rounds. Trees that the cache does not have are left out.
pub(super) fn load(
    reader: &Reader<'_>,
    trees: &[TreeId],
    remembered: &Remembered,
) -> Result<Loaded, CacheError> {
    let descriptions = in_parallel(CONNECTIONS, trees, |tree| reader.describe(tree))?;
    let descriptions: Vec<_> = descriptions.into_iter().flatten().collect();
    let indexes = Indexes::new(reader, remembered);
    let wanted = wanted(&descriptions);
    let read = in_parallel(CONNECTIONS, &wanted, |wanted| indexes.read(wanted))?;
    let mut catalogue = Catalogue::default();
    for (wanted, index) in wanted.iter().zip(read) {
        catalogue.add(wanted.needed.index, wanted.needed.size_bytes, index);
    }
    Ok(Loaded {
        catalogue,
        descriptions,
    })
}

/// An index, and a tree that needs it.
pub(super) struct Wanted {
    pub(super) needed: Needed,
    pub(super) by: TreeId,
}

/// The indexes that trees need, each once.
pub(super) fn wanted(descriptions: &[Description]) -> Vec<Wanted> {
    let needed: BTreeMap<Needed, TreeId> = descriptions
        .iter()
        .flat_map(|description| {
            let needed = description.indexes.iter();
            needed.map(|needed| (*needed, description.tree))
        })
        .collect();
    let wanted = needed.into_iter();
    wanted.map(|(needed, by)| Wanted { needed, by }).collect()
}

/// Reads indexes, not more of them than memory holds.
pub(super) struct Indexes<'a> {
    reader: &'a Reader<'a>,
    remembered: &'a Remembered,
    unpacked_bytes: AtomicU64,
}

impl<'a> Indexes<'a> {
    pub(super) fn new(reader: &'a Reader<'a>, remembered: &'a Remembered) -> Self {
        Self {
            reader,
            remembered,
            unpacked_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn read(&self, wanted: &Wanted) -> Result<Index, CacheError> {
        let id = &wanted.needed.index;
        let tree = tree_name(&wanted.by);
        let stored = match self.remembered.get(id)? {
            Some(stored) => stored,
            None => {
                let stored = self.reader.index_bytes(&wanted.needed, &tree)?;
                self.remembered.put(id, &stored)?;
                stored
            }
        };
        let unpacked = Index::unpack(&stored);
        let damaged = |error| self.reader.damaged(&index_name(id), error);
        let (index, bytes) = unpacked.map_err(damaged)?;
        let before = self.unpacked_bytes.fetch_add(bytes, Ordering::Relaxed);
        let limit = MAX_UNPACKED_BYTES;
        match before + bytes > limit {
            true => Err(self.reader.damaged(&tree, Flaw::TooLarge { limit })),
            false => Ok(index),
        }
    }
}
