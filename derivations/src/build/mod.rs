//! Builders: what is done to make a derivation's outputs.
//!
//! - [`error`]: how a builder fails.
//! - [`capture`]: what is done to a script's output after it was captured.
//!
//! A builder gets a [`Job`] and knows nothing of the graph it stands in.

pub mod capture;
pub mod error;

use kiln_store::realisation::{OutputMap, Realisation};

use crate::cancel::Cancel;
use crate::derivation::resolve::{Keys, ResolvedInput, contract};
use crate::derivation::{Builder, Derivation};
use crate::event::{Listener, Subject};

/// What a builder is given.
pub struct Job<'a> {
    /// What to build.
    pub derivation: &'a Derivation,
    /// Its keys.
    pub keys: Keys,
    /// The content of its inputs, in the derivation's order.
    pub inputs: Vec<ResolvedInput>,
    /// The names of its inputs, in the same order.
    pub layers: Vec<String>,
    /// How events name it.
    pub subject: Subject,
    /// Who hears of its progress.
    pub listener: &'a dyn Listener,
    /// Who may ask it to stop.
    pub cancel: &'a Cancel,
}

/// What a builder made.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// Its outputs, sorted by name, all in the store.
    pub outputs: OutputMap,
    /// What the host let it see, sorted by name.
    pub facts: Vec<(String, String)>,
    /// CPU time of its processes in seconds.
    pub cpu_s: f64,
    /// Bytes it downloaded.
    pub fetched_bytes: u64,
    /// Whether it was not built at all, since another process just had.
    pub found: bool,
}

impl Built {
    /// What another process had built when this one came to it.
    pub fn found(outputs: OutputMap) -> Self {
        Self {
            outputs,
            found: true,
            ..Self::default()
        }
    }

    /// The claim that `job` gave this.
    pub fn realisation(&self, job: &Job<'_>) -> Realisation {
        let build_platform = match &job.derivation.builder {
            Builder::Exec(exec) => exec.platform.platform(),
            _ => "any".to_owned(),
        };
        Realisation {
            recipe: job.keys.recipe,
            action: job.keys.action,
            outputs: self.outputs.clone(),
            build_platform,
            contract: contract(job.derivation),
            facts: self.facts.clone(),
            key: None,
        }
    }
}
