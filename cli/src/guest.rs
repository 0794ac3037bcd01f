//! From an image of the manifest to a machine that boots it.

use std::path::{Path, PathBuf};

use kiln_derivations::boot::{Accel, Bubblewrap, Disk, Machine};
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::evaluate::{FormatInfo, ImageInfo};
use kiln_derivations::manifest::schema::Attach;
use kiln_derivations::manifest::{Kind, Manifest};
use kiln_store::materialise::Checkout;

use crate::error::CliError;
use crate::workshop::{Workshop, build_error};

/// What a machine is given beyond the image.
pub struct Hardware {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// CPUs.
    pub cpus: u32,
    /// Whether to use KVM.
    pub accel: Accel,
}

/// The format to boot from: the one that was named, or the first that boots.
pub fn pick_format<'i>(
    image: &'i ImageInfo,
    named: Option<&str>,
) -> Result<&'i FormatInfo, CliError> {
    let mut bootable = image.formats.iter().filter(|format| format.boot.is_some());
    let found = match named {
        Some(name) => bootable.find(|format| format.name == name),
        None => bootable.next(),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = image
            .formats
            .iter()
            .filter(|format| format.boot.is_some())
            .map(|format| format.name.as_str())
            .collect();
        let what = named.map_or_else(String::new, |name| format!(" `{name}`"));
        CliError::usage(format!(
            "image `{}` has no format{what} that boots",
            image.name
        ))
        .with_hint(format!("it has: {}", names.join(", ")))
    })
}

/// The machine for an image that is checked out.
pub fn machine(
    workshop: &Workshop<'_>,
    manifest: &Manifest,
    image: (&ImageInfo, &Checkout),
    format: &FormatInfo,
    hardware: &Hardware,
    append: &str,
) -> Result<Machine, CliError> {
    let (info, checkout) = image;
    let Some(emulator) = &manifest.emulator else {
        return Err(CliError::usage("the manifest names no emulator")
            .with_hint("add `[emulator]` with `root = …`, a seed that has QEMU"));
    };
    let bwrap = workshop.find_sandbox(manifest).map_err(build_error)?.bwrap;
    let emulator_root = workshop
        .pinned_root(manifest, &emulator.root)
        .map_err(build_error)?;
    let user = workshop.user()?.map(|user| (user.uid, user.gid));
    let file = checkout.path().join(&format.file);
    let words = [info.cmdline.as_str(), &format.cmdline, append];
    let words = words.into_iter().filter(|words| !words.is_empty());
    Ok(Machine {
        target: info.target,
        emulator_root,
        bubblewrap: Bubblewrap {
            program: bwrap.program().to_owned(),
            prefix: bwrap.prefix().to_vec(),
            host_user: user,
        },
        kernel: kernel(checkout.path(), info.target)?,
        disk: disk(format, file),
        cmdline: words.collect::<Vec<_>>().join(" "),
        memory_mib: hardware.memory_mib,
        cpus: hardware.cpus,
        accel: hardware.accel,
        scratch: workshop.scratch("guest")?,
    })
}

fn kernel(directory: &Path, target: Target) -> Result<PathBuf, CliError> {
    let names: &[&str] = match target {
        Target::X86_64 => &["bzImage", "vmlinux"],
        Target::Aarch64 => &["Image"],
    };
    let paths = names.iter().map(|name| directory.join(name));
    paths
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            CliError::usage(format!(
                "the image has no kernel: expected {} in it",
                names.join(" or ")
            ))
        })
}

fn disk(format: &FormatInfo, file: PathBuf) -> Disk {
    match format.boot {
        Some(Attach::Disk) => Disk::Disk {
            image: file,
            file_system: format.name.clone(),
        },
        _ => Disk::Initramfs(file),
    }
}

/// Refuses what is no image.
pub fn is_image(kind: Kind, name: &str) -> Result<(), CliError> {
    match kind {
        Kind::Image => Ok(()),
        other => Err(CliError::usage(format!(
            "`{name}` is a {other}, and only an image boots"
        ))),
    }
}
