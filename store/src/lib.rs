//! The content-addressed store of kiln.
//!
//! What is here, from the inside out. Pure, and fixed for ever by the digests
//! it yields:
//!
//! - [`hash`]: digests and the typed identifiers made of them.
//! - [`canonical`]: the frozen bincode configuration and the decoder that
//!   refuses whatever it would not have written itself.
//! - [`tree`]: files, symlinks and directories as a BLAKE3 Merkle tree, and the
//!   one canonical encoding of a directory.
//! - [`realisation`]: the claim "this recipe gave these outputs".
//! - [`trust`]: who signed that claim, and whether that is enough.
//! - [`objects`]: the trait through which all tree work reads and writes.
//! - [`mutable`]: a tree while it is being put together.
//!
//! On this machine's disk:
//!
//! - [`layout`]: where everything lies, and the rules by which it is touched.
//! - [`store`]: the open store, to which the other modules add what it can do:
//!   [`import`] captures directories, [`materialise`] shows trees as such,
//!   [`lease`] keeps them while they are used, [`register`] keeps claims,
//!   [`roots`] say which of it is wanted, [`gc`] removes the rest, [`verify`]
//!   rehashes what is there, [`scratch`] gives builders a place to work and
//!   [`logs`] keeps what they said.
//!
//! On other machines: [`cache`], and [`web`], the way there.
//!
//! Enter at [`store::Store`] to use it, at [`layout`] to understand it, at
//! [`tree::Directory`] for what it holds. The crate knows nothing of manifests,
//! derivations, builders or terminals.

pub mod cache;
pub mod canonical;
pub mod error;
pub mod gc;
pub mod hash;
pub mod import;
pub mod layout;
pub mod lease;
pub mod lock;
pub mod logs;
pub mod materialise;
pub mod mutable;
pub mod objects;
pub mod realisation;
pub mod register;
pub mod results;
pub mod roots;
pub mod scratch;
pub mod sources;
pub mod statements;
pub mod store;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod web;

mod blobs;
mod durable;
mod heal;
mod index;
mod inventory;
mod order;
mod parallel;
mod recover;
mod session;
mod sys;
