//! Builders: what is done to make a derivation's outputs.
//!
//! - `fetch`: pinned files and archives.
//! - [`exec`]: scripts in the sandbox, with their `environment`, their [`log`],
//!   and what is done to their output afterwards, in [`capture`].
//!   [`setting`] is where and how they run.
//! - `builtin`: local files, compositions, root file systems, archives.
//! - [`error`]: how a builder fails.
//!
//! A builder gets a [`Job`] and knows nothing of the graph it stands in.

pub(crate) mod builtin;
pub mod capture;
mod environment;
pub mod error;
pub mod exec;
pub(crate) mod fetch;
pub mod log;
pub mod setting;

use kiln_store::error::StoreError;
use kiln_store::objects::ObjectError;
use kiln_store::realisation::{OutputMap, Realisation};

use crate::cancel::Cancel;
use crate::derivation::resolve::{Keys, ResolvedInput, contract};
use crate::derivation::{Builder, Derivation};
use crate::event::{Listener, Subject};

use error::{BuildError, FailureClass};

/// What a builder is given.
pub struct Job<'a> {
    /// What to build.
    pub derivation: &'a Derivation,
    /// Its keys.
    pub keys: Keys,
    /// The content of its inputs, in the derivation's order.
    pub inputs: Vec<ResolvedInput>,
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

/// A failure of the store.
pub(crate) fn store_error(error: StoreError) -> BuildError {
    let class = match error.is_disk_full() {
        true => FailureClass::DiskFull,
        false => FailureClass::Machine,
    };
    BuildError::new(class, error.to_string())
}

/// A failure of the store while objects were read or written.
pub(crate) fn object_error(error: &ObjectError) -> BuildError {
    let class = match error.is_disk_full() {
        true => FailureClass::DiskFull,
        false => FailureClass::Machine,
    };
    BuildError::new(class, error.to_string())
}
