//! Debian's archive: what a lock pins of it.
//!
//! 1. [`archive`] fetches a suite's `InRelease`; [`keyring`] checks who signed
//!    it; [`release`] reads it. Its hashes vouch for the package lists.
//! 2. [`packages`] reads a list into an [`packages::Index`], paragraph by
//!    paragraph.
//! 3. [`resolve`] turns root packages into their closure: a pure function.
//! 4. [`archive::pin`] fetches each package once, for its BLAKE3.
//!
//! Nothing here runs apt or dpkg, and no maintainer script is ever looked at.
//! A closure is what the packages *depend* on to work; what essential packages
//! a running Debian would have besides is not implied: a root file system is
//! exactly its list.

pub mod archive;
pub mod keyring;
pub mod packages;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod sources;
