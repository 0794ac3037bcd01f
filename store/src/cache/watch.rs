//! Whoever watches a transfer, and may end it.

/// Told how a transfer goes on, by any of its threads.
pub trait Watch: Sync {
    /// This many more bytes will be moved.
    fn expect(&self, bytes: u64) {
        let _ = bytes;
    }

    /// This many bytes were moved, to or from the cache, of those to be expected:
    /// in a transfer that ends well both come to the same.
    fn moved(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Whether to stop. Asked often; what was moved stays where it is.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Watch for () {}
