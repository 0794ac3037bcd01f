//! From a manifest to realised outputs.
//!
//! Data flows one way: `manifest` → [`derivation`] → [`graph`] →
//! [`realise::plan`] → [`realise::execute`] → the store. Builders ([`build`])
//! are kiln's own code (fetch, compose, rootfs, archive) or a script in the
//! sandbox.
//!
//! The crate never touches a terminal and never reads `$HOME`: whoever calls
//! it says where things are. [`verify`] builds again and compares; [`explain`] says
//! where two outputs differ.

pub mod archive;
pub mod boot;
pub mod build;
pub mod cancel;
pub mod compose;
pub mod debian;
pub mod derivation;
pub mod event;
pub mod explain;
pub mod fetch;
pub mod graph;
pub mod image;
pub mod manifest;
pub mod pin;
pub mod realise;
pub mod sandbox;
pub mod verify;
