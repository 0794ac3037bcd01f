//! What comes from elsewhere.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Texts;
use crate::manifest::span::At;

/// Pinned Debian packages composed to one tree. As a root or tool it is the
/// one for the build platform, as a material the one for the target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Seed {
    /// What it is, in a line.
    pub description: Option<String>,
    /// The Debian suite, such as `bookworm`.
    pub debian: At<String>,
    /// Packages asked for; `kiln lock` adds what they depend on.
    pub packages: Texts,
    /// Packages that are left out although something depends on them.
    #[serde(default)]
    pub exclude: Texts,
    /// Globs of paths that are left out: `*` stays within a directory, `**`
    /// does not.
    #[serde(default)]
    pub remove: Texts,
    /// Symlinks that are added: path and target.
    #[serde(default)]
    pub links: BTreeMap<At<String>, String>,
    /// Which package wins where two have the same path: glob and package.
    #[serde(default)]
    pub prefer: BTreeMap<At<String>, String>,
    /// Whether the sandbox's own empty directories are added, so that it can
    /// be a root. Default: true.
    pub skeleton: Option<bool>,
}

impl Seed {
    /// Whether it can be a root.
    pub fn is_root(&self) -> bool {
        self.skeleton.unwrap_or(true)
    }
}

/// A file or tree that is fetched, or a folder of this machine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// What it is, in a line.
    pub description: Option<String>,
    /// Where it is: `debian:pool/…`, `https:`, `http:` or `file:`.
    pub url: Option<At<String>>,
    /// The same, several places, tried in this order.
    pub urls: Option<Texts>,
    /// A folder, relative to this file. It is read as it is now, not locked.
    pub path: Option<At<String>>,
    /// With `path`: globs of paths that are left out.
    pub ignore: Option<Texts>,
    /// A git repository.
    pub git: Option<At<String>>,
    /// With `git`: the commit, as 40 or 64 hexadecimal digits.
    pub rev: Option<At<String>>,
    /// How many leading directories are taken off the archive's names.
    /// Default: 1.
    pub strip: Option<u32>,
    /// Globs: only what one of them matches is kept.
    pub keep: Option<Texts>,
    /// Whether the file is kept as it is, not unpacked. Default: false.
    pub raw: Option<bool>,
}

impl Source {
    /// The URLs, in order.
    pub fn urls(&self) -> impl Iterator<Item = &At<String>> {
        self.url.iter().chain(self.urls.iter().flatten())
    }
}
