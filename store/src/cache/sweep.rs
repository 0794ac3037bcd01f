//! Removes from a cache what nothing uses any more.
