pub use crate::cancel::Cancel as CancelToken;
