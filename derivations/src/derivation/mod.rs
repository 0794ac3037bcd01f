//! Derivations: one step of a build, as plain data.
//!
//! - this module: the types.
//! - [`encode`]: what of a derivation is hashed, and in which form.
//! - [`fields`]: the same for people, and by what two derivations differ.
//! - [`resolve`]: from a derivation and its inputs' outputs to the keys K and C.
//!
//! A derivation knows neither the store nor the manifest it came from. What is
//! cosmetic (name, description, URLs, local paths) says so, and is in no key.

pub mod encode;
pub mod fields;
#[cfg(test)]
mod golden;
pub mod resolve;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use kiln_store::hash::{Digest, TreeId};

use crate::graph::DerivationId;

/// A CPU architecture that artefacts run on.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Debug,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm, little endian.
    Aarch64,
}

impl Target {
    /// Every target, in the order in which they are listed to people.
    pub const ALL: [Target; 2] = [Target::X86_64, Target::Aarch64];

    /// Its name in manifests, on the command line and in `KILN_TARGET`.
    pub const fn name(self) -> &'static str {
        match self {
            Target::X86_64 => "x86_64",
            Target::Aarch64 => "aarch64",
        }
    }

    /// Its name as a Debian architecture.
    pub const fn debian(self) -> &'static str {
        match self {
            Target::X86_64 => "amd64",
            Target::Aarch64 => "arm64",
        }
    }

    /// As the place where builders run: `x86_64-linux`.
    pub fn platform(self) -> String {
        format!("{}-linux", self.name())
    }

    /// The machine kiln itself runs on, if it is one that kiln knows.
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown target `{0}`: expected x86_64 or aarch64")]
pub struct UnknownTarget(pub String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        Target::ALL
            .into_iter()
            .find(|target| target.name() == text)
            .ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

/// What an input is to the derivation that uses it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Role {
    /// The build root: mounted at `/`, executed.
    Root,
    /// Executed in the build.
    Tool,
    /// Read into the output.
    Material,
}

impl Role {
    /// Whether the input is executed rather than read.
    pub const fn is_executed(self) -> bool {
        matches!(self, Role::Root | Role::Tool)
    }

    /// Its name in keys and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Tool => "tool",
            Role::Material => "material",
        }
    }
}

/// An edge to another derivation's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Whose output.
    pub derivation: DerivationId,
    /// Which output.
    pub output: String,
    /// What it is used for.
    pub role: Role,
    /// Where a builder finds it: `/src`, `/sysroot`, `/toolchain`, `/in/NAME`
    /// for a script; the layer's name for a composition; `/` for a root.
    pub at: String,
}

/// One step of a build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Derivation {
    /// Its name for people, such as `musl`. Cosmetic.
    pub name: String,
    /// What it is, in a line. Cosmetic.
    pub description: String,
    /// What its artefacts run on; `None` if that does not matter to them.
    pub target: Option<Target>,
    /// The build platform, if the output is executed in builds there. Such an
    /// output legitimately differs between build platforms, so its recipe key
    /// has the platform.
    pub executed_on: Option<Target>,
    /// How it is built.
    pub builder: Builder,
    /// What it is built from. Order counts for a composition.
    pub inputs: Vec<Input>,
    /// The names of its outputs, sorted; `out` where there is one.
    pub outputs: Vec<String>,
}

/// The name of the output of a derivation that has one.
pub const OUT: &str = "out";

/// How a derivation is built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Builder {
    /// Something from elsewhere, pinned by its hash. Only this one has network.
    Fetch(Fetch),
    /// Files of this machine, named by the manifest.
    Local(Local),
    /// Trees merged into one.
    Compose(Compose),
    /// A script in the sandbox.
    Exec(Exec),
    /// Trees, files, devices and users put together as a root file system:
    /// `tree/` and `meta`.
    Rootfs(Rootfs),
    /// A root file system as `rootfs.tar`, owners and devices included.
    Archive,
}

impl Builder {
    /// Its name in keys and reports.
    pub const fn kind(&self) -> &'static str {
        match self {
            Builder::Fetch(_) => "fetch",
            Builder::Local(_) => "local",
            Builder::Compose(_) => "compose",
            Builder::Exec(_) => "exec",
            Builder::Rootfs(_) => "rootfs",
            Builder::Archive => "archive",
        }
    }
}

/// A pinned file or archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Where it may be had, tried in this order: `debian:pool/…`, `https:`,
    /// `http:`, `file:`. Cosmetic: the hash decides.
    pub urls: Vec<String>,
    /// When it was pinned, as `YYYYMMDDTHHMMSSZ`: which day of the dated Debian
    /// snapshot archive still has it. Cosmetic.
    pub first_seen: String,
    /// SHA-256 of the file as it is downloaded, 64 lower-case hex digits; for
    /// [`Unpack::Git`] the 40 or 64 digits of the commit.
    pub hash: String,
    /// Size of the file in bytes; 0 for git.
    pub size_bytes: u64,
    /// What becomes of it.
    pub unpack: Unpack,
}

/// What becomes of a fetched file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unpack {
    /// It is kept as the only file of the output.
    Raw {
        /// Under this name.
        name: String,
    },
    /// It is a tar archive, compressed or not.
    Tar {
        /// How many leading directories are taken off every name.
        strip: u32,
        /// If not empty, only what one of these globs matches is kept.
        keep: Vec<String>,
    },
    /// It is a Debian binary package; its data is unpacked.
    Deb,
    /// It is the tree of a git commit.
    Git,
}

/// Files of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// The tree they make; computed when the manifest is evaluated.
    pub tree: TreeId,
    /// Where they are. Cosmetic; read again, and compared, when the tree is
    /// not in the store.
    pub origin: LocalOrigin,
}

/// Where local files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalOrigin {
    /// Single files under names (which may hold `/`) of their own.
    Files(Vec<LocalFile>),
    /// A whole directory.
    Directory {
        /// Its path.
        path: PathBuf,
        /// Globs of paths in it that are left out, matched with a leading `/`.
        /// They show in the tree, and so need no place in keys.
        ignore: Vec<String>,
    },
}

/// One local file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalFile {
    /// Its path in the tree.
    pub name: String,
    /// Where its content comes from.
    pub content: LocalContent,
    /// Whether it may be executed.
    pub executable: bool,
}

/// Where a local file's content comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalContent {
    /// A file on this machine.
    Path(PathBuf),
    /// Text that stands in the manifest.
    Text(String),
}

/// Trees merged into one, in the order of the inputs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compose {
    /// Start from a base where `/bin`, `/sbin`, `/lib` and `/lib64` are links
    /// into `/usr`, and follow them while merging.
    pub usr_merge: bool,
    /// Add the sandbox contract's skeleton, so that the result can be a root.
    pub skeleton: bool,
    /// Globs of paths that are left out of the result, matched with a leading
    /// `/`.
    pub remove: Vec<String>,
    /// Symlinks that are added last: path and target.
    pub links: BTreeMap<String, String>,
    /// Which layer wins a conflict: a glob of paths and the layer's name.
    pub prefer: BTreeMap<String, String>,
    /// For a pinned seed: the digest of its whole lock record, all platforms.
    /// It stands for the layers in the recipe key.
    pub seed: Option<Digest>,
}

/// A script in the sandbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exec {
    /// Where the builder runs.
    pub platform: Target,
    /// The command; its first word is a path in the sandbox.
    pub argv: Vec<String>,
    /// Environment beyond the contract's own.
    pub env: BTreeMap<String, String>,
    /// The uid and gid that the builder sees as its own: 1000 or 0.
    pub uid: u32,
    /// Limits that a manifest set.
    pub limits: Limits,
    /// Whether `/src` is also copied, writable, to `/build/src`.
    pub copy_source: bool,
    /// Where users of the outputs mount them; absolute links below it are
    /// rewritten relative when the output is captured.
    pub at: Option<String>,
}

/// Limits of one build; `None` is the contract's default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Memory of all processes together, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at one time.
    pub processes: Option<u64>,
    /// What may be written below `/build` and `/out`, in bytes.
    pub output_bytes: Option<u64>,
    /// What may be logged, in bytes.
    pub log_bytes: Option<u64>,
    /// Wall time in seconds.
    pub wall_s: Option<u64>,
    /// Time without a word in the log, in seconds.
    pub silence_s: Option<u64>,
    /// Whether to refuse a host that cannot enforce them exactly.
    pub hard: bool,
}

/// What a root file system is made of besides its packages (the inputs, merged
/// in their order).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rootfs {
    /// Owners and modes that differ from what the tree says, by path.
    pub modes: BTreeMap<String, Attributes>,
    /// Device nodes by path.
    pub devices: BTreeMap<String, Device>,
    /// Directories that are made even if nothing is in them, by path.
    pub directories: BTreeMap<String, Attributes>,
    /// Symlinks by path, with their targets.
    pub links: BTreeMap<String, String>,
    /// Lines of `/etc/passwd`.
    pub users: Vec<String>,
    /// Lines of `/etc/group`.
    pub groups: Vec<String>,
    /// Globs of paths that are left out, matched with a leading `/`.
    pub remove: Vec<String>,
    /// Which layer wins a conflict: a glob of paths and the layer's name.
    pub prefer: BTreeMap<String, String>,
}

/// Mode and owner of a path in a root file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A device node in a root file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// Whether it is a block device; else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Mode and owner.
    pub attributes: Attributes,
}
