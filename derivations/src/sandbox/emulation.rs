//! Programs of another architecture, by an emulator that only the sandbox knows.
//!
//! The kernel's binfmt_misc starts a program's emulator from the program's first
//! bytes. Since Linux 6.7 every user namespace can have its own list of
//! emulators, so the one of a sandbox is registered in the user namespace that
//! is around it ([`super::spawn`]), and the host's list is neither read nor
//! changed: the kernel asks the innermost namespace that has a list, and that
//! one alone.
//!
//! The emulator is no boundary. What runs in it can leave it for code of the
//! machine's own, and has then what every builder has: the filter, the
//! namespaces and the limits are the same.

use std::ffi::CString;
use std::fs;
use std::io;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use super::bwrap::sealed_copy;
use super::request::{Emulator, SandboxRequest};
use super::resident;
use super::seccomp::Architecture;
use super::spawn::MAPPING;

/// The steps of the child that only an emulator needs.
pub(super) mod step {
    pub(crate) const NAMESPACES: &str = "making a user namespace for the emulator";
    pub(crate) const PRIVATE: &str = "making the mounts private";
    pub(crate) const KIND: &str = "asking for binfmt_misc";
    pub(crate) const MOUNT: &str = "mounting binfmt_misc";
    pub(crate) const REGISTER: &str = "registering the emulator";
    pub(crate) const ATTACH: &str = "keeping binfmt_misc mounted";
}

/// Programs of another architecture, and what starts them: ready to be registered.
pub(super) struct Handler {
    program: OwnedFd,
    programs: Programs,
}

/// What a handler is for.
enum Programs {
    /// Every program of an architecture.
    All(Architecture),
    /// The resident programs that start like this.
    Resident(Vec<resident::Head>),
}

impl Handler {
    /// Opens an emulator, and what stands in for its resident programs, which start
    /// with `heads`: sealed copies, for the reason that [`super::Bwrap`] has one. A
    /// builder can open them as `/proc/PID/exe`. The kernel asks the one that was
    /// registered last first.
    pub(super) fn all(emulator: &Emulator, heads: &[resident::Head]) -> io::Result<Vec<Handler>> {
        let mut handlers = vec![Handler {
            program: sealed_copy(&emulator.interpreter, "emulator")?,
            programs: Programs::All(emulator.architecture),
        }];
        if let (Some(resident), [_, ..]) = (&emulator.resident, heads) {
            handlers.push(Handler {
                program: resident::client(resident, &emulator.interpreter)?,
                programs: Programs::Resident(heads.to_vec()),
            });
        }
        Ok(handlers)
    }

    pub(super) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// What is written to `register`, a line at a time, by a process in which
    /// the program is open as `descriptor`.
    pub(super) fn registrations(&self, descriptor: RawFd) -> Vec<CString> {
        let interpreter = format!("/proc/self/fd/{descriptor}");
        let lines = match &self.programs {
            Programs::All(architecture) => vec![line(*architecture, &interpreter)],
            Programs::Resident(heads) => heads
                .iter()
                .enumerate()
                .map(|(index, head)| {
                    let name = format!("resident-{index}");
                    registration(&name, head, &[0xff; resident::HEAD], &interpreter)
                })
                .collect(),
        };
        lines
            .into_iter()
            .map(|line| CString::new(line).expect("neither numbers nor constants hold NUL"))
            .collect()
    }
}

/// How the resident programs start that a sandbox has.
pub(super) fn resident_heads(request: &SandboxRequest) -> Vec<resident::Head> {
    let Some(emulator) = &request.emulator else {
        return Vec::new();
    };
    let Some(resident) = &emulator.resident else {
        return Vec::new();
    };
    let mounts = request.mounts.iter().map(|mount| mount.source.as_path());
    let sources = iter::once(request.root.as_path()).chain(mounts);
    let mut heads = resident::heads(resident, sources);
    heads.retain(|head| is_of(emulator.architecture, head));
    heads
}

fn is_of(architecture: Architecture, head: &resident::Head) -> bool {
    let wanted = elf_head(architecture);
    let mut bytes = head.iter().zip(wanted).zip(MASK);
    bytes.all(|((have, want), mask)| have & mask == want & mask)
}

/// `:name:M:offset:magic:mask:interpreter:flags`. The flags:
///
/// - `F` opens the emulator now. Inside there is no path to it, and none shows.
/// - `P` keeps `argv[0]`, which would else become the program's path; programs
///   that look at it behave as they do on their own machine.
/// - `O` hands over the opened program, so that one that may be executed but
///   not read runs, as it does there.
/// - `C`, which takes the ids of a setuid program, is left out: nothing is
///   setuid in a sandbox.
fn line(architecture: Architecture, interpreter: &str) -> String {
    registration("kiln", &elf_head(architecture), &MASK, interpreter)
}

fn registration(name: &str, magic: &[u8], mask: &[u8], interpreter: &str) -> String {
    let (magic, mask) = (escaped(magic), escaped(mask));
    format!(":{name}:M::{magic}:{mask}:{interpreter}:OPF")
}

/// How an executable of an architecture starts: 64 bits, little endian, ELF
/// version 1, any ABI, ET_EXEC, the machine.
fn elf_head(architecture: Architecture) -> [u8; 20] {
    let machine = match architecture {
        Architecture::X86_64 => 62,
        Architecture::Aarch64 => 183,
    };
    let mut head = [0; 20];
    head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    head[16] = 2;
    head[18] = machine;
    head
}

/// What of [`elf_head`] is compared: not the ABI, and ET_DYN is as good.
const MASK: [u8; 20] = {
    let mut mask = [0xff; 20];
    mask[7] = 0;
    mask[16] = 0xfe;
    mask
};

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// Why programs of another architecture cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEmulation {
    /// Linux before 6.7.
    #[error(
        "Linux {release} lets no sandbox have an emulator of its own (binfmt_misc in user \
         namespaces), 6.7 is the first that does"
    )]
    Kernel {
        /// As `uname -r`.
        release: String,
    },
    /// A kernel without binfmt_misc, or its module is not loaded.
    #[error("this kernel has no binfmt_misc")]
    Missing,
    /// AppArmor lets only programs with a profile use user namespaces.
    #[error("AppArmor keeps kiln from using a user namespace ({step}: {reason})")]
    AppArmor {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// kiln may make no user namespace.
    #[error("kiln may make no user namespace here ({step}: {reason})")]
    Namespace {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// Something that no setting explains.
    #[error("{step}: {reason}")]
    Other {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
}

impl NoEmulation {
    /// What to do, to be shown as it is.
    pub fn remedy(&self) -> &'static str {
        match self {
            NoEmulation::Kernel { .. } => {
                "boot a newer kernel, or build on a machine of that platform"
            }
            NoEmulation::Missing => {
                "as root: modprobe binfmt_misc && echo binfmt_misc > \
                 /etc/modules-load.d/kiln.conf; or boot a kernel with CONFIG_BINFMT_MISC"
            }
            NoEmulation::AppArmor { .. } => {
                "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; or give the \
                 kiln program itself a profile with `userns,`"
            }
            NoEmulation::Namespace { .. } => {
                "as root: sysctl -w user.max_user_namespaces=15000; in a container, allow \
                 namespaces and mounts there (docker: --security-opt seccomp=unconfined \
                 --security-opt apparmor=unconfined)"
            }
            NoEmulation::Other { .. } => "build on a machine of that platform",
        }
    }
}

/// What a failed step of an emulated sandbox's start means; `None` if it has
/// nothing to do with the emulator.
pub(super) fn explain(failed: &str, error: &io::Error) -> Option<NoEmulation> {
    let apparmor = fs::read_to_string(RESTRICTED).is_ok_and(|value| value.trim() == "1");
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    meaning(failed, error, &release, apparmor)
}

const RESTRICTED: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

fn meaning(failed: &str, error: &io::Error, release: &str, apparmor: bool) -> Option<NoEmulation> {
    const STEPS: [&str; 7] = [
        "clone",
        step::NAMESPACES,
        step::PRIVATE,
        step::KIND,
        step::MOUNT,
        step::REGISTER,
        step::ATTACH,
    ];
    let step = STEPS
        .into_iter()
        .chain([MAPPING])
        .find(|it| *it == failed)?;
    let reason = error.to_string();
    let refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
    Some(match error.raw_os_error() {
        Some(libc::ENODEV) if step == step::KIND => NoEmulation::Missing,
        _ if step == step::MOUNT && refused && is_before(release, (6, 7)) => NoEmulation::Kernel {
            release: release.to_owned(),
        },
        _ if refused && apparmor => NoEmulation::AppArmor { step, reason },
        _ if ["clone", MAPPING, step::NAMESPACES, step::PRIVATE].contains(&step) => {
            NoEmulation::Namespace { step, reason }
        }
        _ => NoEmulation::Other { step, reason },
    })
}

fn is_before(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|text| text.parse::<u32>().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) < wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_the_kernel_reads() {
        let head = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00";
        let mask =
            r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
        for (architecture, machine) in [
            (Architecture::Aarch64, r"\xb7\x00"),
            (Architecture::X86_64, r"\x3e\x00"),
        ] {
            assert_eq!(
                line(architecture, "/proc/self/fd/9"),
                format!(":kiln:M::{head}{machine}:{mask}:/proc/self/fd/9:OPF")
            );
        }
    }

    #[test]
    fn a_refusal_names_what_is_missing() {
        let means = |step, errno, release, apparmor| {
            meaning(
                step,
                &io::Error::from_raw_os_error(errno),
                release,
                apparmor,
            )
            .unwrap()
        };
        let old = means(step::MOUNT, libc::EPERM, "6.1.0-49-amd64", false);
        assert!(matches!(&old, NoEmulation::Kernel { release } if release == "6.1.0-49-amd64"));
        assert!(old.to_string().contains("6.7"));
        assert_eq!(
            means(step::KIND, libc::ENODEV, "6.12", false),
            NoEmulation::Missing
        );
        let ubuntu = means(step::MOUNT, libc::EACCES, "6.8.0-31-generic", true);
        assert!(
            ubuntu
                .remedy()
                .contains("apparmor_restrict_unprivileged_userns=0")
        );
        let none = means("clone", libc::ENOSPC, "6.12", false);
        assert!(none.remedy().contains("user.max_user_namespaces"));
        let other = io::Error::from_raw_os_error(libc::EPERM);
        assert_eq!(meaning("setsid", &other, "6.12", false), None);
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(is_before("6.6.99", (6, 7)) && is_before("5.10.0-9", (6, 7)));
        assert!(!is_before("6.7", (6, 7)) && !is_before("6.18.44-x", (6, 7)));
        assert!(!is_before("7.0-rc1", (6, 7)) && !is_before("none", (6, 7)));
    }
}
