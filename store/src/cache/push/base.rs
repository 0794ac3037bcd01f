//! What a push can rely on that the cache has already.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::cache::catalogue::Catalogue;
use crate::cache::description::Needed;
use crate::cache::error::CacheError;
use crate::cache::id::{IndexId, PackId, index_name, pack_name};
use crate::cache::index::Index;
use crate::cache::remembered::Remembered;
use crate::cache::transfer::{CONNECTIONS, Indexes, Reader, in_parallel, wanted};
use crate::hash::TreeId;

/// An index that no tree names is relied on for as long as this after it was
/// pushed: a push that was killed goes on where it was. Far less than any grace
/// period of a sweep, see [`crate::cache::sweep`].
const UNNAMED: Duration = Duration::from_secs(4 * 60 * 60);

/// What the cache has.
pub(super) struct Base {
    pub(super) catalogue: Catalogue,
    /// Trees of which nothing needs to be sent.
    pub(super) complete: HashSet<TreeId>,
}

/// Reads what the cache has of `trees` and `base`. What is damaged there is not
/// relied on, and so is sent again.
pub(super) fn load(
    reader: &Reader<'_>,
    trees: &[TreeId],
    base: &[TreeId],
    remembered: &Remembered,
) -> Result<Base, CacheError> {
    let asked: BTreeSet<TreeId> = trees.iter().chain(base).copied().collect();
    let asked: Vec<TreeId> = asked.into_iter().collect();
    let describe = |tree: &TreeId| undamaged(reader.describe(tree)).map(Option::flatten);
    let descriptions = in_parallel(CONNECTIONS, &asked, describe)?;
    let descriptions: Vec<_> = descriptions.into_iter().flatten().collect();
    let indexes = Indexes::new(reader, remembered);
    let wanted = wanted(&descriptions);
    let read = in_parallel(CONNECTIONS, &wanted, |wanted| {
        undamaged(indexes.read(wanted))
    })?;
    let named = wanted.iter().map(|wanted| wanted.needed).zip(read);
    let mut found = Found::default();
    found.0.extend(named.filter_map(|(needed, index)| {
        let index = index?;
        Some((needed.index, (needed.size_bytes, index)))
    }));
    found.add_unnamed(reader, remembered)?;
    let catalogue = found.with_packs(reader)?;
    let is_here = |needed: &Needed| catalogue.number(&needed.index).is_some();
    let complete = descriptions
        .iter()
        .filter(|description| description.indexes.iter().all(is_here))
        .map(|description| description.tree)
        .collect();
    Ok(Base {
        catalogue,
        complete,
    })
}

/// What was read, unless that is not what it should be.
fn undamaged<T>(read: Result<T, CacheError>) -> Result<Option<T>, CacheError> {
    match read {
        Err(CacheError::Damaged { .. } | CacheError::Missing { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Indexes by id, with their sizes as they are stored.
#[derive(Default)]
struct Found(HashMap<IndexId, (u64, Index)>);

impl Found {
    /// Adds what was pushed lately and is named by no tree, if it is there.
    fn add_unnamed(
        &mut self,
        reader: &Reader<'_>,
        remembered: &Remembered,
    ) -> Result<(), CacheError> {
        let mut unnamed = remembered.since(UNNAMED)?;
        unnamed.retain(|id| !self.0.contains_key(id));
        let read = in_parallel(CONNECTIONS, &unnamed, |id| {
            let Some(stored) = remembered.get(id)? else {
                return Ok(None);
            };
            let size_bytes = stored.len() as u64;
            if reader.backend.size(&index_name(id))? != Some(size_bytes) {
                return Ok(None);
            }
            let index = Index::unpack(&stored).ok();
            Ok::<_, CacheError>(index.map(|(index, _)| (size_bytes, index)))
        })?;
        for (id, found) in unnamed.into_iter().zip(read) {
            self.0.extend(found.map(|found| (id, found)));
        }
        Ok(())
    }

    /// Those of which all packs are there.
    fn with_packs(self, reader: &Reader<'_>) -> Result<Catalogue, CacheError> {
        let mut ends: HashMap<PackId, u64> = HashMap::new();
        for (pack, end) in self.0.values().flat_map(|(_, index)| index.pack_ends()) {
            let known = ends.entry(pack).or_default();
            *known = end.max(*known);
        }
        let packs: Vec<(PackId, u64)> = ends.into_iter().collect();
        let present = in_parallel(CONNECTIONS, &packs, |(pack, end)| {
            reader.check_cancelled()?;
            let size = reader.backend.size(&pack_name(pack))?;
            Ok::<_, CacheError>(size.is_some_and(|size| size >= *end))
        })?;
        let packs = packs.into_iter().zip(present);
        let present: HashSet<PackId> = packs
            .filter(|(_, present)| *present)
            .map(|((pack, _), _)| pack)
            .collect();
        let mut catalogue = Catalogue::default();
        for (id, (size_bytes, index)) in self.0 {
            if index.packs.iter().all(|pack| present.contains(pack)) {
                catalogue.add(id, size_bytes, index);
            }
        }
        Ok(catalogue)
    }
}
