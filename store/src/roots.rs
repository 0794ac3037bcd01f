//! Roots: what the user wants to keep, by name.
//!
//! ```text
//! roots/HEX = str(name) option(realisation[32]) v(count) tree[32]*
//! HEX       = derive_key("kiln 2026-11 root name v1", name)
//! ```
//!
//! The files are the source of truth; there is no copy of them in the index.

use bincode::{Decode, Encode};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use crate::canonical;
use crate::error::{During, StoreError};
use crate::hash::{Digest, RealisationId, TreeId};
use crate::layout::{Layout, ROOTS};
use crate::store::Store;
use crate::sys;

/// The `derive_key` context of the names of roots.
const ROOT_CONTEXT: &str = "kiln 2026-11 root name v1";

/// Trees that gc leaves alone, under a name that the caller chooses: the path
/// of a manifest and an output, for example.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, serde::Serialize)]
pub struct Root {
    /// Its name. Another root of this name replaces it.
    pub name: String,
    /// Of which claim the trees are the outputs, if of one.
    pub realisation: Option<RealisationId>,
    /// What is kept.
    pub trees: Vec<TreeId>,
}

impl Store {
    /// Registers roots, durably. Those that are registered already as they are
    /// cost no write.
    pub fn add_roots(&self, roots: &[Root]) -> Result<(), StoreError> {
        let changed: Vec<_> = roots
            .iter()
            .map(|root| (path(&root.name), canonical::encode(root)))
            .filter(|(path, encoded)| {
                let present = std::fs::read(self.layout.path().join(path));
                present.ok().as_ref() != Some(encoded)
            })
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.session()?.write_durably(ROOTS, changed)
    }

    /// Takes a root away; false if there is none of this name.
    pub fn remove_root(&self, name: &str) -> Result<bool, StoreError> {
        let path = path(name);
        match fs::unlinkat(self.layout.fd(), &path, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).during("remove", path),
        }
    }

    /// All roots, sorted by name.
    pub fn roots(&self) -> Result<Vec<Root>, StoreError> {
        let mut roots = read_roots(&self.layout)?;
        roots.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roots)
    }
}

/// All roots. One that cannot be read is an error: to go on without it would
/// let gc remove what it stands for.
pub(crate) fn read_roots(layout: &Layout) -> Result<Vec<Root>, StoreError> {
    let names = sys::names(layout.fd(), ROOTS).during("list", ROOTS)?;
    names.iter().map(|name| read_root(layout, name)).collect()
}

fn read_root(layout: &Layout, name: &str) -> Result<Root, StoreError> {
    let file = format!("{ROOTS}/{name}");
    let encoded = std::fs::read(layout.path().join(&file)).during("read", &file)?;
    let root = canonical::decode::<Root>(&encoded).ok();
    root.filter(|root| path(&root.name) == file)
        .ok_or_else(|| StoreError::DamagedRoot {
            path: layout.path().join(file),
        })
}

fn path(name: &str) -> String {
    format!("{ROOTS}/{}", Digest::derive(ROOT_CONTEXT, name.as_bytes()))
}
