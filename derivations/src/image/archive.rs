//! A root file system as a tar archive.
//!
//! Entries in the order of a walk with names sorted, a directory before what is
//! in it; names without a leading `./`; every time is [`MTIME_S`]; owners are
//! numbers; no hard links. Tools that pack images read it.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use kiln_store::hash::{ContentId, TreeId};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::{MTIME_S, Node};

use super::meta::{self, Kind, Line, Meta, MetaError};
use crate::derivation::Attributes;

/// The name of the archive in its output.
pub const FILE_NAME: &str = "rootfs.tar";

/// Why a root file system could not be archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The input is no output of a rootfs builder.
    #[error("{0} is no root file system: expected `tree/` and `meta`")]
    NotARootfs(TreeId),
    /// Its metadata is not in the right form.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The store failed.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The archive could not be written.
    #[error("writing the archive: {0}")]
    Io(#[from] io::Error),
}

/// Writes the root file system `rootfs` (an output `{tree/, meta}`) to `sink`.
pub fn write(objects: &dyn Objects, rootfs: &TreeId, sink: impl Write) -> Result<(), ArchiveError> {
    let output = objects.directory(rootfs)?;
    let (Some(Node::Directory { tree }), Some(Node::File { content, .. })) =
        (output.get(b"tree"), output.get(b"meta"))
    else {
        return Err(ArchiveError::NotARootfs(*rootfs));
    };
    let mut text = String::new();
    objects.open_file(content)?.read_to_string(&mut text)?;
    let mut writer = Writer {
        objects,
        meta: meta::parse(&text)?,
        tar: Builder::new(sink),
    };
    writer.directory(Vec::new(), tree)?;
    writer.tar.finish()?;
    Ok(())
}

struct Writer<'a, W: Write> {
    objects: &'a dyn Objects,
    meta: Meta,
    tar: Builder<W>,
}

/// What stands at one name of a directory: a node of the tree, or a device.
enum Item {
    Node(Node),
    Device(Line),
}

impl<W: Write> Writer<'_, W> {
    /// Writes what is in the directory at `path` (empty for the root).
    fn directory(&mut self, path: Vec<u8>, tree: &TreeId) -> Result<(), ArchiveError> {
        for (name, item) in self.items(&path, tree)? {
            let mut below = path.clone();
            below.push(b'/');
            below.extend_from_slice(&name);
            match item {
                Item::Device(line) => self.device(&below, &line)?,
                Item::Node(Node::File {
                    content,
                    size,
                    executable,
                }) => self.file(&below, &content, size, executable)?,
                Item::Node(Node::Symlink { target }) => self.symlink(&below, &target)?,
                Item::Node(Node::Directory { tree }) => {
                    let header = self.header(EntryType::Directory, &below, 0o755);
                    self.append(header, &below, io::empty())?;
                    self.directory(below, &tree)?;
                }
            }
        }
        Ok(())
    }

    /// The entries of a directory and the devices in it, sorted by name.
    fn items(&self, path: &[u8], tree: &TreeId) -> Result<Vec<(Vec<u8>, Item)>, ArchiveError> {
        let directory = self.objects.directory(tree)?;
        let nodes = directory.into_entries().into_iter();
        let mut items: Vec<_> = nodes
            .map(|entry| (entry.name.as_bytes().to_vec(), Item::Node(entry.node)))
            .collect();
        for (device, line) in &self.meta {
            let slash = device.iter().rposition(|&b| b == b'/').unwrap_or(0);
            if matches!(line.kind, Kind::Device { .. }) && device[..slash] == *path {
                items.push((device[slash + 1..].to_vec(), Item::Device(*line)));
            }
        }
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(items)
    }

    fn header(&self, kind: EntryType, path: &[u8], mode: u32) -> Header {
        let default = Attributes {
            mode,
            uid: 0,
            gid: 0,
        };
        let said = self.meta.get(path);
        let attributes = said.map_or(default, |line| line.attributes);
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(attributes.mode);
        header.set_uid(u64::from(attributes.uid));
        header.set_gid(u64::from(attributes.gid));
        header.set_mtime(MTIME_S as u64);
        header.set_size(0);
        header
    }

    fn file(
        &mut self,
        path: &[u8],
        content: &ContentId,
        size: u64,
        executable: bool,
    ) -> Result<(), ArchiveError> {
        let mode = if executable { 0o755 } else { 0o644 };
        let mut header = self.header(EntryType::Regular, path, mode);
        header.set_size(size);
        let reader = self.objects.open_file(content)?;
        self.append(header, path, reader)
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let mut header = self.header(EntryType::Symlink, path, 0o777);
        self.tar
            .append_link(&mut header, os_path(&path[1..]), os_path(target))?;
        Ok(())
    }

    fn device(&mut self, path: &[u8], line: &Line) -> Result<(), ArchiveError> {
        let Kind::Device {
            block,
            major,
            minor,
        } = line.kind
        else {
            return Ok(());
        };
        let kind = if block {
            EntryType::Block
        } else {
            EntryType::Char
        };
        let mut header = self.header(kind, path, line.attributes.mode);
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
        self.append(header, path, io::empty())
    }

    fn append(
        &mut self,
        mut header: Header,
        path: &[u8],
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        self.tar
            .append_data(&mut header, os_path(&path[1..]), content)?;
        Ok(())
    }
}

fn os_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}
