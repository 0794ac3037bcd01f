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
/// The room that a header has for a name, and for a target.
const FIELD_BYTES: usize = 100;

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
                    self.append(header, &below, b"", io::empty())?;
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
        self.append(header, path, b"", reader)
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let header = self.header(EntryType::Symlink, path, 0o777);
        self.append(header, path, target, io::empty())
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
        self.append(header, path, b"", io::empty())
    }

    /// Appends an entry. Its name and its link's target are written as they
    /// are: the library's own way takes `./` and doubled slashes out of them.
    fn append(
        &mut self,
        mut header: Header,
        path: &[u8],
        target: &[u8],
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        let name = &path[1..];
        self.long(b'L', name)?;
        self.long(b'K', target)?;
        let fields = header.as_old_mut();
        fill(&mut fields.name, name);
        fill(&mut fields.linkname, target);
        header.set_cksum();
        Ok(self.tar.append(&header, content)?)
    }

    /// Says, in GNU's way, a name or target that the next header has no room
    /// for.
    fn long(&mut self, kind: u8, text: &[u8]) -> Result<(), ArchiveError> {
        if text.len() <= FIELD_BYTES {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        fill(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        Ok(self.tar.append(&header, text.chain(&b"\0"[..]))?)
    }
}

/// As much of `text` as there is room for.
fn fill(field: &mut [u8; FIELD_BYTES], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use kiln_store::objects::Memory;

    use super::*;
    use crate::compose::fixture::{file, tree};
    use crate::derivation::Attributes;
    use crate::image::rootfs::output;

    /// What one entry of the archive says, in a line.
    fn line(entry: &mut tar::Entry<'_, &[u8]>) -> String {
        let header = entry.header();
        let kind = char::from(header.entry_type().as_byte());
        let mode = header.mode().expect("a mode");
        let (uid, gid) = (header.uid().expect("a uid"), header.gid().expect("a gid"));
        assert_eq!(header.mtime().expect("a time"), 315_619_200);
        let numbers = match (header.device_major(), header.device_minor()) {
            (Ok(Some(major)), Ok(Some(minor))) if matches!(kind, '3' | '4') => {
                format!(" {major},{minor}")
            }
            _ => String::new(),
        };
        let name = entry.path_bytes().escape_ascii().to_string();
        let target = entry.link_name_bytes().map_or(String::new(), |target| {
            format!(" -> {}", target.escape_ascii())
        });
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("text");
        let content = match content.len() {
            0 => String::new(),
            1..20 => format!(" = {content}"),
            length => format!(" = {length} bytes"),
        };
        format!("{kind} {mode:04o} {uid}:{gid}{numbers} {name}{target}{content}")
    }

    /// Archives a tree with this metadata; `expected` is what the tar crate
    /// reads back.
    fn check(lines: &[&str], meta: &str, expected: &[&str]) {
        let objects = Memory::default();
        let meta = meta::parse(&format!("kiln-meta 1\n{meta}")).expect("meta");
        let rootfs = output(&objects, tree(&objects, lines), &meta).expect("memory");
        let mut bytes = Vec::new();
        write(&objects, &rootfs, &mut bytes).expect("it is a rootfs");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("an archive");
        let got: Vec<_> = entries
            .map(|entry| line(&mut entry.expect("an entry")))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn walks_in_the_order_of_names_with_plain_owners() {
        check(
            &["b/y = 1", "b/x* = 2", "b.c = 3", "a -> b/y", "empty/"],
            "",
            &[
                "2 0777 0:0 a -> b/y",
                "5 0755 0:0 b",
                "0 0755 0:0 b/x = 2",
                "0 0644 0:0 b/y = 1",
                "0 0644 0:0 b.c = 3",
                "5 0755 0:0 empty",
            ],
        );
    }

    #[test]
    fn takes_owners_modes_and_devices_from_the_metadata() {
        check(
            &["bin/su* = s", "dev/x = 1", "tmp/"],
            "f 4755 0 4294967294 /bin/su\n\
             d 0700 1000 100 /dev\n\
             c 0622 0 5 5 1 /dev/console\n\
             b 0660 0 6 259 1048575 /dev/z\n\
             d 1777 7 8 /tmp\n",
            &[
                "5 0755 0:0 bin",
                "0 4755 0:4294967294 bin/su = s",
                "5 0700 1000:100 dev",
                "3 0622 0:5 5,1 dev/console",
                "0 0644 0:0 dev/x = 1",
                "4 0660 0:6 259,1048575 dev/z",
                "5 1777 7:8 tmp",
            ],
        );
    }

    #[test]
    fn writes_names_and_targets_as_they_are() {
        let name = |length| "n".repeat(length);
        for length in [99, 100, 101, 255] {
            let name = name(length);
            check(
                &[&format!("{name} = 1"), &format!("z -> {name}/{name}")],
                "",
                &[
                    &format!("0 0644 0:0 {name} = 1"),
                    &format!("2 0777 0:0 z -> {name}/{name}"),
                ],
            );
        }
        let deep = [name(60), name(70), name(80)].join("/");
        check(
            &[&format!("{deep} = 1")],
            "",
            &[
                &format!("5 0755 0:0 {}", name(60)),
                &format!("5 0755 0:0 {}/{}", name(60), name(70)),
                &format!("0 0644 0:0 {deep} = 1"),
            ],
        );
        check(
            &["a -> ./x//y/", "b -> /", "c -> ../../x", "d -> .", "ü -> é"],
            "",
            &[
                "2 0777 0:0 a -> ./x//y/",
                "2 0777 0:0 b -> /",
                "2 0777 0:0 c -> ../../x",
                "2 0777 0:0 d -> .",
                "2 0777 0:0 \\xc3\\xbc -> \\xc3\\xa9",
            ],
        );
    }

    #[test]
    fn keeps_a_large_file() {
        let text = "x".repeat(100_000);
        check(
            &[&format!("large = {text}")],
            "",
            &["0 0644 0:0 large = 100000 bytes"],
        );
    }

    #[test]
    fn refuses_what_is_no_root_file_system() {
        let objects = Memory::default();
        for lines in [
            &["tree/x = 1"][..],
            &["meta = 1"],
            &["tree = 1", "meta = 1"],
        ] {
            let rootfs = tree(&objects, lines);
            let error = write(&objects, &rootfs, io::sink()).expect_err("it is none");
            assert!(matches!(error, ArchiveError::NotARootfs(_)), "{error}");
        }
        let rootfs = tree(&objects, &["tree/x = 1", "meta = nonsense"]);
        let error = write(&objects, &rootfs, io::sink()).expect_err("it is damaged");
        assert!(matches!(error, ArchiveError::Meta(_)), "{error}");
    }

    #[test]
    fn golden_digest() {
        let objects = Memory::default();
        let lines = ["bin/sh* = s", "dev/", "etc/motd = hi", "l -> bin/sh"];
        let mut meta = Meta::new();
        let attributes = Attributes {
            mode: 0o622,
            uid: 0,
            gid: 5,
        };
        let kind = Kind::Device {
            block: false,
            major: 5,
            minor: 1,
        };
        meta.insert(b"/dev/console".to_vec(), Line { kind, attributes });
        let rootfs = output(&objects, tree(&objects, &lines), &meta).expect("memory");
        let mut bytes = Vec::new();
        write(&objects, &rootfs, &mut bytes).expect("it is a rootfs");
        let Node::File { content, .. } = file(&objects, &bytes, false) else {
            unreachable!("a file is a file")
        };
        expect_test::expect!["d03376977bdf35f131d9bb22a1ef2f9e070d6adb010270056aa37f79fa93c246"]
            .assert_eq(&content.to_string());
    }
}
