//! Flakes that a manifest imports by git: fetched once for each commit.

use std::io;
use std::path::PathBuf;

use kiln_derivations::fetch::git::Repository;
use kiln_derivations::manifest::load::Checkout;

use crate::context::Context;

/// Fetches imports into the store's directory of downloads.
pub struct GitCheckout<'c>(pub &'c Context);

impl Checkout for GitCheckout<'_> {
    fn checkout(&self, url: &str, commit: &str) -> io::Result<PathBuf> {
        let store = self
            .0
            .store()
            .map_err(|error| io::Error::other(error.to_string()))?;
        let downloads = store.downloads();
        let folder = downloads.join(format!("flake-{commit}"));
        if folder.is_dir() {
            return Ok(folder);
        }
        std::fs::create_dir_all(&downloads)?;
        let tree = Repository::open(url, &downloads)
            .and_then(|repository| repository.tree(commit, &store))
            .map_err(|error| io::Error::other(crate::error::chain(&error)))?;
        match store.export(&tree, &folder, false) {
            Ok(()) | Err(kiln_store::error::StoreError::Exists { .. }) => Ok(folder),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }
}
