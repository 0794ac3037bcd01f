//! Caches: what one machine has built, kept where others can fetch it.
//!
//! - [`name`]: what files of a cache are called.
//! - [`backend`]: the one trait through which a cache is read and written, and
//!   [`contract`], to which every backend is put.
//! - [`open`]: which backend a URL means: [`directory`], [`http`], [`s3`] or
//!   [`oci`]; [`memory`] is for tests.
//! - [`access`]: with what servers are reached, gathered once: [`credentials`],
//!   [`proxies`], [`patience`].
//! - `web`: HTTP as all servers need it.
//!
//! A cache is storage, not authority: nothing here trusts a byte of it. It holds
//! files that never change once they are there, and no correctness rests on a
//! server refusing to overwrite one.

pub mod access;
pub mod backend;
pub mod contract;
pub mod credentials;
pub mod directory;
pub mod http;
pub mod memory;
pub mod name;
pub mod oci;
pub mod open;
pub mod patience;
pub mod proxies;
pub mod s3;

#[cfg(test)]
mod misfortune;
mod web;
