//! The content-addressed store of kiln.
//!
//! What is here, from the inside out:
//!
//! - [`hash`]: digests and the typed identifiers made of them.
//! - [`tree`]: files, symlinks and directories as a BLAKE3 Merkle tree, and the
//!   one canonical encoding of a directory.
//! - [`realisation`]: the claim "this recipe gave these outputs".
//! - [`objects`]: the trait through which all tree work reads and writes.
//! - [`mutable`]: a tree while it is being put together.
//! - [`canonical`]: the frozen bincode configuration and the decoder that
//!   refuses whatever it would not have written itself.
//!
//! Enter at [`hash::Digest`] and [`tree::Directory`]. The crate knows nothing of
//! manifests, derivations, builders or terminals.

pub mod canonical;
pub mod hash;
pub mod mutable;
pub mod objects;
pub mod realisation;
pub mod tree;
