//! What the checks share: running the `kiln` program from outside, in projects
//! and stores of their own.
//!
//! - [`program`]: the binary that is judged.
//! - [`scratch`]: directories that other users can enter, removed afterwards.
//! - [`project`]: a copy of kiln's own manifest and recipes, free to be changed.
//! - [`run`]: one run of kiln, and what it said.
//! - [`events`]: the event log that a run wrote.
//!
//! Everything here panics: a check that lacks something fails and says what.

pub mod events;
pub mod program;
pub mod project;
pub mod run;
pub mod scratch;

pub use events::Events;
pub use project::Project;
pub use run::{Kiln, Outcome};
pub use scratch::Scratch;

/// A uid and gid that no user of a machine has, for runs as an ordinary user.
pub const UNUSED_ID: u32 = 61_236;

/// Whether the checks run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The machine's own architecture, as kiln calls targets.
pub const fn host_target() -> &'static str {
    std::env::consts::ARCH
}
