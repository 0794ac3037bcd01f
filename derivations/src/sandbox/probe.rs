//! Whether a bubblewrap works on this host, and if not, what to do about it.
//!
//! Options are asked for by name and then tried, since a version says neither
//! what a distribution patched in nor what the kernel allows.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bwrap::Bwrap;
use super::cancel::CancelToken;
use super::command;
use super::emulation::NoEmulation;
use super::error::SandboxError;
use super::launch::Job;
use super::request::{Emulator, Exit, HostUser, Limits};
use super::seccomp::Architecture;
use super::supervise::supervise;
use super::variation::Variation;

/// A bubblewrap that was seen to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Works {
    /// What it calls itself, as `bubblewrap 0.8.0`.
    pub version: String,
}

/// What a host lacks for a sandbox. [`Lack::remedy`] says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The program cannot be started.
    Unusable {
        /// Which one.
        program: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is too old, or was built without something.
    Options {
        /// Which one.
        program: PathBuf,
        /// The options that its `--help` does not name.
        missing: Vec<&'static str>,
    },
    /// A setting of the kernel forbids user namespaces.
    Sysctl {
        /// Its name.
        name: &'static str,
        /// Its present value.
        value: String,
        /// A value that allows them.
        needed: &'static str,
    },
    /// AppArmor lets only programs with a profile make user namespaces.
    AppArmor {
        /// The program that needs one.
        program: PathBuf,
    },
    /// An emulator cannot be registered in a sandbox.
    Emulation(NoEmulation),
    /// The trial failed for a reason that no setting explains.
    Trial {
        /// bubblewrap's message.
        message: String,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Unusable { program, reason } => {
                write!(f, "{} cannot be started: {reason}", program.display())
            }
            Lack::Options { program, missing } => {
                write!(f, "{} lacks {}", program.display(), missing.join(", "))
            }
            Lack::Sysctl { name, value, .. } => {
                write!(f, "the kernel forbids user namespaces: {name} is {value}")
            }
            Lack::AppArmor { program } => {
                let program = program.display();
                write!(
                    f,
                    "AppArmor forbids user namespaces, and {program} has no profile"
                )
            }
            Lack::Emulation(lack) => {
                write!(f, "builders of another platform cannot run here: {lack}")
            }
            Lack::Trial { message } => write!(f, "a trial sandbox failed: {message}"),
        }
    }
}

impl Lack {
    /// What to do, to be shown as it is.
    pub fn remedy(&self) -> String {
        match self {
            Lack::Unusable { .. } | Lack::Options { .. } => {
                "nothing needs to be done: kiln uses its pinned bubblewrap instead".into()
            }
            Lack::Sysctl { name, needed, .. } => format!(
                "as root: sysctl -w {name}={needed} && echo {name}={needed} > /etc/sysctl.d/60-kiln.conf"
            ),
            Lack::AppArmor { program } => apparmor_remedy(program),
            Lack::Emulation(lack) => lack.remedy().into(),
            Lack::Trial { message } => trial_remedy(message).into(),
        }
    }
}

fn apparmor_remedy(program: &Path) -> String {
    let program = program.display();
    format!(
        "as root, install the distribution's bubblewrap, write this to /etc/apparmor.d/kiln-bwrap:\n\
         \n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         profile kiln-bwrap {program} flags=(unconfined) {{\n\
         \x20 userns,\n\
         \x20 include if exists <local/kiln-bwrap>\n\
         }}\n\
         \n\
         and load it: apparmor_parser -r /etc/apparmor.d/kiln-bwrap\n\
         (or allow it to every program: sysctl -w {APPARMOR}=0)"
    )
}

fn trial_remedy(message: &str) -> &'static str {
    if message.contains("mount proc") {
        "/proc is partly covered, as in a container: start the container with an uncovered one \
         (docker: --security-opt systempaths=unconfined)"
    } else if message.contains("amespace") {
        "making namespaces is forbidden here, as in a container: allow it there \
         (docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
    } else {
        "the message is bubblewrap's; kiln never builds without a sandbox"
    }
}

const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// Asks `bwrap` for every option that is needed and runs a trial sandbox, as
/// `user` if given (see [`super::SandboxRequest::host_user`]).
pub fn check(bwrap: &Bwrap, user: Option<HostUser>) -> Result<Works, Lack> {
    let program = bwrap.program().to_path_buf();
    let missing = missing_options(bwrap).map_err(|error| Lack::Unusable {
        program: program.clone(),
        reason: error.to_string(),
    })?;
    if !missing.is_empty() {
        return Err(Lack::Options { program, missing });
    }
    let read = |name: &str| fs::read_to_string(sysctl_path(name)).ok();
    trial(bwrap, user, None).map_err(|failure| match failure {
        Failure::Said(message) => explain(message, program, read),
        Failure::Emulation(lack) => Lack::Emulation(lack),
    })
}

/// Whether builders of another platform could run in sandboxes of a `bwrap`
/// that [`check`] found to work: registers an emulator in one. No program of
/// that platform is run, so any program does for `interpreter`.
pub fn check_emulation(
    bwrap: &Bwrap,
    user: Option<HostUser>,
    interpreter: &Path,
) -> Result<(), Lack> {
    let emulator = Emulator {
        architecture: match Architecture::NATIVE {
            Some(Architecture::X86_64) => Architecture::Aarch64,
            _ => Architecture::X86_64,
        },
        interpreter: interpreter.into(),
        resident: None,
    };
    match trial(bwrap, user, Some(&emulator)) {
        Ok(_) => Ok(()),
        Err(Failure::Emulation(lack)) => Err(Lack::Emulation(lack)),
        Err(Failure::Said(message)) => Err(Lack::Trial { message }),
    }
}

fn missing_options(bwrap: &Bwrap) -> io::Result<Vec<&'static str>> {
    let (name, words) = (&bwrap.prefix()[0], &bwrap.prefix()[1..]);
    let mut help = Command::new(bwrap.program());
    let output = help
        .arg0(name)
        .args(words)
        .arg("--help")
        .env_clear()
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(not_named_in(&text))
}

fn not_named_in(help: &str) -> Vec<&'static str> {
    let named: Vec<_> = help.split_whitespace().collect();
    command::OPTIONS
        .iter()
        .copied()
        .filter(|option| !named.contains(option))
        .collect()
}

/// Why a trial failed.
enum Failure {
    Emulation(NoEmulation),
    /// The message.
    Said(String),
}

/// bubblewrap in bubblewrap: the one program that is certainly there.
fn trial(
    bwrap: &Bwrap,
    user: Option<HostUser>,
    emulator: Option<&Emulator>,
) -> Result<Works, Failure> {
    let mut argv: Vec<OsString> = vec![bwrap.program().into()];
    argv.extend_from_slice(&bwrap.prefix()[1..]);
    argv.push("--version".into());
    // It sees the host's own /tmp, whose contents are not its memory.
    let limits = Limits {
        wall_s: 20,
        memory_bytes: 1 << 62,
        ..Limits::default()
    };
    let job = Job {
        bwrap,
        options: command::nul_terminated(command::trial_options()),
        argv: &argv,
        limits: &limits,
        user,
        terminal: None,
        variation: &Variation::default(),
        emulator,
        resident: Vec::new(),
        directories: &[],
    };
    let mut said = Vec::new();
    let mut output = |bytes: &[u8]| {
        said.extend_from_slice(bytes);
        Ok(())
    };
    let cancel = CancelToken::new().map_err(|error| Failure::Said(error.to_string()))?;
    let outcome = supervise(&job, &mut output, &cancel).map_err(|error| match error {
        SandboxError::Emulation(lack) => Failure::Emulation(lack),
        error => Failure::Said(chain(&error)),
    })?;
    let said = String::from_utf8_lossy(&said).trim().to_string();
    match outcome.exit {
        Exit::Success => Ok(Works { version: said }),
        Exit::Setup(message) => Err(Failure::Said(message)),
        other => Err(Failure::Said(format!("{other:?}: {said}"))),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// The setting that is to blame, if one is.
fn explain(message: String, program: PathBuf, read: impl Fn(&str) -> Option<String>) -> Lack {
    let value = |name: &str| read(name).map(|text| text.trim().to_string());
    for (name, needed) in [
        ("user.max_user_namespaces", "15000"),
        ("kernel.unprivileged_userns_clone", "1"),
    ] {
        if let Some(value) = value(name).filter(|value| value == "0") {
            return Lack::Sysctl {
                name,
                value,
                needed,
            };
        }
    }
    if value(APPARMOR).is_some_and(|value| value == "1") {
        return Lack::AppArmor { program };
    }
    Lack::Trial { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(settings: &[(&str, &str)]) -> Lack {
        let read = |name: &str| {
            let found = settings.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| format!("{value}\n"))
        };
        explain("bwrap: No".into(), "/usr/bin/bwrap".into(), read)
    }

    #[test]
    fn a_failed_trial_names_the_setting_to_blame() {
        let none = [("user.max_user_namespaces", "0")];
        assert!(
            explained(&none)
                .remedy()
                .contains("sysctl -w user.max_user_namespaces=15000")
        );
        let debian = [("kernel.unprivileged_userns_clone", "0")];
        assert!(
            explained(&debian)
                .remedy()
                .contains("kernel.unprivileged_userns_clone=1")
        );
        let ubuntu = [(APPARMOR, "1"), ("user.max_user_namespaces", "96000")];
        let remedy = explained(&ubuntu).remedy();
        assert!(
            remedy.contains("profile kiln-bwrap /usr/bin/bwrap flags=(unconfined) {\n  userns,")
        );
        let unknown = [(APPARMOR, "0"), ("user.max_user_namespaces", "96000")];
        assert_eq!(
            explained(&unknown),
            Lack::Trial {
                message: "bwrap: No".into()
            }
        );
    }

    #[test]
    fn an_option_counts_only_as_a_whole_word() {
        let all = command::OPTIONS.join(" FD   text\n  ");
        assert_eq!(not_named_in(&all), Vec::<&str>::new());
        let older = all.replace("--disable-userns", "--disable-userns-try");
        assert_eq!(not_named_in(&older), ["--disable-userns"]);
    }
}
