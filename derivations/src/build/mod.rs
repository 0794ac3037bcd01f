//! Builders: what is done to make a derivation's outputs.

pub mod capture;
