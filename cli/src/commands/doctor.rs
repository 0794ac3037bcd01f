//! `kiln doctor`.

use std::env;

use kiln_derivations::boot;
use kiln_derivations::fetch::FetchConfig;
use kiln_derivations::sandbox::{self, Bwrap, HostUser, probe};
use kiln_store::materialise::Checkout;
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
    let found = sandbox_here(context);
    let findings = vec![
        store(context),
        sandboxes(&found),
        emulation(context, found.ok().as_ref()),
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

/// A sandbox that works, and what is said of it.
struct Found {
    bwrap: Bwrap,
    user: Option<HostUser>,
    /// Where the bubblewrap is from.
    text: String,
    /// Keeps a pinned bubblewrap where it is.
    _root: Option<Checkout>,
}

/// The machine's bubblewrap, or else the pinned one; or what is wrong.
fn sandbox_here(context: &Context) -> Result<Found, String> {
    let user = context::builder_user().map_err(|error| with_hint(&error))?;
    let user = user.map(|(uid, gid)| HostUser { uid, gid });
    let host = match host_sandbox(user) {
        Ok(found) => {
            let program = found.bwrap.program().display();
            return Ok(Found {
                text: format!("bubblewrap of this machine, {program}"),
                bwrap: found.bwrap,
                user,
                _root: None,
            });
        }
        Err(host) => host,
    };
    match pinned(context) {
        Ok((bwrap, root)) => Ok(Found {
            text: format!("the pinned bubblewrap ({host})"),
            bwrap,
            user,
            _root: root,
        }),
        Err(error) => Err(format!("{host}; {}", with_hint(&error))),
    }
}

fn pinned(context: &Context) -> Result<(Bwrap, Option<Checkout>), CliError> {
    let args = RealiseArgs::default();
    let manifest = context.manifest()?;
    let workshop = Workshop::open(context, &args)?;
    let found = workshop.find_sandbox(&manifest);
    let found = found.map_err(|error| CliError::machine(error.message))?;
    Ok((found.bwrap, workshop.into_roots().pop()))
}

fn sandboxes(found: &Result<Found, String>) -> Finding {
    match found {
        Ok(found) => finding("sandbox", "ok", found.text.clone()),
        Err(why) => finding("sandbox", "broken", why.clone()),
    }
}

/// Whether builders of another platform can run here. It is tried with any
/// program as the emulator, so that nothing has to be fetched.
fn emulation(context: &Context, found: Option<&Found>) -> Finding {
    let Some(found) = found else {
        return finding("emulation", "note", "not tried: there is no sandbox");
    };
    let (bwrap, user) = (&found.bwrap, found.user);
    if let Err(lack) = probe::check_emulation(bwrap, user, bwrap.program()) {
        return finding("emulation", "note", format!("{lack}; {}", lack.remedy()));
    }
    let pinned = context.manifest().is_ok_and(|it| it.emulation.is_some());
    match pinned {
        true => finding(
            "emulation",
            "ok",
            "`--build-platform` can be another than the machine's own",
        ),
        false => finding(
            "emulation",
            "note",
            "builders of another platform could run here, but the manifest names no emulator: \
             add `[emulation]` with `root = …`, a seed that has QEMU's static ones",
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
