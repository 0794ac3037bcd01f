//! Building again: does a derivation make the same bytes, and if not, why?
//!
//! - [`factor`]: what may differ between two builds.
//! - [`site`]: what this machine has to make it differ; `other_disk`: another file
//!   system; `pressure`: load.
//! - `bench`: one derivation, built as often as asked; `overlay`: into a store
//!   of its own, so that nothing in the real one is touched.
//! - [`cause`]: the search for the factor, pure.
//! - [`check`]: all of it together, for one derivation.
//!
//! Where the differing bytes are is [`crate::explain`]'s to say. A second way
//! to build, such as a virtual machine whose clock, processor and kernel can be
//! chosen, would take the place of `bench` behind [`cause::Builds`].

mod bench;
pub mod cause;
pub mod check;
pub mod factor;
mod other_disk;
mod overlay;
mod pressure;
pub mod site;

pub use bench::{Made, Trial};
pub use check::{Cause, Effort, Outcome, Pair, Unvaried, Verdict, check};
pub use factor::{Factor, UnknownFactor};
pub use site::{Offers, Site};
