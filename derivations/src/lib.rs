//! placeholder

pub mod archive;
pub mod fetch;
