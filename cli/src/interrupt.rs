//! Ctrl-C and SIGTERM: the first asks everything to stop, the second ends kiln
//! at once (a sandbox dies with it).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_derivations::cancel::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::CliError;
use crate::exit::ExitStatus;

/// Installs the handlers and returns what they set.
pub fn install() -> Result<Cancel, CliError> {
    let failed = |error| CliError::machine(format!("installing signal handlers: {error}"));
    let cancel = Cancel::new().map_err(failed)?;
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let status = ExitStatus::Interrupted as i32;
        // Order matters: what ends kiln looks at the flag before it is set.
        signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&again))
            .map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&again)).map_err(failed)?;
        let cancel = cancel.clone();
        // SAFETY: a store and one write(2), both async-signal-safe.
        unsafe { signal_hook::low_level::register(signal, move || cancel.cancel()) }
            .map_err(failed)?;
    }
    Ok(cancel)
}
