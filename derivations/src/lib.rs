//! From a manifest to realised outputs.

pub mod sandbox;
