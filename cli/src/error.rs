//! What a command ends with when it fails: a message, a hint and an exit status.

use miette::Diagnostic;

use crate::exit::ExitStatus;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A plain message.
    #[error("{message}")]
    Plain {
        /// What happened.
        message: String,
        /// What can be done about it.
        hint: Option<String>,
        /// How kiln ends.
        status: ExitStatus,
    },
    /// A diagnostic with a place in a file of the user's.
    #[error("{0}")]
    Diagnostic(Box<dyn Diagnostic + Send + Sync>, ExitStatus),
    /// Everything was said already; only the status is left.
    #[error("")]
    Said(ExitStatus),
}

impl CliError {
    /// A mistake of the user's.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::plain(ExitStatus::Usage, message)
    }

    /// A failure of this machine.
    pub fn machine(message: impl Into<String>) -> Self {
        Self::plain(ExitStatus::Infrastructure, message)
    }

    /// A message with a status.
    pub fn plain(status: ExitStatus, message: impl Into<String>) -> Self {
        Self::Plain {
            message: message.into(),
            hint: None,
            status,
        }
    }

    /// The same with a hint.
    pub fn with_hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Plain {
                message, status, ..
            } => Self::Plain {
                message,
                hint: Some(text.into()),
                status,
            },
            other => other,
        }
    }

    /// A diagnostic about the manifest or the lock.
    pub fn manifest(diagnostic: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self::Diagnostic(Box::new(diagnostic), ExitStatus::Usage)
    }

    /// How kiln ends.
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Plain { status, .. } | Self::Diagnostic(_, status) | Self::Said(status) => {
                *status
            }
        }
    }
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(&format!(": {next}"));
        }
        cause = error.source();
    }
    text
}

impl From<kiln_store::error::StoreError> for CliError {
    fn from(error: kiln_store::error::StoreError) -> Self {
        Self::machine(chain(&error))
    }
}
