//! How evaluation reads this machine's files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use kiln_store::hash::{ContentId, Digest, TreeId};
use kiln_store::tree::{Directory, Entry, Name, Node};
use rayon::prelude::*;

/// A file as evaluation needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileBytes {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Reads local files. Paths are absolute.
pub trait Files {
    /// A file; links are followed.
    fn read(&self, path: &Path) -> io::Result<FileBytes>;

    /// The path without links in it.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// The address of the tree that a folder makes. `ignore` holds globs of
    /// paths that are left out, matched with a leading `/`.
    fn tree(&self, path: &Path, ignore: &[String]) -> io::Result<TreeId>;
}

/// The files of this machine, read anew each time.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        let executable = fs::metadata(path)?.permissions().mode() & 0o100 != 0;
        Ok(FileBytes {
            bytes: fs::read(path)?,
            executable,
        })
    }

    fn tree(&self, path: &Path, ignore: &[String]) -> io::Result<TreeId> {
        Ok(directory(path, Path::new(""), &Ignore::new(ignore)?)?.id())
    }
}

/// Globs of paths that are left out of a folder. Whoever reads the folder again
/// has to leave out the same.
#[derive(Clone, Debug)]
pub struct Ignore(GlobSet);

impl Ignore {
    /// Compiles globs: `*` stays within a directory, `**` does not.
    pub fn new(globs: &[String]) -> io::Result<Self> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            let glob = GlobBuilder::new(glob).literal_separator(true).build();
            set.add(glob.map_err(io::Error::other)?);
        }
        set.build().map(Self).map_err(io::Error::other)
    }

    /// Whether a path, relative to the folder, is left out.
    pub fn matches(&self, inside: &Path) -> bool {
        !self.0.is_empty() && self.0.is_match(Path::new("/").join(inside))
    }
}

fn directory(path: &Path, inside: &Path, ignore: &Ignore) -> io::Result<Directory> {
    let found: Vec<fs::DirEntry> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    let entries: Vec<Option<Entry>> = found
        .par_iter()
        .map(|found| {
            let name = found.file_name();
            let inside = inside.join(&name);
            if ignore.matches(&inside) {
                return Ok(None);
            }
            let name = Name::new(name.into_encoded_bytes()).map_err(io::Error::other)?;
            let node = node(found, &inside, ignore)?;
            Ok(Some(Entry { name, node }))
        })
        .collect::<io::Result<_>>()?;
    Directory::new(entries.into_iter().flatten().collect()).map_err(io::Error::other)
}

fn node(found: &fs::DirEntry, inside: &Path, ignore: &Ignore) -> io::Result<Node> {
    let path = found.path();
    let kind = found.file_type()?;
    if kind.is_dir() {
        let tree = directory(&path, inside, ignore)?.id();
        return Ok(Node::Directory { tree });
    }
    if kind.is_symlink() {
        let target = fs::read_link(&path)?.into_os_string().into_encoded_bytes();
        return Ok(Node::Symlink { target });
    }
    if !kind.is_file() {
        return Err(io::Error::other(format!(
            "{} is neither file, link nor folder",
            path.display()
        )));
    }
    let metadata = found.metadata()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(&path)?;
    Ok(Node::File {
        content: ContentId(Digest::from_bytes(*hasher.finalize().as_bytes())),
        size: hasher.count(),
        executable: metadata.permissions().mode() & 0o100 != 0,
    })
}
