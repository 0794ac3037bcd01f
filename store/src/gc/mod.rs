//! Removes what nobody wants.
//!
//! Alone in the store (`gc.lock` exclusive), gc
//!
//! 1. collects where to start from: the trees of roots, of living sessions'
//!    leases, and those used within the keep window;
//! 2. adds the directories that a living session wrote or found present, which
//!    their ctime tells: they may be parts of something not yet leased;
//! 3. marks all that is reachable from there (`mark.rs`);
//! 4. plans to remove the other objects, but for those as new as in 2;
//! 5. removes: materialised trees, then directories, parents first, then, once
//!    that is durable, files.
//!
//! Killed at any point, it leaves a store in which every directory that exists
//! is whole. Realisations are not content and stay.

mod mark;
pub(crate) mod sweep;

use std::collections::HashSet;
use std::time::Duration;

use crate::error::StoreError;
use crate::hash::TreeId;
use crate::inventory::{self, Object, Stored};
use crate::layout::{COMPARED, DOWNLOADS, LOGS, Layout};
use crate::session::{self, Stamp};
use crate::store::Store;
use crate::{lock, roots};

use mark::{Marked, mark};

pub(crate) use mark::mark_readable;

/// How much earlier an object's time may be than the start of the session that
/// wrote it, should the clock have been set back in between.
const CLOCK_MARGIN_S: i64 = 10 * 60;

/// A download may be going on, and trees being looked at, for so long.
const LEFTOVERS_STAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What gc leaves, and whether it only looks.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// A tree stays for so long after it was used last.
    pub keep: Duration,
    /// A build log stays for so long after it was written.
    pub keep_logs: Duration,
    /// Only reports what would be removed.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        const DAY_S: u64 = 24 * 60 * 60;
        Self {
            keep: Duration::from_secs(7 * DAY_S),
            keep_logs: Duration::from_secs(90 * DAY_S),
            dry_run: false,
        }
    }
}

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GcReport {
    /// Inodes of files.
    pub files: u64,
    /// Directory objects.
    pub directories: u64,
    /// Trees that were shown as directories.
    pub materialised: u64,
    /// Copies of outputs for users.
    pub results: u64,
    /// Build logs.
    pub logs: u64,
    /// Downloads that were put aside, and trees that `verify` compared.
    pub leftovers: u64,
    /// Bytes on the disk that files and directory objects took.
    pub freed_bytes: u64,
    /// Bytes on the disk of those that stay.
    pub kept_bytes: u64,
}

impl Store {
    /// Removes what is neither reachable from a root, nor leased by a living
    /// process, nor used within the keep window. Waits until no process is
    /// about to rely on an object; running builds are not waited for.
    ///
    /// Takes the store for itself, since what this very process has written
    /// and not leased is not spared.
    pub fn gc(&mut self, options: &GcOptions) -> Result<GcReport, StoreError> {
        let _alone = lock::exclude(&self.layout)?;
        let wanted = self.wanted(options)?;
        let plan = plan(&self.layout, &wanted)?;
        let materialised = sweep::unused_materialised(&self.layout, &wanted.shown)?;
        let results = sweep::unused_results(&self.layout, &wanted.trees)?;
        let logs = sweep::older(&self.layout, LOGS, options.keep_logs)?;
        let keep = options.keep.max(LEFTOVERS_STAY);
        let mut leftovers = sweep::older(&self.layout, DOWNLOADS, keep)?;
        leftovers.extend(sweep::older(&self.layout, COMPARED, keep)?);
        let report = GcReport {
            materialised: materialised.len() as u64,
            results: results.len() as u64,
            logs: logs.len() as u64,
            leftovers: leftovers.len() as u64,
            ..plan.report
        };
        if !options.dry_run {
            sweep::paths(&self.layout, &materialised)?;
            sweep::paths(&self.layout, &results)?;
            sweep::objects(&self.layout, &plan)?;
            sweep::paths(&self.layout, &logs)?;
            sweep::paths(&self.layout, &leftovers)?;
            sweep::stale_locks(&self.layout)?;
            self.index().forget_use(&plan.trees)?;
        }
        Ok(report)
    }

    /// Where marking starts.
    fn wanted(&self, options: &GcOptions) -> Result<Wanted, StoreError> {
        let sessions = session::live(&self.layout)?;
        let leases = sessions.iter().flat_map(|(_, record)| &record.trees);
        let mut shown: HashSet<TreeId> = leases.copied().collect();
        shown.extend(self.index().used_within(options.keep)?);
        let mut trees = shown.clone();
        for root in roots::read_roots(&self.layout)? {
            trees.extend(root.trees);
        }
        let others = sessions
            .iter()
            .filter(|(id, _)| Some(id.as_str()) != self.session_id());
        Ok(Wanted {
            trees,
            shown,
            newest: others
                .map(|(_, record)| record.start.minus(CLOCK_MARGIN_S))
                .min(),
        })
    }
}

/// What is to stay.
struct Wanted {
    trees: HashSet<TreeId>,
    /// Those of them that stay shown as directories.
    shown: HashSet<TreeId>,
    /// Since when objects belong to a session that lives.
    newest: Option<Stamp>,
}

impl Wanted {
    fn is_new(&self, stored: &Stored) -> bool {
        self.newest.is_some_and(|newest| stored.changed >= newest)
    }
}

/// What is to go.
struct Plan {
    trees: Vec<TreeId>,
    files: Vec<Object>,
    report: GcReport,
}

fn plan(layout: &Layout, wanted: &Wanted) -> Result<Plan, StoreError> {
    let trees = inventory::trees(layout)?;
    let new = trees.iter().filter(|stored| wanted.is_new(stored));
    let new = new.filter_map(|stored| match stored.object {
        Object::Tree(tree) => Some(tree),
        Object::Blob(..) => None,
    });
    let starts = wanted.trees.iter().copied().chain(new).collect();
    let marked = mark(layout, starts)?;
    let blobs = inventory::blobs(layout)?;
    Ok(choose(&marked, wanted, trees.into_iter().chain(blobs)))
}

/// Decides on every object. Pure.
fn choose(marked: &Marked, wanted: &Wanted, all: impl Iterator<Item = Stored>) -> Plan {
    let mut plan = Plan {
        trees: Vec::new(),
        files: Vec::new(),
        report: GcReport::default(),
    };
    for stored in all {
        if wanted.is_new(&stored) || marked.has(&stored.object) {
            plan.report.kept_bytes += stored.disk_bytes;
            continue;
        }
        plan.report.freed_bytes += stored.disk_bytes;
        match stored.object {
            Object::Tree(tree) => plan.trees.push(tree),
            Object::Blob(..) => plan.files.push(stored.object),
        }
    }
    plan.report.files = plan.files.len() as u64;
    plan.report.directories = plan.trees.len() as u64;
    plan
}
