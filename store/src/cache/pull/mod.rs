//! Fetches what the store lacks of some trees.
//!
//! 1. The descriptions of the trees are read, then the indexes that they name:
//!    one round each, however many there are.
//! 2. Directories are checked against their addresses, from the roots down
//!    (`walk.rs`); what the store has is kept there.
//! 3. What the rest consists of is looked up (`plan.rs`): frames, neighbours of
//!    which are asked for at once. So many rounds go before the first content.
//! 4. Frames are fetched by several threads (`fetch.rs`). Content gets into the
//!    store when the BLAKE3 of all of it is right, and not before; what comes in
//!    several frames is put together in a temporary file (`assembly.rs`).
//! 5. Directories follow, those that others name first.
//!
//! What was stored stays if this ends early, so a second pull fetches the rest.

mod assembly;
mod fetch;
mod plan;
pub(super) mod walk;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::backend::Backend;
use super::error::CacheError;
use super::remembered::Remembered;
use super::transfer::{self, Reader};
use super::watch::Watch;
use crate::hash::TreeId;
use crate::lease::Lease;
use crate::objects::Objects;
use crate::store::Store;

/// What is pulled, and where to.
pub struct Pull<'a> {
    /// Where from.
    pub backend: &'a dyn Backend,
    /// Where to.
    pub store: &'a Store,
    /// Indexes that were read or written before.
    pub remembered: &'a Remembered,
    /// Told of bytes that come from the cache.
    pub watch: &'a dyn Watch,
}

impl Pull<'_> {
    /// Fetches what the store lacks of `trees`, all of which the cache has to
    /// have, and keeps them there until the leases are dropped. They are
    /// durable after [`Store::flush`] or [`Store::register`].
    pub fn run(&self, trees: &[TreeId]) -> Result<Vec<Lease>, CacheError> {
        let mut lacking = Vec::new();
        let mut kept = Vec::new();
        for tree in trees {
            match self.store.has_tree(tree)? {
                true => kept.push(self.store.lease(tree)?),
                false => lacking.push(*tree),
            }
        }
        if !lacking.is_empty() {
            self.fetch(&lacking)?;
        }
        let leases = trees.iter().map(|tree| self.store.lease(tree));
        Ok(leases.collect::<Result<_, _>>()?)
    }

    /// Fetches trees of which the store has none.
    fn fetch(&self, lacking: &[TreeId]) -> Result<(), CacheError> {
        let reader = Reader {
            backend: self.backend,
            watch: self.watch,
        };
        let loaded = transfer::load(&reader, lacking, self.remembered)?;
        let has = |tree: &&TreeId| loaded.descriptions.iter().any(|d| d.tree == **tree);
        if let Some(tree) = lacking.iter().find(|tree| !has(tree)) {
            return Err(CacheError::NoTree {
                place: self.backend.place(),
                tree: *tree,
            });
        }
        // What the store has of them stays there until all of them is.
        let mut kept = Vec::new();
        let mut has = |tree: &TreeId| {
            let present = self.store.has_tree(tree)?;
            if present {
                kept.push(self.store.lease(tree)?);
            }
            Ok(present)
        };
        let walked = walk::walk(&reader, &loaded.catalogue, lacking, &mut has)?;
        let wanted = self.lacking_files(&reader, &walked)?;
        let plan = plan::plan(&reader, &loaded.catalogue, wanted)?;
        fetch::fetch(&reader, self.store, &loaded.catalogue, &plan)?;
        self.put_directories(&reader, &walked)
    }

    /// The files that are not in the store, each once. The others stay there.
    fn lacking_files(
        &self,
        reader: &Reader<'_>,
        walked: &walk::Walked,
    ) -> Result<Vec<plan::Wanted>, CacheError> {
        let _in_use = self.store.share()?;
        let wanted: Vec<Option<plan::Wanted>> = walked
            .files
            .par_iter()
            .map(|file| {
                let present = self.store.keep_sized(&file.content, file.executable)?;
                match present {
                    None => Ok(Some(*file)),
                    Some(got) if got == file.size_bytes => Ok(None),
                    Some(got) => Err(walk::wrong_size(reader, file, got)),
                }
            })
            .collect::<Result<_, CacheError>>()?;
        Ok(wanted.into_iter().flatten().collect())
    }

    fn put_directories(
        &self,
        reader: &Reader<'_>,
        walked: &walk::Walked,
    ) -> Result<(), CacheError> {
        for layer in walked.layers.iter().rev() {
            reader.check_cancelled()?;
            layer.par_iter().try_for_each(|tree| {
                let (directory, _) = &walked.directories[tree];
                self.store.put_directory(directory).map(drop)
            })?;
        }
        Ok(())
    }
}
