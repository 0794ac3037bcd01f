//! From a manifest to realised outputs.
//!
//! Data flows one way: `manifest` → [`derivation`] → [`graph`] → `plan` →
//! `realise` → the store. Builders are kiln's own code (fetch, compose, rootfs,
//! archive) or a script in the sandbox.
//!
//! The crate never touches a terminal and never reads `$HOME`: whoever calls
//! it says where things are.

pub mod derivation;
pub mod graph;
pub mod manifest;
