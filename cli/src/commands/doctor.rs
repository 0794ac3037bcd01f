//! `kiln doctor`.

use std::env;

use kiln_derivations::boot;
use kiln_derivations::fetch::FetchConfig;
use kiln_derivations::sandbox;
use serde::Serialize;

use crate::args::{DoctorArgs, RealiseArgs};
use crate::context::{self, Context};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::output;
use crate::workshop::{Workshop, host_sandbox};

/// How one thing stands.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    /// `ok`, `note` (works, but could be better) or `broken`.
    state: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Findings {
    findings: Vec<Finding>,
}

/// Looks at everything that kiln needs of a machine.
pub fn run(context: &Context, _args: &DoctorArgs) -> Result<(), CliError> {
    let findings = vec![
        store(context),
        sandbox_here(context),
        limits(),
        archives(context),
        acceleration(),
    ];
    let broken = findings.iter().any(|finding| finding.state == "broken");
    if context.global.json {
        output::json(Findings { findings })?;
    } else {
        for finding in &findings {
            output::line(&format!(
                "{:7} {}: {}",
                finding.state, finding.what, finding.text
            ))?;
        }
    }
    match broken {
        true => Err(CliError::Said(ExitStatus::Infrastructure)),
        false => Ok(()),
    }
}

fn finding(what: &'static str, state: &'static str, text: impl Into<String>) -> Finding {
    Finding {
        what,
        state,
        text: text.into(),
    }
}

fn store(context: &Context) -> Finding {
    match context.store() {
        Ok(store) => finding("store", "ok", store.path().display().to_string()),
        Err(error) => finding("store", "broken", with_hint(&error)),
    }
}

fn with_hint(error: &CliError) -> String {
    match error {
        CliError::Plain {
            message,
            hint: Some(hint),
            ..
        } => format!("{message}; {hint}"),
        other => other.to_string(),
    }
}

/// The machine's bubblewrap, or else the pinned one.
fn sandbox_here(context: &Context) -> Finding {
    let user = match context::builder_user() {
        Ok(user) => user.map(|(uid, gid)| sandbox::HostUser { uid, gid }),
        Err(error) => return finding("sandbox", "broken", with_hint(&error)),
    };
    match host_sandbox(user) {
        Ok(found) => finding(
            "sandbox",
            "ok",
            format!(
                "bubblewrap of this machine, {}",
                found.bwrap.program().display()
            ),
        ),
        Err(host) => pinned(context, &host),
    }
}

fn pinned(context: &Context, host: &str) -> Finding {
    let args = RealiseArgs::default();
    let found = context.manifest().and_then(|manifest| {
        let workshop = Workshop::open(context, &args)?;
        let found = workshop.find_sandbox(&manifest);
        found.map_err(|error| CliError::machine(error.message))
    });
    match found {
        Ok(_) => finding("sandbox", "ok", format!("the pinned bubblewrap ({host})")),
        Err(error) => finding(
            "sandbox",
            "broken",
            format!("{host}; {}", with_hint(&error)),
        ),
    }
}

fn limits() -> Finding {
    match sandbox::cgroup_available() {
        Ok(_) => finding("limits", "ok", "held by a delegated cgroup v2"),
        Err(why) => finding(
            "limits",
            "note",
            format!(
                "held by polling, a burst may pass them for milliseconds: no cgroup v2 with \
                 memory and pids is delegated here ({why}); where systemd runs, \
                 `systemd-run --user --scope -p Delegate=yes kiln …` has one"
            ),
        ),
    }
}

fn archives(context: &Context) -> Finding {
    let config = FetchConfig::of_machine(env::temp_dir());
    let mirrors = context
        .manifest()
        .map_or(0, |manifest| manifest.mirrors.debian.len());
    match config.debian_roots.len() + mirrors {
        0 => finding(
            "archives",
            "note",
            "this machine has no apt archives, and the manifest no mirrors: \
             only the dated snapshot archive is left, which is slow; \
             name one: `[mirrors] debian = [\"https://…\"]`",
        ),
        count => finding("archives", "ok", format!("{count} Debian archives")),
    }
}

fn acceleration() -> Finding {
    match boot::kvm_device() {
        Ok(()) => finding(
            "kvm",
            "ok",
            "/dev/kvm opens; `kiln boot` uses it where a probe boots",
        ),
        Err(why) => finding("kvm", "note", format!("guests are emulated ({why})")),
    }
}
