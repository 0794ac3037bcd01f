//! Which indexes a tree refers to, and what it is rather sent again. Pure.
//!
//! Whoever pulls the tree reads each of them whole, in a request of its own. So
//! an index has to save more than it costs, and there are not many of them.

use std::collections::{BTreeSet, HashMap};

use super::Surveyed;
use super::walk::Parts;
use crate::cache::catalogue::{Catalogue, Number};

/// An index is read for what it saves only if that is this many times its own
/// size, in unpacked bytes.
const WORTH: u64 = 4;
/// As many indexes as a tree refers to …
pub(super) const MAX_INDEXES: usize = 24;
/// … unless they save this much each, in bytes.
const LARGE_BYTES: u64 = 8 << 20;
/// What a file's list of chunks counts for.
const RECIPE_BYTES: u64 = 64;

/// The indexes that are worth referring to.
pub(super) fn choose(
    catalogue: &Catalogue,
    parts: &Parts,
    surveyed: &Surveyed,
) -> BTreeSet<Number> {
    let saved = saved_bytes(catalogue, parts, surveyed);
    let worth =
        |(number, bytes): &(Number, u64)| *bytes >= WORTH * catalogue.entry(*number).size_bytes;
    let mut worthy: Vec<_> = saved.into_iter().filter(worth).collect();
    worthy.sort_unstable_by_key(|(number, bytes)| (std::cmp::Reverse(*bytes), *number));
    let taken = worthy.iter().enumerate();
    taken
        .filter(|(place, (_, bytes))| *place < MAX_INDEXES || *bytes >= LARGE_BYTES)
        .map(|(_, (number, _))| *number)
        .collect()
}

/// What would not have to be sent thanks to each index, in bytes.
fn saved_bytes(catalogue: &Catalogue, parts: &Parts, surveyed: &Surveyed) -> HashMap<Number, u64> {
    let mut saved: HashMap<Number, u64> = HashMap::new();
    let mut count = |number, bytes| *saved.entry(number).or_default() += bytes;
    for (tree, encoded) in &parts.directories {
        for (number, _) in catalogue.directory(tree) {
            count(number, encoded.len() as u64);
        }
    }
    for (content, size_bytes) in &parts.files {
        for (number, spans) in catalogue.content(content, *size_bytes) {
            count(number, RECIPE_BYTES);
            for span in spans {
                count(span.index, catalogue.span_bytes(&span));
            }
        }
        for chunk in surveyed.get(content).into_iter().flatten() {
            for (number, _) in catalogue.chunk(&chunk.id) {
                count(number, u64::from(chunk.length));
            }
        }
    }
    saved
}
