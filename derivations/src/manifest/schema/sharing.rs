//! Caches, and whom to believe.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kiln_store::cache::pace::Rate;
use kiln_store::trust::key::PublicKey;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::Texts;
use crate::manifest::span::At;

/// A cache: where others share what they built.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cache {
    /// What it is, in a line.
    pub description: Option<String>,
    /// Where it is: a directory (`/srv/kiln` or `file:///srv/kiln`),
    /// `https://host/path`, `s3://bucket/path`, `oci://host/repository`.
    pub url: At<String>,
    /// How many bytes a second go to and from it at most, such as `2M`. Default:
    /// as many as go.
    pub bandwidth: Option<Bandwidth>,
}

/// Whom to believe. Counts in the manifest that is built and in one's own
/// configuration, which wins; that of an import counts for nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Trust {
    /// How many claims must agree before something is not built here. Default: 1.
    pub require: Option<At<u32>>,
    /// In which attributes their keys must all differ, such as `operator` or
    /// `build-platform`.
    #[serde(default)]
    pub distinct: Texts,
    /// Whose claims count.
    #[serde(default)]
    pub keys: Vec<TrustedKey>,
}

/// A key whose claims count, and who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrustedKey {
    /// The public key, as `kiln key show` prints it.
    pub key: At<Key>,
    /// What it is, in a line.
    pub description: Option<String>,
    /// Who runs the builder.
    pub operator: Option<String>,
    /// Where the builder runs: `x86_64` or `aarch64`. Its claims about other
    /// platforms do not count.
    pub build_platform: Option<String>,
    /// More that keys can be told apart by.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Globs of the derivations that it counts for, such as `linux*`. Default:
    /// all.
    #[serde(default, rename = "for")]
    pub names: Texts,
}

/// Bytes a second, written like `500k` or `2M`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bandwidth(pub Rate);

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Bandwidth).map_err(de::Error::custom)
    }
}

impl JsonSchema for Bandwidth {
    fn schema_name() -> Cow<'static, str> {
        "Bandwidth".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+[kMG]?$",
            "description": "Bytes a second such as 500k or 2M, at least 10k.",
        })
    }
}

/// A public key, written like `ed25519:8a88…`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(pub PublicKey);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Key).map_err(de::Error::custom)
    }
}

impl JsonSchema for Key {
    fn schema_name() -> Cow<'static, str> {
        "Key".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^ed25519:[0-9a-f]{64}$",
            "description": "A public key such as ed25519:8a88….",
        })
    }
}
