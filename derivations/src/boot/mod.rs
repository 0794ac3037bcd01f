//! Boots a built image in a pinned emulator.
//!
//! QEMU runs from its own materialised root inside bubblewrap: no network, no
//! file of the host but the image's, which are read-only. Its standard input
//! and output are the guest's serial console. Everything dies with the calling
//! thread, and nothing runs any more when a function returns.
//!
//! Enter at [`choose`] for the engine, then [`interact`] (a user at a terminal),
//! [`feed`] (a pipe) or [`check`] (nobody). `command` builds the command lines,
//! `guest` is the process, `session` the one loop that watches it.
//!
//! The module knows no store, no manifest and no derivation: paths come in.
//! It handles no signals: when one comes, the caller's [`Cancel`] has to say so,
//! and the guest is then ended and the terminal given back.

mod accel;
mod check;
mod command;
mod console;
mod error;
mod escape;
mod feed;
mod guest;
mod machine;
mod session;
mod terminal;
mod watch;

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use tempfile::TempDir;

pub use accel::{Choice, choose};
pub use check::{Check, CheckReport, Seen};
pub use console::Up;
pub use error::BootError;
pub use escape::LEAVE;
pub use machine::{Accel, Bubblewrap, Disk, Engine, Machine};
pub use session::End;

use command::Part;
use error::Doing;
use guest::Guest;

/// Asked several times a second whether the run is cancelled.
pub type Cancel<'a> = &'a dyn Fn() -> bool;

/// Whether `/dev/kvm` opens; that a guest boots with it, only a probe tells.
pub fn kvm_device() -> std::io::Result<()> {
    accel::open_kvm().map(drop)
}

/// How a guest ended, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// From the emulator's start until all of it was gone.
    pub elapsed: Duration,
}

/// Boots with a user at `terminal`, which is set to raw mode meanwhile; the
/// console is shown on `screen`. The caller says beforehand that [`LEAVE`] leaves.
pub fn interact(
    machine: &Machine,
    engine: Engine,
    terminal: BorrowedFd<'_>,
    screen: &mut dyn Write,
    cancel: Cancel<'_>,
) -> Result<Ended, BootError> {
    let started = Instant::now();
    let guest = start(machine, engine, Part::Whole)?;
    let end = console::interact(guest, terminal, screen, cancel)?;
    Ok(Ended {
        end,
        elapsed: started.elapsed(),
    })
}

/// Boots and, once the guest is `up`, types what `input` gives, and Ctrl-D at
/// its end. A console is a terminal: in a shell that edits its line a tab
/// completes, and of a line only 4095 bytes count.
pub fn feed(
    machine: &Machine,
    engine: Engine,
    input: BorrowedFd<'_>,
    up: &Up,
    screen: &mut dyn Write,
    cancel: Cancel<'_>,
) -> Result<Ended, BootError> {
    let started = Instant::now();
    let guest = start(machine, engine, Part::Whole)?;
    let end = console::feed(guest, input, up, screen, cancel)?;
    Ok(Ended {
        end,
        elapsed: started.elapsed(),
    })
}

/// Boots and checks what the console shows. A guest that fails the check is a
/// report, not an error.
pub fn check(
    machine: &Machine,
    engine: Engine,
    check: &Check,
    cancel: Cancel<'_>,
) -> Result<CheckReport, BootError> {
    let started = Instant::now();
    let guest = start(machine, engine, Part::Whole)?;
    check::check(guest, check, started, cancel)
}

fn start(machine: &Machine, engine: Engine, part: Part) -> Result<Guest, BootError> {
    let host_user = machine.bubblewrap.host_user;
    check_host_user(host_user)?;
    check_root(machine)?;
    let scratch = scratch(&machine.scratch, host_user)?;
    let kvm = match engine {
        Engine::Tcg => None,
        Engine::Kvm => Some(accel::open_kvm().doing("opening /dev/kvm")?.into()),
    };
    let raw = kvm.as_ref().map(std::os::fd::AsRawFd::as_raw_fd);
    let words = command::words(machine, part, raw, scratch.path());
    let mut command = Command::new(&machine.bubblewrap.program);
    if let Some((name, arguments)) = words.split_first() {
        command.arg0(name).args(arguments);
    }
    command.env_clear().current_dir("/");
    if let Some((uid, gid)) = host_user {
        command.uid(uid).gid(gid);
    }
    Guest::start(command, kvm, Some(scratch))
}

fn check_host_user(host_user: Option<(u32, u32)>) -> Result<(), BootError> {
    let root = rustix::process::geteuid().is_root();
    match host_user {
        Some((uid, gid)) if root && uid != 0 && gid != 0 => Ok(()),
        None if !root => Ok(()),
        _ => Err(BootError::HostUser),
    }
}

/// bubblewrap would create missing mount points, and follow links, in the store.
fn check_root(machine: &Machine) -> Result<(), BootError> {
    let root = &machine.emulator_root;
    let missing = |path: &Path| BootError::Root {
        root: root.clone(),
        missing: path.into(),
    };
    for place in command::MOUNT_POINTS {
        match root.join(place).symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            _ => return Err(missing(&Path::new("/").join(place))),
        }
    }
    let emulator = command::emulator(machine.target);
    let within = emulator.strip_prefix("/").unwrap_or(&emulator);
    if root.join(within).is_file() {
        Ok(())
    } else {
        Err(missing(&emulator))
    }
}

fn scratch(parent: &Path, host_user: Option<(u32, u32)>) -> Result<TempDir, BootError> {
    let scratch = tempfile::Builder::new()
        .prefix("boot-")
        .tempdir_in(parent)
        .doing("making a directory for the guest's disk")?;
    if let Some((uid, gid)) = host_user {
        std::os::unix::fs::chown(scratch.path(), Some(uid), Some(gid))
            .doing("giving the guest's directory to its user")?;
    }
    Ok(scratch)
}

#[cfg(test)]
mod tests;
