//! The manifest `flake-like.toml` and its lock: from text to derivations.
//!
//! ```text
//! text ─ parse ─► Document* ─ assemble ─► Manifest ─┐
//!                                             Lock ─┴─ evaluate ─► Graph
//! ```
//!
//! - [`mod@load`]: finds the files and reads them; the only part that walks disks.
//! - [`mod@parse`]: one text to the tables of [`schema`]; pure.
//! - [`assemble`]: the tables of all files to one [`Manifest`], with every
//!   reference checked; pure.
//! - [`lock`]: what `flake-like.lock` pins; pure data.
//! - [`mod@evaluate`]: what is wanted of a manifest, as derivations; pure but for
//!   local files, which it reads through a trait.
//! - [`sharing`]: which caches and whose claims count, the user's own included.
//! - [`init`]: the manifest that a new project starts with.
//!
//! Mistakes are [`problem`]s: diagnostics with spans. Nothing here fetches,
//! builds, or knows the store.

pub mod assemble;
mod check;
pub mod evaluate;
pub mod init;
mod interpolate;
pub mod load;
pub mod lock;
pub mod parse;
pub mod problem;
mod reference;
pub mod schema;
pub mod sharing;
pub mod span;
pub mod units;

pub use assemble::{Imported, Manifest};
pub use evaluate::{Evaluation, Request, Wanted, evaluate};
pub use load::{find, load};
pub use lock::Lock;
pub use parse::parse;
pub use problem::{ManifestError, Problem};
pub use reference::Kind;
pub use schema::published::manifest_schema;
pub use sharing::{Settings, Sharing};

/// The file name of manifests.
pub const MANIFEST_FILE: &str = "flake-like.toml";
/// The file name of locks.
pub const LOCK_FILE: &str = "flake-like.lock";
