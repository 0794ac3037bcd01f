//! The tables of `flake-like.toml`, as serde types.
//!
//! Doc comments here are the descriptions of the JSON Schema. Nothing is
//! resolved yet: a reference is a string with its place, a default is an
//! absent value.
//!
//! - this module: the top level.
//! - [`source`]: what comes from elsewhere: seeds and sources.
//! - [`package`]: what scripts build, and compositions.
//! - [`sharing`]: caches, and whom to believe.
//! - [`system`]: root file systems, images, formats, boot checks.
//! - [`published`]: all of it as a JSON Schema.

mod overlay;
pub mod package;
pub mod published;
pub mod sharing;
pub mod source;
pub mod system;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::span::At;
use crate::derivation::Target;
pub(super) use overlay::Overlay;
pub use package::{Compose, FileList, Limits, Package};
pub use sharing::{Cache, Trust};
pub use source::{Seed, Source};
pub use system::{Attach, BootCheck, Format, Image, Rootfs, RootfsDirectory, RootfsFile};

/// Entries of one kind by name.
pub type Table<T> = BTreeMap<At<String>, T>;
/// References, paths or other texts.
pub type Texts = Vec<At<String>>;

/// A manifest: `flake-like.toml`, or a file that it includes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "flake-like.toml")]
pub struct Document {
    /// What the manifest as a whole is. Only in `flake-like.toml` itself.
    pub flake: Option<At<Flake>>,
    /// Where `debian:` URLs are looked up.
    pub mirrors: Option<Mirrors>,
    /// What emulators run from.
    pub emulator: Option<Runner>,
    /// What runs builders of another build platform than this machine's own.
    pub emulation: Option<Emulation>,
    /// What bubblewrap runs from if the host's cannot be used.
    pub sandbox: Option<Runner>,
    /// What `kiln verify` varies builds with.
    pub verify: Option<Verify>,
    /// Where others share what they built.
    #[serde(default)]
    pub cache: Table<Cache>,
    /// Whom to believe.
    pub trust: Option<At<Trust>>,
    /// Other flakes; their packages are named `IMPORT.NAME`.
    #[serde(default)]
    pub import: Table<Import>,
    /// Pinned binary packages, composed to one tree.
    #[serde(default)]
    pub seed: Table<Seed>,
    /// What is fetched or taken from this machine, pinned by its hash.
    #[serde(default)]
    pub source: Table<Source>,
    /// What a script builds in the sandbox.
    #[serde(default)]
    pub package: Table<Package>,
    /// Keys that packages take over by `template = "NAME"`.
    #[serde(default)]
    pub template: Table<Package>,
    /// Outputs merged into one tree.
    #[serde(default)]
    pub compose: Table<Compose>,
    /// Root file systems.
    #[serde(default)]
    pub rootfs: Table<Rootfs>,
    /// What boots: a kernel and a root file system, packed in some formats.
    #[serde(default)]
    pub image: Table<Image>,
    /// How a root file system is packed.
    #[serde(default)]
    pub format: Table<Format>,
    /// What stands for what in another way to build the same.
    #[serde(default)]
    pub variant: Table<Variant>,
    /// What an image must show when it boots.
    #[serde(default)]
    pub boot_check: Table<BootCheck>,
}

/// What the manifest as a whole is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Flake {
    /// Its name, `${flake.name}` in texts.
    pub name: At<String>,
    /// What it is, in a line.
    pub description: Option<String>,
    /// What artefacts are built for; all that kiln knows if absent.
    #[serde(default)]
    pub targets: Vec<At<Target>>,
    /// Files that belong to the manifest, and folders, of which all `*.toml`
    /// directly in them and every `recipe.toml` below them do.
    #[serde(default)]
    pub include: Texts,
}

/// Another way to build the same: with another compiler, say. What has `variant
/// = "NAME"`, and all that is built for its target below it, is made of these
/// in place of those.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Variant {
    /// What it is, in a line. Changes nothing that is built.
    pub description: Option<String>,
    /// Packages and compositions, and what takes the place of each. That is
    /// mounted at the same place, and is itself built without the variant.
    pub replace: Table<At<String>>,
}

/// Where `debian:` URLs are looked up.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mirrors {
    /// Roots of Debian archives, tried after the ones that apt knows on this
    /// machine.
    #[serde(default)]
    pub debian: Texts,
    /// Roots of dated archives, tried last.
    #[serde(default)]
    pub snapshot: Texts,
}

/// What one of kiln's own helpers runs from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Runner {
    /// A seed, composition or package that is a root with the programs.
    pub root: At<String>,
}

/// What builders of another build platform run in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Emulation {
    /// A seed, composition or package that is a root with the programs.
    pub root: At<String>,
    /// Programs that stay in memory from one use to the next.
    pub resident: Option<Resident>,
}

/// Programs that stay in memory, since to translate them anew for each use is
/// most of what emulation costs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resident {
    /// A package that has `client` and `server-ARCH.so`.
    pub root: At<String>,
    /// Names of dynamically linked programs in `bin` of the build root or an input.
    pub programs: Vec<String>,
}

/// What `kiln verify` varies builds with. Without it the time of day and the
/// order of words are varied less.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Verify {
    /// Where libfaketime is.
    pub clock: Option<Runner>,
    /// A directory of compiled locales, `et_EE.UTF-8` among them.
    pub locale: Option<Runner>,
}

/// Another flake.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Import {
    /// Its folder, relative to this file.
    pub path: Option<At<String>>,
    /// The repository it is in.
    pub git: Option<At<String>>,
    /// The commit, as 40 or 64 hexadecimal digits.
    pub rev: Option<At<String>>,
    /// Its folder inside the repository.
    pub folder: Option<At<String>>,
}
