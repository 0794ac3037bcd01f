//! Realisations on disk: registered once what they speak of is durable, looked
//! up by key.

use std::io::Read;

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::hash::{ActionKey, RealisationId, RecipeKey, TreeId};
use crate::layout::{self, Layout, REALISATIONS};
use crate::objects::ObjectError;
use crate::realisation::SignedRealisation;
use crate::store::Store;

impl Store {
    /// Registers realisations. On return they and every object written before
    /// are durable. Any number of them costs one sync of the file system, and
    /// threads that call this at the same time share it.
    pub fn register(&self, realisations: &[SignedRealisation]) -> Result<(), StoreError> {
        if realisations.is_empty() {
            return Ok(());
        }
        let files = realisations.iter().map(|signed| {
            let path = layout::realisation(&signed.realisation.id());
            (path, signed.encode())
        });
        self.session()?.write_durably(REALISATIONS, files)?;
        self.index().insert(realisations)
    }

    /// The realisations of an action that are registered here, in a fixed
    /// order. None of them implies that its trees are here.
    pub fn realisations_of_action(
        &self,
        key: &ActionKey,
    ) -> Result<Vec<SignedRealisation>, StoreError> {
        self.index().of_action(key)
    }

    /// The realisations of a recipe that are registered here, in a fixed order.
    pub fn realisations_of_recipe(
        &self,
        key: &RecipeKey,
    ) -> Result<Vec<SignedRealisation>, StoreError> {
        self.index().of_recipe(key)
    }

    /// One realisation by its address, if it is registered here.
    pub fn realisation(&self, id: &RealisationId) -> Result<Option<SignedRealisation>, StoreError> {
        match read_realisation(&self.layout, id) {
            Err(StoreError::Object(ObjectError::Missing { .. })) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Notes that trees are used now, which begins their keep window anew.
    pub fn note_use(&self, trees: &[TreeId]) -> Result<(), StoreError> {
        self.index().note_use(trees)
    }

    /// Whether a realisation has its file; that of a registered one is durable.
    pub fn is_registered(&self, id: &RealisationId) -> Result<bool, StoreError> {
        let path = layout::realisation(id);
        match fs::statat(self.layout.fd(), &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).during("stat", path),
        }
    }
}

/// Reads a realisation and checks that it is what its address says.
pub(crate) fn read_realisation(
    layout: &Layout,
    id: &RealisationId,
) -> Result<SignedRealisation, StoreError> {
    let path = layout::realisation(id);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match fs::openat(layout.fd(), &path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            return Err(ObjectError::Missing {
                kind: "realisation",
                digest: id.0,
            }
            .into());
        }
        other => other.during("open", &path)?,
    };
    let mut encoded = Vec::new();
    std::fs::File::from(file)
        .read_to_end(&mut encoded)
        .during("read", &path)?;
    let signed = SignedRealisation::decode(&encoded)
        .map_err(|source| StoreError::Realisation { id: id.0, source })?;
    if signed.realisation.id() != *id {
        return Err(ObjectError::Damaged {
            kind: "realisation",
            digest: id.0,
        }
        .into());
    }
    Ok(signed)
}
