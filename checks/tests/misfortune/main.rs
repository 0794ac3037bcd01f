//! What misfortune gets: downloads that lie, builders that misbehave, a full
//! disk, a store of another kiln. Each is said clearly, leaves nothing
//! half-made and nothing running, and the next run goes on.

#[path = "../misfortune_support/mod.rs"]
mod support;

mod builders;
mod disk_full;
mod downloads;
mod newer;
