//! Where and how a script runs, apart from what its derivation says.
//!
//! A build runs in the setting of its store. `verify` runs the same job in
//! others: whatever changes here must not change the output.

use std::collections::BTreeMap;

use kiln_store::materialise::Order;
use kiln_store::store::Store;

use crate::sandbox::Variation;

/// Where and how a script runs.
pub struct Setting<'a> {
    /// Where the builder's directories are made. Its disk is theirs.
    pub scratch: &'a Store,
    /// Where its output and its log go.
    pub results: &'a Store,
    /// Show inputs as copies; else they are shown by the store.
    pub copies: Option<Copies<'a>>,
    /// Departures from the sandbox contract.
    pub variation: Variation,
    /// Variables that take the place of the contract's, or come in addition.
    /// What the derivation sets itself stays.
    pub environment: BTreeMap<String, String>,
    /// `KILN_JOBS`, if it is not the host's.
    pub jobs: Option<usize>,
    /// Whether a failed build's tree is kept.
    pub keep_failed: bool,
}

/// Inputs as copies.
#[derive(Clone, Copy)]
pub struct Copies<'a> {
    /// Among whose scratch directories the copies lie.
    pub at: &'a Store,
    /// In which order entries are made.
    pub order: Order,
    /// Also copy what is executed, not only what is read.
    pub executed: bool,
}

impl<'a> Setting<'a> {
    /// That of an ordinary build.
    pub fn of(store: &'a Store) -> Self {
        Self {
            scratch: store,
            results: store,
            copies: None,
            variation: Variation::default(),
            environment: BTreeMap::new(),
            jobs: None,
            keep_failed: true,
        }
    }
}
