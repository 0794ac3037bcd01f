//! The manifest of one file: an artifact of the image specification 1.1. Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cache::backend::Listed;
use crate::cache::name::Name;

/// The media type of manifests.
pub(super) const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const FILE_TYPE: &str = "application/vnd.kiln.cache.file.v1";
const BYTES_TYPE: &str = "application/octet-stream";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// What an artifact has as its config.
pub(super) const EMPTY: &[u8] = b"{}";

const TITLE: &str = "org.opencontainers.image.title";
const CREATED: &str = "org.opencontainers.image.created";

/// A blob.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::cache) struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: String,
    pub(in crate::cache) digest: String,
    pub(in crate::cache) size: u64,
}

/// A manifest, as far as it matters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cache) struct Manifest {
    schema_version: u32,
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(super) fn of_file(digest: String, size: u64) -> Self {
        Self {
            media_type: BYTES_TYPE.to_owned(),
            digest,
            size,
        }
    }

    pub(super) fn of_config(digest: String) -> Self {
        Self {
            media_type: EMPTY_TYPE.to_owned(),
            digest,
            size: EMPTY.len() as u64,
        }
    }

    /// Whether the digest is one, and no path or query to anywhere else.
    fn is_sound(&self) -> bool {
        let hex = self.digest.strip_prefix("sha256:").unwrap_or_default();
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl Manifest {
    /// The manifest of a file that is written now. Its name is in it, so that
    /// files of equal bytes have manifests of their own, and one can be removed
    /// without the other.
    pub(super) fn of_file(name: &Name, config: Descriptor, file: Descriptor) -> Self {
        Self {
            schema_version: 2,
            media_type: MEDIA_TYPE.to_owned(),
            artifact_type: FILE_TYPE.to_owned(),
            config,
            layers: vec![file],
            annotations: BTreeMap::from([
                (TITLE.to_owned(), name.to_string()),
                (CREATED.to_owned(), Timestamp::now().to_string()),
            ]),
        }
    }

    pub(in crate::cache) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    pub(in crate::cache) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|_| foreign())?;
        let is_one = manifest.media_type == MEDIA_TYPE && manifest.layers.len() == 1;
        let is_sound = manifest.layers.iter().all(Descriptor::is_sound);
        match is_one && is_sound {
            true => Ok(manifest),
            false => Err(foreign()),
        }
    }

    /// The blob, if this is the manifest of `name`.
    pub(in crate::cache) fn file(mut self, name: &Name) -> Result<Descriptor, String> {
        let is_its = self.annotations.get(TITLE).map(String::as_str) == Some(name.as_str());
        let file = self.layers.pop().filter(|_| is_its);
        file.ok_or_else(foreign)
    }

    /// What it is in a listing.
    pub(in crate::cache) fn listed(&self) -> Option<Listed> {
        let created = self.annotations.get(CREATED)?;
        Some(Listed {
            name: Name::new(self.annotations.get(TITLE)?.as_str()).ok()?,
            size_bytes: self.layers.first()?.size,
            modified: SystemTime::from(created.parse::<Timestamp>().ok()?),
        })
    }
}

fn foreign() -> String {
    "the tag is not of a file that kiln wrote".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn manifest() -> Manifest {
        let digest = format!("sha256:{}", "0".repeat(64));
        let file = Descriptor::of_file(digest.clone(), 7);
        Manifest::of_file(&name("a/b"), Descriptor::of_config(digest), file)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let written = manifest();
        let read = Manifest::parse(&written.write()).expect("it is one");
        assert_eq!(read, written);
        let listed = read.listed().expect("it is a file's");
        assert_eq!((listed.name, listed.size_bytes), (name("a/b"), 7));
        assert_eq!(read.clone().file(&name("a/b")).expect("it is").size, 7);
        read.file(&name("a/c")).expect_err("it is another's");
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let text = String::from_utf8(manifest().write()).expect("JSON");
        let zeros = "0".repeat(64);
        for (from, to) in [
            (format!("sha256:{zeros}"), "sha256:../../../x".to_owned()),
            (format!("sha256:{zeros}"), "md5:00".to_owned()),
            (MEDIA_TYPE.to_owned(), "application/json".to_owned()),
            (
                "\"layers\":[".to_owned(),
                "\"layers\":[],\"x\":[".to_owned(),
            ),
            ("{".to_owned(), "[".to_owned()),
        ] {
            let other = text.replace(&from, &to);
            assert_ne!(other, text);
            Manifest::parse(other.as_bytes()).expect_err("it is none");
        }
    }
}
