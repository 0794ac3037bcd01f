//! Lists the objects that are here, by name alone: nothing is read or judged.

use std::os::fd::AsFd;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{self, AtFlags, Stat};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::hash::{ContentId, TreeId};
use crate::layout::{self, BLOBS, Layout, TREES};
use crate::session::Stamp;
use crate::sys;

/// An object, by its address and (for a file) the mode of this inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Object {
    Blob(ContentId, bool),
    Tree(TreeId),
}

impl Object {
    /// Where it lies, relative to the store.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Blob(content, executable) => layout::blob(content, *executable),
            Self::Tree(tree) => layout::tree(tree),
        }
    }

    fn parse_blob(name: &str) -> Option<Self> {
        let (hex, executable) = match name.strip_suffix('x') {
            Some(hex) => (hex, true),
            None => (name, false),
        };
        Some(Self::Blob(hex.parse().ok()?, executable))
    }

    fn parse_tree(name: &str) -> Option<Self> {
        Some(Self::Tree(name.parse().ok()?))
    }
}

/// An object that is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) object: Object,
    /// What it takes on the disk.
    pub(crate) disk_bytes: u64,
    /// When it was written, or found present and relied upon.
    pub(crate) changed: Stamp,
}

/// All directories.
pub(crate) fn trees(layout: &Layout) -> Result<Vec<Stored>, StoreError> {
    list(layout, TREES, Object::parse_tree)
}

/// All inodes of files.
pub(crate) fn blobs(layout: &Layout) -> Result<Vec<Stored>, StoreError> {
    list(layout, BLOBS, Object::parse_blob)
}

type Parse = fn(&str) -> Option<Object>;

fn list(layout: &Layout, directory: &str, parse: Parse) -> Result<Vec<Stored>, StoreError> {
    let shards = sys::names(layout.fd(), directory).during("list", directory)?;
    let lists: Vec<Vec<Stored>> = shards
        .par_iter()
        .map(|shard| list_shard(layout, &format!("{directory}/{shard}"), parse))
        .collect::<Result<_, _>>()?;
    Ok(lists.into_iter().flatten().collect())
}

fn list_shard(layout: &Layout, shard: &str, parse: Parse) -> Result<Vec<Stored>, StoreError> {
    let fd = layout.directory(shard)?;
    let names = sys::names(fd.as_fd(), ".").during("list", shard)?;
    let mut stored = Vec::with_capacity(names.len());
    for name in &names {
        let Some(object) = parse(name) else {
            continue;
        };
        match fs::statat(&fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stored.push(Stored::new(object, &stat)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).during("stat", object.path()),
        }
    }
    Ok(stored)
}

impl Stored {
    fn new(object: Object, stat: &Stat) -> Self {
        Self {
            object,
            disk_bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            changed: Stamp::changed(stat),
        }
    }
}
