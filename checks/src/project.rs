//! A copy of kiln's own manifest, lock and recipes, free to be changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::repository;
use crate::scratch::copy;

/// A project's directory.
pub struct Project {
    directory: PathBuf,
}

impl Project {
    /// Copies kiln's own manifest, lock and recipes to `directory`.
    pub fn copy_to(directory: &Path) -> Self {
        for part in ["flake-like.toml", "flake-like.lock", "derivations/recipes"] {
            let to = directory.join(part);
            fs::create_dir_all(to.parent().expect("it is below the directory")).expect("writable");
            copy(&repository().join(part), &to);
        }
        Self::at(directory)
    }

    /// The project that is in `directory` already.
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a file of it; `path` is relative.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.directory.join(path), text).unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    /// Reads a file of it.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.directory.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Replaces the one place that has `from` in a file.
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert_eq!(text.matches(from).count(), 1, "{path} has {from:?} once");
        self.write(path, &text.replacen(from, to, 1));
    }

    /// Adds a patch to a package, through its recipe.
    pub fn patch(&self, package: &str, name: &str, diff: &str) {
        let folder = format!("derivations/recipes/{package}");
        self.write(&format!("{folder}/{name}"), diff);
        let recipe = format!("{folder}/recipe.toml");
        let head = format!("[package.{package}]\n");
        self.replace(&recipe, &head, &format!("{head}patches = [\"{name}\"]\n"));
    }
}
