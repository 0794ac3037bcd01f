//! From a manifest to realised outputs.
//!
//! Data flows one way: `manifest` → [`derivation`] → [`graph`] → `plan` →
//! `realise` → the store. Builders are kiln's own code (fetch, compose, rootfs,
//! archive) or a script in the sandbox.
//!
//! The crate never touches a terminal and never reads `$HOME`: whoever calls
//! it says where things are.

pub mod boot;
pub mod build;
pub mod compose;
pub mod derivation;
pub mod event;
pub mod graph;
pub mod image;
pub mod realise;
