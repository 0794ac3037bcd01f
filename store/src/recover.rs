//! After a power cut: objects that were written but never synced may have
//! their names and not their bytes.

use crate::error::StoreError;
use crate::heal;
use crate::inventory::{self, Stored};
use crate::layout::Layout;
use crate::session::Stamp;
use crate::verify;

/// How much earlier an object's time may be than that of the session that
/// wrote it, should the clock have been set back in between.
const CLOCK_MARGIN_S: i64 = 24 * 60 * 60;

/// Rehashes the objects that were written since `start`, and removes those
/// that are damaged with whatever reaches them. The caller is alone in the
/// store.
pub(crate) fn after_power_cut(layout: &Layout, start: Stamp) -> Result<(), StoreError> {
    let since = start.minus(CLOCK_MARGIN_S);
    let written = |stored: &Stored| stored.changed >= since;
    let trees = inventory::trees(layout)?.into_iter();
    let objects = trees.chain(inventory::blobs(layout)?);
    let suspects: Vec<_> = objects.filter(written).map(|s| s.object).collect();
    let damage = verify::check_objects(layout, &suspects);
    if damage.is_empty() {
        return Ok(());
    }
    let damaged: Vec<_> = damage.iter().filter_map(verify::Damage::object).collect();
    heal::remove(layout, &damaged).map(drop)
}
