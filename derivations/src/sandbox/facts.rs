//! Facts.
/// Collects.
pub fn collect(_bwrap: &super::Bwrap) -> Vec<(String, String)> {
    Vec::new()
}
