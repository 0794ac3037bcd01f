//! Root file systems, images and what they must do.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::overlay::overlay;
use super::{FileList, Limits, Table, Texts};
use crate::derivation::Target;
use crate::manifest::span::At;
use crate::manifest::units::{Bytes, DeviceLine, Mode, Owner, Seconds};

/// A root file system.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rootfs {
    /// What it is, in a line. Changes nothing that is built.
    pub description: Option<String>,
    /// What is merged into it, with what that needs at run time. Debian
    /// packages bring their owners and modes.
    pub packages: Option<Texts>,
    /// Files by path. They win over a package's file of the same path.
    pub files: Option<Table<RootfsFile>>,
    /// Directories by path that are there even if nothing is in them, or whose
    /// mode or owner differs.
    pub directories: Option<Table<RootfsDirectory>>,
    /// Device nodes.
    pub devices: Option<Vec<At<DeviceLine>>>,
    /// Symlinks: path and target.
    pub links: Option<Table<String>>,
    /// Modes and owners of paths that packages bring.
    pub modes: Option<Table<PathAttributes>>,
    /// Users: `name:uid:gid:comment:home:shell`, or a whole line of
    /// `/etc/passwd`.
    pub users: Option<Texts>,
    /// Groups: `name:gid` or `name:gid:members`, or a whole line of
    /// `/etc/group`. A user's own group is added if it is missing.
    pub groups: Option<Texts>,
    /// Globs of paths that are left out.
    pub remove: Option<Texts>,
    /// Which package wins where two have the same path: glob and package.
    pub prefer: Option<Table<String>>,
    /// What differs for one target.
    #[serde(default)]
    pub target: BTreeMap<At<Target>, Rootfs>,
}

overlay!(Rootfs {
    replace: description, packages, devices, users, groups, remove;
    merge: files, directories, links, modes, prefer;
    deep: target
});

/// A file of a root file system: either `from` or `text`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RootfsFile {
    /// Its path on this machine, relative to this file.
    pub from: Option<At<String>>,
    /// Its content.
    pub text: Option<At<String>>,
    /// Default: 0755 if the file on this machine is executable, else 0644.
    pub mode: Option<Mode>,
    /// Default: 0:0.
    pub owner: Option<Owner>,
}

/// A directory of a root file system.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RootfsDirectory {
    /// Default: 0755.
    pub mode: Option<Mode>,
    /// Default: 0:0.
    pub owner: Option<Owner>,
}

/// Mode and owner of a path.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PathAttributes {
    /// Permission bits.
    pub mode: Mode,
    /// Default: 0:0.
    pub owner: Option<Owner>,
}

/// What boots: a kernel and a root file system, packed in some formats.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Image {
    /// What it is, in a line. Changes nothing that is built.
    pub description: Option<String>,
    /// The root file system.
    pub rootfs: Option<At<String>>,
    /// The package whose files lie beside it.
    pub kernel: Option<At<String>>,
    /// The variant that it, and all that it is made of, is built in.
    pub variant: Option<At<String>>,
    /// The formats it is packed in.
    pub formats: Option<Texts>,
    /// The kernel's command line, the file `cmdline`.
    pub cmdline: Option<At<String>>,
    /// Size of a disk, for formats that have one.
    pub size: Option<Bytes>,
    /// Label of a file system, at most 16 bytes.
    pub label: Option<At<String>>,
    /// Globs of paths that are left out, such as `/vmlinux`.
    pub remove: Option<Texts>,
    /// What differs for one target.
    #[serde(default)]
    pub target: BTreeMap<At<Target>, Image>,
}

overlay!(Image {
    replace: description, rootfs, kernel, variant, formats, cmdline, size, label, remove;
    merge: ;
    deep: target
});

/// How a root file system is packed: a script that finds it as
/// `/in/rootfs/rootfs.tar`, and writes `/out/$KILN_FILE`. `KILN_IMAGE_SIZE` is
/// the image's size in bytes and `KILN_IMAGE_LABEL` its label, where it has
/// them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Format {
    /// What it is, in a line. Changes nothing that is built.
    pub description: Option<String>,
    /// What the script's `/` is.
    pub root: At<String>,
    /// What the script executes, each mounted where its own `at` says.
    #[serde(default)]
    pub tools: Texts,
    /// The script, relative to this file.
    pub script: At<String>,
    /// What runs the script. Default: `["/bin/sh", "-eu"]`.
    pub interpreter: Option<Texts>,
    /// More files at `/in/recipe`.
    pub files: Option<FileList>,
    /// Environment of the script.
    #[serde(default)]
    pub env: Table<At<String>>,
    /// The name of the file it makes. Default: the format's name.
    pub file: Option<At<String>>,
    /// The user that the script sees itself as: 1000 or 0. Default: 1000.
    pub uid: Option<At<u32>>,
    /// Limits of the script.
    pub limits: Option<Limits>,
    /// How a machine boots from it; absent if it cannot.
    pub boot: Option<Attach>,
    /// What a machine that boots from it needs on the kernel's command line,
    /// such as `root=/dev/vda rw`.
    pub cmdline: Option<At<String>>,
}

/// How a machine boots from a packed root file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// The boot loader puts it into memory beside the kernel.
    Initrd,
    /// It is a disk.
    Disk,
}

/// What an image must show when it boots.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BootCheck {
    /// What it is, in a line.
    pub description: Option<String>,
    /// The image.
    pub image: At<String>,
    /// The formats to boot from. Default: all of the image's that can.
    pub formats: Option<Texts>,
    /// What the console must show.
    pub expect: At<String>,
    /// What the console must not show, such as `Kernel panic`.
    #[serde(default)]
    pub refuse: Texts,
    /// What is typed on the console then.
    pub input: Option<At<String>>,
    /// What the console must show after that, in this order.
    #[serde(default)]
    pub expect_then: Texts,
    /// What is added to the kernel's command line.
    pub cmdline: Option<At<String>>,
    /// The longest it may take. Default: 5min.
    pub limit: Option<Seconds>,
    /// The machine's memory. Default: 256MiB.
    pub memory: Option<Bytes>,
    /// The machine's processors. Default: 1.
    pub cpus: Option<u32>,
}
