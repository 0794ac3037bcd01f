//! Source archives: what is kept of them, and under which names.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use kiln_store::hash::TreeId;
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{Directory, Entry, Name, Node};

use super::tar::{self, Owners};
use super::{ArchiveError, Limits, Unpacked, member};

/// Unpacks a tar, compressed in any way that [`super::Compression`] knows.
pub fn unpack(
    archive: impl Read,
    selection: &Selection,
    limits: &Limits,
    objects: &dyn Objects,
) -> Result<Unpacked, ArchiveError> {
    tar::unpack(archive, selection, Owners::Ignore, limits, objects)
}

/// A tree of one file, the stream as it is, called `name`.
pub fn raw(
    content: &mut dyn Read,
    name: Name,
    executable: bool,
    objects: &dyn Objects,
) -> Result<TreeId, ObjectError> {
    let (content, size) = objects.put_file(content, executable)?;
    let node = Node::File {
        content,
        size,
        executable,
    };
    objects.put_directory(&Directory::new(vec![Entry { name, node }])?)
}

/// Which members of an archive are kept, and under which names.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    strip: usize,
    keep: Option<Keep>,
}

#[derive(Clone, Debug)]
struct Keep {
    patterns: Vec<String>,
    globs: GlobSet,
}

impl Selection {
    /// Everything, as it is.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Drops the first `strip` names of every path. All members must share
    /// them. Sources are usually wrapped in one directory, hence `strip = 1`.
    ///
    /// If `keep` is not empty, only what matches one of its globs is kept; they
    /// see paths after stripping. A glob that matches a directory keeps all of
    /// it, `*` stops at `/` and `**` does not.
    pub fn new(strip: usize, keep: &[String]) -> Result<Self, ArchiveError> {
        let keep = match keep {
            [] => None,
            patterns => Some(Keep::new(patterns)?),
        };
        Ok(Self { strip, keep })
    }

    pub(super) fn begin(&self) -> Selecting<'_> {
        Selecting {
            selection: self,
            top: Vec::new(),
            used: vec![false; self.keep.as_ref().map_or(0, |keep| keep.patterns.len())],
        }
    }
}

impl Keep {
    fn new(patterns: &[String]) -> Result<Self, ArchiveError> {
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns {
            let bad = |error: globset::Error| ArchiveError::BadPattern {
                pattern: pattern.clone(),
                reason: error.kind().to_string(),
            };
            let relative = pattern.trim_start_matches('/').trim_end_matches('/');
            let glob = GlobBuilder::new(relative).literal_separator(true).build();
            globs.add(glob.map_err(bad)?);
        }
        let globs = globs.build().map_err(|error| ArchiveError::BadPattern {
            pattern: patterns.join(" "),
            reason: error.to_string(),
        })?;
        Ok(Self {
            patterns: patterns.to_vec(),
            globs,
        })
    }

    /// The patterns that match the path or one of the directories it is in.
    fn matches(&self, path: &[Name]) -> Vec<usize> {
        let full = member::join(path);
        let ends = full.iter().enumerate().filter(|(_, b)| **b == b'/');
        ends.map(|(at, _)| at)
            .chain([full.len()])
            .flat_map(|end| {
                self.globs
                    .matches(Path::new(OsStr::from_bytes(&full[..end])))
            })
            .collect()
    }
}

/// A selection at work on one archive.
pub(super) struct Selecting<'a> {
    selection: &'a Selection,
    top: Vec<Name>,
    used: Vec<bool>,
}

impl Selecting<'_> {
    /// The path under which a member is kept; `None` if it is not.
    pub(super) fn select(
        &mut self,
        path: &[Name],
        directory: bool,
    ) -> Result<Option<Vec<Name>>, ArchiveError> {
        if path.is_empty() {
            return Ok((self.selection.strip == 0).then(Vec::new));
        }
        self.check_top(path, directory)?;
        let Some(path) = self.strip(path).filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let Some(keep) = &self.selection.keep else {
            return Ok(Some(path.to_vec()));
        };
        let matches = keep.matches(path);
        for &pattern in &matches {
            self.used[pattern] = true;
        }
        Ok((!matches.is_empty()).then(|| path.to_vec()))
    }

    /// The path without the names that are stripped.
    pub(super) fn strip<'p>(&self, path: &'p [Name]) -> Option<&'p [Name]> {
        path.get(self.selection.strip..)
    }

    fn check_top(&mut self, path: &[Name], directory: bool) -> Result<(), ArchiveError> {
        let strip = self.selection.strip;
        let head = &path[..path.len().min(strip)];
        for (depth, name) in head.iter().enumerate() {
            if depth == self.top.len() {
                self.top.push(name.clone());
            }
        }
        if self.top.starts_with(head) && (path.len() > strip || directory) {
            return Ok(());
        }
        Err(ArchiveError::NoCommonTop {
            top: String::from_utf8_lossy(&member::join(&self.top)).into_owned(),
            other: String::from_utf8_lossy(&member::join(path)).into_owned(),
        })
    }

    /// Complains about a pattern that matched nothing.
    pub(super) fn finish(&self) -> Result<(), ArchiveError> {
        let Some(keep) = &self.selection.keep else {
            return Ok(());
        };
        match self.used.iter().position(|used| !used) {
            None => Ok(()),
            Some(unused) => Err(ArchiveError::NothingKept {
                pattern: keep.patterns[unused].clone(),
            }),
        }
    }
}
