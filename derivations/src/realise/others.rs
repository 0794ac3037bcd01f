//! Those who built before, and share it: what they claim, and their bytes.
//!
//! The seam between the executor and caches. Whose claims are believed is the
//! implementation's to judge ([`kiln_store::trust::policy`]).

use std::collections::BTreeMap;
use std::time::Instant;

use kiln_store::realisation::OutputMap;

use super::plan::{Asked, Claim};
use crate::build::error::BuildError;
use crate::cancel::Cancel;
use crate::event::{Event, Listener, Subject};

/// Those who built before, and share it.
pub trait Others: Sync {
    /// What they claim about each of `asked`, as far as it is to be believed.
    fn claimed(&self, asked: &[Asked<'_>]) -> Result<Vec<Option<Claim>>, BuildError>;

    /// Gets all bytes of `outputs`, verified; they are durable on return, and
    /// the claim is recorded.
    fn pull(&self, pull: &Pull<'_>) -> Result<Pulled, PullError>;

    /// Records, durably, every claim that was believed.
    fn keep_claims(&self) -> Result<(), BuildError>;
}

/// What is to be had from others.
pub struct Pull<'a> {
    /// Which derivation.
    pub subject: Subject,
    /// What was claimed that it makes.
    pub outputs: &'a OutputMap,
    /// Who is told how far it is.
    pub listener: &'a dyn Listener,
    /// Set when nobody wants it any more.
    pub cancel: &'a Cancel,
}

/// What was had from others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pulled {
    /// From where.
    pub from: String,
    /// Bytes that were transferred.
    pub bytes: u64,
}

/// Why others' bytes could not be had.
#[derive(Clone, Debug)]
pub enum PullError {
    /// They do not have what they claim, or it is not what it should be: it can
    /// be built instead.
    Gone(String),
    /// This machine failed.
    Own(BuildError),
}

/// Pulls, and tells what came of it.
pub(super) fn pulled(others: &dyn Others, pull: &Pull<'_>) -> Result<Pulled, PullError> {
    let start = Instant::now();
    let result = others.pull(pull);
    let derivation = pull.subject.clone();
    match &result {
        Ok(Pulled { from, bytes }) => pull.listener.event(&Event::Pulled {
            derivation,
            from: from.clone(),
            outputs: pull.outputs.iter().cloned().collect::<BTreeMap<_, _>>(),
            bytes: *bytes,
            wall_s: start.elapsed().as_secs_f64(),
        }),
        Err(PullError::Gone(why)) => pull.listener.event(&Event::PullFailed {
            derivation,
            why: why.clone(),
        }),
        Err(PullError::Own(_)) => {}
    }
    result
}
