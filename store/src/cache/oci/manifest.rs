//! The manifest of one file: an artifact of the image specification 1.1. Pure.
//!
//! The bytes of a small file are in it too, as that specification's embedded
//! content, so that who reads one asks once.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::cache::backend::Listed;
use crate::cache::name::Name;

/// The media type of manifests.
pub(super) const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const FILE_TYPE: &str = "application/vnd.kiln.cache.file.v1";
const BYTES_TYPE: &str = "application/octet-stream";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Larger files are not embedded: whoever lists a cache reads all manifests.
pub(super) const EMBEDDED_BYTES: u64 = 32 << 10;
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
    /// Its bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// What a manifest tells of its file.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::cache) struct File {
    /// The blob with its bytes.
    pub(in crate::cache) blob: Descriptor,
    /// Its bytes, if they are in the manifest: checked against the blob's digest.
    pub(in crate::cache) embedded: Option<Vec<u8>>,
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
            data: None,
        }
    }

    /// The same blob, with its bytes.
    pub(super) fn embedding(mut self, bytes: &[u8]) -> Self {
        self.data = Some(STANDARD.encode(bytes));
        self
    }

    pub(super) fn of_config(digest: String) -> Self {
        Self {
            media_type: EMPTY_TYPE.to_owned(),
            digest,
            size: EMPTY.len() as u64,
            data: None,
        }
    }

    /// Takes out the bytes that are embedded.
    fn take_embedded(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(text) = self.data.take() else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(text).ok();
        let is_it =
            |bytes: &Vec<u8>| bytes.len() as u64 == self.size && digest_of(bytes) == self.digest;
        match bytes.filter(is_it) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err("a manifest embeds other bytes than it says".to_owned()),
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

    /// The file, if this is the manifest of `name`.
    pub(in crate::cache) fn file(mut self, name: &Name) -> Result<File, String> {
        let is_its = self.annotations.get(TITLE).map(String::as_str) == Some(name.as_str());
        let blob = self.layers.pop().filter(|_| is_its);
        let mut blob = blob.ok_or_else(foreign)?;
        let embedded = blob.take_embedded()?;
        Ok(File { blob, embedded })
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

/// As registries write digests.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

/// A SHA-256 digest as registries write it.
pub(super) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
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
        let file = read.clone().file(&name("a/b")).expect("it is");
        assert_eq!((file.blob.size, file.embedded), (7, None));
        read.file(&name("a/c")).expect_err("it is another's");
    }

    /// As it is in registries already.
    #[test]
    fn the_form_is_pinned() {
        let text = concat!(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
            r#""artifactType":"application/vnd.kiln.cache.file.v1","#,
            r#""config":{"mediaType":"application/vnd.oci.empty.v1+json","#,
            r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"#,
            r#""layers":[{"mediaType":"application/octet-stream","#,
            r#""digest":"sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73","#,
            r#""size":7,"data":"Y29udGVudA=="}],"#,
            r#""annotations":{"org.opencontainers.image.created":"2026-01-02T03:04:05Z","#,
            r#""org.opencontainers.image.title":"packs/0a/0a1b.pack"}}"#,
        );
        let read = Manifest::parse(text.as_bytes()).expect("it is one");
        assert_eq!(String::from_utf8(read.write()).expect("JSON"), text);
        let config = Descriptor::of_config(digest_of(EMPTY));
        let blob = Descriptor::of_file(digest_of(b"content"), 7).embedding(b"content");
        let mut written = Manifest::of_file(&name("packs/0a/0a1b.pack"), config, blob);
        let created = read.annotations[CREATED].clone();
        written.annotations.insert(CREATED.to_owned(), created);
        assert_eq!(written, read);
    }

    #[test]
    fn embedded_bytes_are_the_blobs_or_an_error() {
        let of = |digest: &str, size: u64, bytes: &[u8]| {
            let blob = Descriptor::of_file(digest.to_owned(), size).embedding(bytes);
            let config = Descriptor::of_config(digest_of(EMPTY));
            let written = Manifest::of_file(&name("a/b"), config, blob).write();
            Manifest::parse(&written).and_then(|read| read.file(&name("a/b")))
        };
        let digest = digest_of(b"content");
        let file = of(&digest, 7, b"content").expect("they are");
        assert_eq!(file.embedded.as_deref(), Some(&b"content"[..]));
        assert_eq!(file.blob, Descriptor::of_file(digest.clone(), 7));
        of(&digest, 7, b"Content").expect_err("others");
        of(&digest, 8, b"content").expect_err("of another length");
        let text = String::from_utf8(manifest().write()).expect("JSON");
        let odd = text.replacen("\"size\":7", "\"size\":7,\"data\":\"=\"", 1);
        assert_ne!(odd, text);
        let odd = Manifest::parse(odd.as_bytes()).expect("it is one");
        odd.file(&name("a/b")).expect_err("no base64");
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
