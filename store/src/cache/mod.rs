//! Caches: what one machine has built, kept where others can fetch it.
//!
//! - [`name`]: what files of a cache are called.
//! - [`backend`]: the one trait through which a cache is read and written.
//! - [`memory`]: a cache in memory, for tests.
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
pub mod patience;
pub mod proxies;

mod web;
