//! What is to be booted, and in what: plain data.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::derivation::Target;

/// A machine and the image it boots.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the image was built for.
    pub target: Target,
    /// A materialised build root. It MUST hold `/usr/bin/qemu-system-TARGET`
    /// and real, empty directories `/build /dev /in /tmp`.
    pub emulator_root: PathBuf,
    /// How bubblewrap is started.
    pub bubblewrap: Bubblewrap,
    /// The kernel: bzImage or vmlinux for x86_64, Image for aarch64.
    pub kernel: PathBuf,
    /// Where the guest's root file system is.
    pub disk: Disk,
    /// The kernel's command line, the image's `console=` included.
    pub cmdline: String,
    /// Memory of the guest; MUST NOT be 0.
    pub memory_mib: u32,
    /// Processors of the guest; MUST NOT be 0.
    pub cpus: u32,
    /// Whether the host's own processor runs the guest.
    pub accel: Accel,
    /// An existing directory for what the guest writes to its disk. A new one
    /// is made in it and removed at the end. With [`Bubblewrap::host_user`],
    /// that user MUST be able to pass through it.
    pub scratch: PathBuf,
}

/// How bubblewrap is started: from the host, or pinned, through its own loader.
#[derive(Debug, Clone)]
pub struct Bubblewrap {
    /// What is executed, an absolute path.
    pub program: PathBuf,
    /// Its name, and what else precedes bubblewrap's options.
    pub prefix: Vec<OsString>,
    /// The uid and gid it is started as. MUST be given, non-zero and used by
    /// nothing else when the caller is root; MUST be `None` otherwise. All
    /// files of the [`Machine`] MUST be readable by it.
    pub host_user: Option<(u32, u32)>,
}

/// Where the guest's root file system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// In an archive that the kernel unpacks into memory.
    Initramfs(PathBuf),
    /// On a disk. What the guest writes to it is thrown away at the end.
    Disk {
        /// The raw image.
        image: PathBuf,
        /// The kernel's name for its file system, such as `ext4`.
        file_system: String,
    },
}

/// What is asked for: whether the host's own processor runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accel {
    /// The emulator translates; works everywhere.
    Tcg,
    /// The processor runs the guest, or it is an error.
    Kvm,
    /// The processor, if a probe boots with it.
    #[default]
    Auto,
}

/// What runs the guest's instructions in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The emulator.
    Tcg,
    /// The host's processor.
    Kvm,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::Tcg => "tcg",
            Engine::Kvm => "kvm",
        })
    }
}
