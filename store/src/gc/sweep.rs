//! Removes what was chosen. That something is gone already is fine.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::Plan;
use crate::blobs::read_directory;
use crate::error::{During, StoreError};
use crate::hash::TreeId;
use crate::inventory::Object;
use crate::layout::{LOCKS, Layout, MATERIALISED, RESULTS};
use crate::lock::BuildLock;
use crate::order::{self, Children};
use crate::sys;

/// Removes directories, then files.
pub(super) fn objects(layout: &Layout, plan: &Plan) -> Result<(), StoreError> {
    trees(layout, &plan.trees)?;
    if !plan.files.is_empty() {
        // Else a power cut could bring back a directory without its files.
        fs::syncfs(layout.fd()).during("sync", layout.path())?;
    }
    unlink(layout, &plan.files)
}

/// Removes directories, each before what it names.
pub(crate) fn trees(layout: &Layout, trees: &[TreeId]) -> Result<(), StoreError> {
    let graph: Children = trees
        .par_iter()
        .map(|tree| {
            // A damaged one names nothing that could be found.
            let directory = read_directory(layout, tree).unwrap_or_default();
            (*tree, order::children(&directory))
        })
        .collect();
    for layer in order::parents_first(&graph) {
        let layer: Vec<_> = layer.into_iter().map(Object::Tree).collect();
        unlink(layout, &layer)?;
    }
    Ok(())
}

/// Unlinks objects, in parallel since each waits for the journal.
pub(crate) fn unlink(layout: &Layout, objects: &[Object]) -> Result<(), StoreError> {
    let unlink = |object: &Object| {
        let path = object.path();
        match fs::unlinkat(layout.fd(), &path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).during("remove", path),
        }
    };
    let pool = sys::removal_pool().during("start", "threads")?;
    pool.install(|| objects.par_iter().try_for_each(unlink))
}

/// Removes files and directories of the store by path.
pub(crate) fn paths(layout: &Layout, paths: &[String]) -> Result<(), StoreError> {
    let remove =
        |path: &String| sys::remove_tree(layout.fd(), path.as_bytes()).during("remove", path);
    paths.iter().try_for_each(remove)
}

/// Materialised trees, and what goes with them, but for those in `used`. None
/// of another boot is of use.
pub(crate) fn unused_materialised(
    layout: &Layout,
    used: &HashSet<TreeId>,
) -> Result<Vec<String>, StoreError> {
    let mut unused = Vec::new();
    for boot in sys::names(layout.fd(), MATERIALISED).during("list", MATERIALISED)? {
        let directory = format!("{MATERIALISED}/{boot}");
        if boot != layout.boot() {
            unused.push(directory);
            continue;
        }
        let names = sys::names(layout.fd(), &directory).during("list", &directory)?;
        let names = names.iter().filter(|name| !shows(name, used));
        unused.extend(names.map(|name| format!("{directory}/{name}")));
    }
    Ok(unused)
}

/// Copies for users of trees that no root names.
pub(super) fn unused_results(
    layout: &Layout,
    used: &HashSet<TreeId>,
) -> Result<Vec<String>, StoreError> {
    let names = sys::names(layout.fd(), RESULTS).during("list", RESULTS)?;
    let unused = names.iter().filter(|name| !shows(name, used));
    Ok(unused.map(|name| format!("{RESULTS}/{name}")).collect())
}

/// Whether a name below `mat/BOOT` or `results` begins with one of these trees.
fn shows(name: &str, trees: &HashSet<TreeId>) -> bool {
    let tree = name.get(..64).and_then(|hex| hex.parse().ok());
    tree.is_some_and(|tree| trees.contains(&tree))
}

/// What lies in a directory of the store, which need not be there, since before
/// `keep` began.
pub(super) fn older(
    layout: &Layout,
    directory: &str,
    keep: Duration,
) -> Result<Vec<String>, StoreError> {
    let now_s = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let since_s = i64::try_from(now_s.saturating_sub(keep.as_secs())).unwrap_or(0);
    let mut old = Vec::new();
    for name in sys::names(layout.fd(), directory).during("list", directory)? {
        let path = format!("{directory}/{name}");
        match fs::statat(layout.fd(), &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_mtime < since_s => old.push(path),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error).during("stat", path),
        }
    }
    Ok(old)
}

/// Removes the lock files that killed processes left: whoever gets a lock
/// removes its file when done.
pub(super) fn stale_locks(layout: &Arc<Layout>) -> Result<(), StoreError> {
    for name in sys::names(layout.fd(), LOCKS).during("list", LOCKS)? {
        if let Ok(action) = name.parse() {
            drop(BuildLock::acquire(layout, &action, false)?);
        }
    }
    Ok(())
}
