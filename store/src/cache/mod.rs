//! Caches: what one machine has built, kept where others can fetch it.
//!
//! Where that is: [`backend`] says what a place must do, and [`contract`] puts it to
//! the test; [`directory`], [`http`], [`s3`], [`oci`] and [`memory`] are such places,
//! [`open`] finds the one that a URL names. [`access`], [`credentials`]
//! and [`patience`] say how a server is spoken to.
//!
//! What is said of builds there: [`claims`], many at a time in a [`hint`], and of
//! what their recipes are made in [`recipes`]; all of it [`small`] files, lists in one form.
//!
//! How trees lie in a cache, the same in all of them (pure):
//!
//! - [`id`]: which files there are, and what they are called.
//! - [`chunk`]: how content is cut, so that versions of it have most in common.
//! - [`index`]: what one push added: frames of chunks, files, directories.
//! - [`description`]: which indexes hold all of a tree.
//! - [`catalogue`]: what several indexes hold, taken together.
//!
//! What is done with it: [`push`] sends what a cache lacks, [`pull`] fetches what
//! the store lacks, [`check`] looks whether a cache is whole, [`sweep`] removes
//! what nothing uses, [`init`] makes a new one, [`survey`] counts what it has,
//! [`serve`] serves a directory. [`version`] says in which form it is. [`remembered`] keeps indexes on this machine, [`watch`] is
//! told how it goes on, [`pace`] keeps it from taking the whole line.
//!
//! A cache is storage, not authority: nothing here trusts a byte of it. It holds
//! files that never change once they are there, and no correctness rests on a
//! server refusing to overwrite one.

pub mod access;
pub mod backend;
pub mod catalogue;
pub mod check;
pub mod chunk;
pub mod claims;
pub mod contract;
pub mod credentials;
pub mod description;
pub mod directory;
pub mod error;
#[doc(hidden)]
pub mod foreign;
pub mod hint;
pub mod http;
pub mod id;
pub mod index;
pub mod init;
pub mod memory;
pub mod name;
pub mod oci;
pub mod open;
pub mod pace;
mod packed;
pub mod patience;
pub mod pull;
pub mod push;
pub mod recipes;
pub mod remembered;
pub mod s3;
pub mod serve;
pub mod small;
pub mod survey;
pub mod sweep;
pub mod version;
pub mod watch;

mod files;
mod frame;
mod transfer;
mod web;

#[cfg(test)]
mod misfortune;
