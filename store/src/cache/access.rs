//! With what caches are reached: gathered once, by whoever may look at the
//! environment, and handed down as plain data.

use std::path::PathBuf;

use super::credentials::Credentials;
use super::pace::Pace;
use super::patience::Patience;
use crate::web::{self, Proxies};

/// With what caches are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Who asks.
    pub credentials: Credentials,
    /// Through whom.
    pub proxies: Proxies,
    /// The certificates that the machine trusts, in PEM form; without, those
    /// that kiln was built with.
    pub ca_bundle: Option<PathBuf>,
    /// How long, and how often.
    pub patience: Patience,
    /// How fast.
    pub pace: Pace,
    /// What kiln calls itself.
    pub user_agent: String,
}

impl Access {
    /// Access that knows nothing of the machine: nobody's, and direct.
    pub fn anonymous() -> Self {
        Self {
            credentials: Credentials::none(),
            proxies: Proxies::default(),
            ca_bundle: None,
            patience: Patience::default(),
            pace: Pace::default(),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// What this process's environment says. `SSL_CERT_FILE` names the
    /// certificates; otherwise they are where distributions keep them.
    pub fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            credentials: Credentials::of_environment(),
            proxies: Proxies::of_environment(variable),
            ca_bundle: web::ca_bundle(variable),
            ..Self::anonymous()
        }
    }
}
