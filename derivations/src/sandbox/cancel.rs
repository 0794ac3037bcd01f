//! The sandbox is stopped like everything else.

pub use crate::cancel::Cancel as CancelToken;
