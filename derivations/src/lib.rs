//! placeholder

pub mod archive;
pub mod debian;
pub mod fetch;
