//! Caches: what one machine has built, kept where others can fetch it.
//!
//! - [`name`]: what files of a cache are called.
//! - [`backend`]: the one trait through which a cache is read and written.
//! - [`claims`]: signed realisations and statements, by recipe and signer.
//! - [`hint`]: many claims in one file.
//! - [`small`]: small files as a whole.
//! - [`memory`]: a cache in memory, for tests.
//!
//! A cache is storage, not authority: nothing here trusts a byte of it. It holds
//! files that never change once they are there, and no correctness rests on a
//! server refusing to overwrite one.

pub mod backend;
pub mod claims;
pub mod hint;
pub mod memory;
pub mod name;
pub mod small;
