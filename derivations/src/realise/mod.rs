//! Realising: from a graph and a wish to outputs in the store.

pub mod caches;
pub mod execute;
pub mod others;
pub mod plan;
mod running;
pub mod world;
