//! Trust: who signed a claim, and whether that is enough.
//!
//! - [`key`]: Ed25519 keys as text and as files.
//! - [`signature`]: realisations signed and checked.
//! - [`policy`]: which keys count, for what, and how many must agree.
//! - [`statement`]: what a key says of itself, rotated or revoked.
//!
//! All of it is pure but for the two functions that read and write a key's file.
//! Nothing here knows where claims come from.

pub mod key;
pub mod policy;
pub mod signature;
pub mod statement;
