//! Realising: from a graph and a wish to outputs in the store.

pub mod execute;
pub mod plan;
pub mod world;
