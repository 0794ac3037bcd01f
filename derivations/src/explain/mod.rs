//! Explaining why two trees that should have been equal are not: which files
//! differ, where inside them, and what the bytes themselves say of the cause.
//!
//! [`compare`] walks both trees and looks into each pair of files that differ,
//! through as many formats as lie in each other: a gzip in a cpio in an ext4
//! image. Each format knows only its own bytes and hands parts that differ
//! back to [`look::Look`]; what no format understands is compared as text or
//! as bytes. So no difference is lost: the worst that hostile bytes achieve is
//! that they are shown as bytes.
//!
//! - [`walk`]: trees, and files too large to look into.
//! - [`look`]: the recursion, its bounds, and the list of what was found.
//! - [`text`], [`opaque`], [`order`]: what can be said without a format.
//! - [`compressed`], [`ar`], [`tar`], [`cpio`], [`elf`], [`ext`]: formats.
//!   Those that are lists of named things share [`members`].
//! - [`time`], [`marks`]: what tells a cause.
//!
//! It runs nothing, and knows of no sandbox, no perturbation, no terminal.

mod ar;
mod clue;
mod compressed;
mod cpio;
mod difference;
mod elf;
mod excerpt;
mod ext;
#[cfg(test)]
mod fixture;
mod limits;
mod look;
mod marks;
mod members;
mod opaque;
mod order;
mod render;
mod tar;
mod text;
mod time;
mod walk;

pub use clue::{Clue, Sorting};
pub use difference::{Difference, Excerpt, Explanation, What};
pub use limits::Limits;
pub use time::{Window, Windows};
pub use walk::compare;
