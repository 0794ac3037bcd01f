//! A cache in a repository of an OCI registry.
//!
//! ```text
//! tag N-packsS0aS0a1b.pack ─► manifest (artifactType application/vnd.kiln.cache.file.v1)
//!                               ├ annotations: its name, when it was written
//!                               ├ config: the empty descriptor
//!                               └ layers: one, the file's bytes ─► blob sha256:…
//! ```
//!
//! A tag moves at once from one manifest to another, so a file is replaced whole.
//! Reading takes two requests; a small file one, since its bytes are in its manifest
//! too. Who reads parts of a file is spared the first of them: what [`Oci::size`], a
//! whole read or an earlier part saw is what later parts are of, so that parts of one
//! file fit together.
//!
//! A registry lists tags and nothing else, so a listing asks for the manifest of
//! each tag that may fit. Removing takes away the manifest; the registry's own
//! garbage collection takes the blob.
//!
//! - `place`: `oci://HOST[:PORT]/REPOSITORY`.
//! - `tag`, `manifest`: the forms above. Pure.
//! - `auth`: basic and token authentication.
//! - `registry`: blobs and manifests over HTTP.

pub(super) mod auth;
pub(super) mod manifest;
mod place;
pub(super) mod registry;
mod tag;

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use url::Url;

use self::manifest::{Descriptor, EMBEDDED_BYTES, File, Manifest};
use self::registry::Registry;
use super::access::Access;
use super::backend::{Body, ByteRange, Kind, Listed, Source};
use super::files::Files;
use super::name::Name;
use super::open::OpenError;

/// How many manifests are asked for at once in a listing.
const LISTERS: usize = 8;

/// A cache in a repository.
pub struct Oci {
    registry: Registry,
    /// Which blob a name was, when it was last looked at.
    seen: Mutex<HashMap<Name, Descriptor>>,
}

impl Oci {
    /// The cache at `url`, which has the scheme `oci` or `oci+http`.
    pub fn new(url: &Url, access: &Access) -> Result<Self, OpenError> {
        Ok(Self {
            registry: Registry::new(url, access)?,
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Name, Descriptor>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks what a name is now.
    fn look(&self, name: &Name) -> Result<Option<File>, Kind> {
        let manifest = self.registry.manifest(&tag::of(name))?;
        let Some((_, bytes)) = manifest else {
            self.seen().remove(name);
            return Ok(None);
        };
        let file = Manifest::parse(&bytes).and_then(|manifest| manifest.file(name));
        let file = file.map_err(Kind::Protocol)?;
        self.seen().insert(name.clone(), file.blob.clone());
        Ok(Some(file))
    }

    fn open_blob(
        &self,
        name: &Name,
        file: &Descriptor,
        range: Option<ByteRange>,
    ) -> Result<Option<Body>, Kind> {
        check_start(file, range)?;
        self.registry.blob(&file.digest, name.as_str(), range)
    }

    /// What a tag is in a listing. Tags of others are none of the cache's files.
    fn listed(&self, tag: &str, prefix: &str) -> Result<Option<Listed>, Kind> {
        let Some((_, bytes)) = self.registry.manifest(tag)? else {
            return Ok(None);
        };
        let listed = Manifest::parse(&bytes)
            .ok()
            .and_then(|manifest| manifest.listed());
        Ok(listed
            .filter(|file| tag::of(&file.name) == tag && file.name.as_str().starts_with(prefix)))
    }
}

/// No part begins behind the end.
fn check_start(file: &Descriptor, range: Option<ByteRange>) -> Result<(), Kind> {
    match range.filter(|range| range.start >= file.size) {
        None => Ok(()),
        Some(range) => Err(Kind::Refused(format!(
            "it has {} bytes, none from {} on",
            file.size, range.start
        ))),
    }
}

/// What is embedded in a manifest, or a part of it.
fn embedded(file: &Descriptor, mut bytes: Vec<u8>, range: Option<ByteRange>) -> Result<Body, Kind> {
    check_start(file, range)?;
    if let Some(range) = range {
        bytes.drain(..usize::try_from(range.start).unwrap_or(bytes.len()));
        bytes.truncate(usize::try_from(range.length).unwrap_or(usize::MAX));
    }
    Ok(Body {
        length: Some(bytes.len() as u64),
        content: Box::new(Cursor::new(bytes)),
    })
}

fn all_of(content: &mut dyn Source) -> Result<Vec<u8>, Kind> {
    let mut bytes = Vec::new();
    let read = content
        .rewind()
        .and_then(|()| content.read_to_end(&mut bytes));
    let unreadable =
        |error| Kind::Refused(format!("what is to be written cannot be read: {error}"));
    read.map(|_| bytes).map_err(unreadable)
}

impl Files for Oci {
    fn place(&self) -> String {
        self.registry.place().to_owned()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, Kind> {
        let seen = self.seen().get(name).filter(|_| range.is_some()).cloned();
        if let Some(file) = &seen
            && let Some(body) = self.open_blob(name, file, range)?
        {
            return Ok(Some(body));
        }
        // Not seen yet, or gone since.
        match self.look(name)? {
            Some(File {
                blob,
                embedded: Some(bytes),
            }) => embedded(&blob, bytes, range).map(Some),
            Some(File { blob, .. }) => self.open_blob(name, &blob, range),
            None => Ok(None),
        }
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, Kind> {
        Ok(self.look(name)?.map(|file| file.blob.size))
    }

    fn sends_parts(&self, name: &Name) -> Result<Option<bool>, Kind> {
        match self.look(name)? {
            Some(file) => self.registry.sends_parts(&file.blob.digest),
            None => Ok(None),
        }
    }

    fn put(&self, name: &Name, content: &mut dyn Source, size_bytes: u64) -> Result<(), Kind> {
        let mut blob = self.registry.push(content, size_bytes)?;
        if size_bytes <= EMBEDDED_BYTES {
            blob = blob.embedding(&all_of(content)?);
        }
        let config = self.registry.push_empty()?;
        let manifest = Manifest::of_file(name, config, blob);
        self.registry
            .put_manifest(&tag::of(name), &manifest.write())?;
        self.seen().remove(name);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, Kind> {
        let tags = self.registry.tags()?;
        let tags: Vec<&String> = tags.iter().filter(|tag| tag::may_be(tag, prefix)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut listed = Vec::new();
            while let Some(tag) = tags.get(next.fetch_add(1, Ordering::Relaxed)) {
                listed.extend(self.listed(tag, prefix)?);
            }
            Ok(listed)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..LISTERS.min(tags.len()))
                .map(|_| scope.spawn(work))
                .collect();
            let mut all = Vec::new();
            for worker in workers {
                let part: Result<Vec<Listed>, Kind> = worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                all.extend(part?);
            }
            Ok(Some(all))
        })
    }

    fn remove(&self, name: &Name) -> Result<(), Kind> {
        self.seen().remove(name);
        match self.registry.manifest(&tag::of(name))? {
            Some((digest, _)) => self.registry.delete_manifest(&digest),
            None => Ok(()),
        }
    }
}
