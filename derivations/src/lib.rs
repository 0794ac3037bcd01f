//! placeholder

pub mod archive;
