//! The emulator's and the sandbox's command lines: pure functions.
//!
//! ```text
//! /        the emulator's root, read-only
//! ├── in       tmpfs, read-only: kernel, initramfs or disk
//! ├── build    writable: what the guest writes to its disk, in an unnamed file
//! ├── tmp      tmpfs
//! └── dev      bubblewrap's minimal one, read-only; never /dev/kvm, which
//!              comes as an open descriptor
//! ```
//!
//! No network, no `/proc`, no file of the host but those of the image.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::machine::{Disk, Machine};
use crate::derivation::Target;

/// Directories of the emulator's root that are mounted over.
pub(super) const MOUNT_POINTS: [&str; 4] = ["build", "dev", "in", "tmp"];

/// What of a machine is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The machine with its image.
    Whole,
    /// The kernel alone, as loud as it can be: it has to say something, no more.
    Kernel,
}

/// Where the emulator is, from its root.
pub(super) fn emulator(target: Target) -> PathBuf {
    Path::new("/usr/bin").join(format!("qemu-system-{target}"))
}

/// All words from the name of the program on: bubblewrap, its options, the
/// emulator, its options.
/// `kvm` is an open `/dev/kvm` that the emulator inherits.
pub(super) fn words(
    machine: &Machine,
    part: Part,
    kvm: Option<RawFd>,
    writable: &Path,
) -> Vec<OsString> {
    let mut words = machine.bubblewrap.prefix.clone();
    words.extend(sandbox_options(machine, writable));
    words.push("--".into());
    words.push(emulator(machine.target).into());
    words.extend(
        emulator_options(machine, part, kvm)
            .into_iter()
            .map(OsString::from),
    );
    words
}

fn sandbox_options(machine: &Machine, writable: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = Vec::new();
    let mut add = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
        options.extend(words.iter().map(|word| word.as_ref().to_owned()));
    };
    for namespace in ["user", "pid", "ipc", "uts", "cgroup", "net"] {
        add(&[&format!("--unshare-{namespace}")]);
    }
    add(&[&"--uid", &"1000", &"--gid", &"1000", &"--disable-userns"]);
    add(&[
        &"--cap-drop",
        &"ALL",
        &"--die-with-parent",
        &"--hostname",
        &"kiln",
    ]);
    add(&[&"--clearenv", &"--setenv", &"TMPDIR", &"/build"]);
    add(&[&"--ro-bind", &machine.emulator_root, &"/"]);
    add(&[&"--dev", &"/dev", &"--tmpfs", &"/tmp", &"--tmpfs", &"/in"]);
    add(&[&"--ro-bind", &machine.kernel, &"/in/kernel"]);
    let (file, place) = match &machine.disk {
        Disk::Initramfs(archive) => (archive, "/in/initramfs"),
        Disk::Disk { image, .. } => (image, "/in/disk"),
    };
    add(&[&"--ro-bind", file, &place]);
    add(&[&"--bind", &writable, &"/build", &"--chdir", &"/build"]);
    add(&[&"--remount-ro", &"/in", &"--remount-ro", &"/dev"]);
    options
}

fn emulator_options(machine: &Machine, part: Part, kvm: Option<RawFd>) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |line: &str| options.extend(line.split(' ').map(str::to_owned));
    add("-nodefaults -no-user-config -display none -no-reboot");
    // A hole in the emulator has to lead through this as well as the sandbox.
    add("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    match kvm {
        Some(fd) => add(&format!(
            "-add-fd fd={fd},set=1 -accel kvm,device=/dev/fdset/1"
        )),
        None => add("-accel tcg"),
    }
    add(hardware(machine.target, kvm.is_some()));
    add(&format!("-smp {} -m {}", machine.cpus, machine.memory_mib));
    add("-chardev stdio,id=console,signal=off -serial chardev:console");
    add("-object rng-builtin,id=rng -device virtio-rng-pci,rng=rng");
    add("-kernel /in/kernel");
    if part == Part::Whole {
        match &machine.disk {
            Disk::Initramfs(_) => add("-initrd /in/initramfs"),
            Disk::Disk { .. } => {
                add("-drive if=none,id=disk,file=/in/disk,format=raw,snapshot=on,file.locking=off");
                add("-device virtio-blk-pci,drive=disk");
            }
        }
    }
    options.push("-append".into());
    options.push(cmdline(machine, part));
    options
}

/// Fixed processor models, so that a guest sees the same one whatever the
/// emulator's version; `max` also boots measurably slower.
fn hardware(target: Target, kvm: bool) -> &'static str {
    match (target, kvm) {
        (Target::X86_64, false) => "-machine q35 -cpu Nehalem-v1",
        (Target::X86_64, true) => "-machine q35 -cpu host",
        (Target::Aarch64, false) => "-machine virt -cpu cortex-a72",
        (Target::Aarch64, true) => "-machine virt,gic-version=host -cpu host",
    }
}

/// The last word of two that contradict each other counts, so the image's own
/// come after the disk's and before `panic=-1`, by which a panic ends the machine.
fn cmdline(machine: &Machine, part: Part) -> String {
    let own = machine.cmdline.trim();
    let before = match (&machine.disk, part) {
        (Disk::Disk { file_system, .. }, Part::Whole) => {
            format!("root=/dev/vda rw rootfstype={file_system} ")
        }
        _ => String::new(),
    };
    let after = match (part, machine.target) {
        (Part::Whole, _) => "",
        (Part::Kernel, Target::X86_64) => " earlyprintk=serial ignore_loglevel",
        (Part::Kernel, Target::Aarch64) => " earlycon ignore_loglevel",
    };
    format!("{before}{own}{after} panic=-1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::machine;
    use expect_test::{Expect, expect};

    fn check(words: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>, expected: Expect) {
        let words: Vec<_> = words
            .into_iter()
            .map(|word| word.as_ref().to_str().unwrap().to_owned())
            .collect();
        expected.assert_eq(&words.join(" ").replace(" -", "\n-"));
    }

    fn ext4() -> Disk {
        Disk::Disk {
            image: "/store/disk".into(),
            file_system: "ext4".into(),
        }
    }

    #[test]
    fn an_initramfs_under_tcg() {
        let machine = machine(Target::X86_64, Disk::Initramfs("/store/initramfs".into()));
        let words = words(&machine, Part::Whole, None, Path::new("/scratch/x"));
        check(
            words,
            expect![[r#"
                bwrap
                --unshare-user
                --unshare-pid
                --unshare-ipc
                --unshare-uts
                --unshare-cgroup
                --unshare-net
                --uid 1000
                --gid 1000
                --disable-userns
                --cap-drop ALL
                --die-with-parent
                --hostname kiln
                --clearenv
                --setenv TMPDIR /build
                --ro-bind /store/qemu /
                --dev /dev
                --tmpfs /tmp
                --tmpfs /in
                --ro-bind /store/kernel /in/kernel
                --ro-bind /store/initramfs /in/initramfs
                --bind /scratch/x /build
                --chdir /build
                --remount-ro /in
                --remount-ro /dev
                -- /usr/bin/qemu-system-x86_64
                -nodefaults
                -no-user-config
                -display none
                -no-reboot
                -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
                -accel tcg
                -machine q35
                -cpu Nehalem-v1
                -smp 1
                -m 256
                -chardev stdio,id=console,signal=off
                -serial chardev:console
                -object rng-builtin,id=rng
                -device virtio-rng-pci,rng=rng
                -kernel /in/kernel
                -initrd /in/initramfs
                -append console=ttyS0 quiet panic=-1"#]],
        );
    }

    #[test]
    fn a_disk_under_kvm() {
        let machine = machine(Target::Aarch64, ext4());
        check(
            emulator_options(&machine, Part::Whole, Some(7)),
            expect![[r#"
                -nodefaults
                -no-user-config
                -display none
                -no-reboot
                -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
                -add-fd fd=7,set=1
                -accel kvm,device=/dev/fdset/1
                -machine virt,gic-version=host
                -cpu host
                -smp 1
                -m 256
                -chardev stdio,id=console,signal=off
                -serial chardev:console
                -object rng-builtin,id=rng
                -device virtio-rng-pci,rng=rng
                -kernel /in/kernel
                -drive if=none,id=disk,file=/in/disk,format=raw,snapshot=on,file.locking=off
                -device virtio-blk-pci,drive=disk
                -append root=/dev/vda rw rootfstype=ext4 console=ttyS0 quiet panic=-1"#]],
        );
    }

    #[test]
    fn a_kernel_alone_is_loud() {
        let line = cmdline(&machine(Target::X86_64, ext4()), Part::Kernel);
        let expected = "console=ttyS0 quiet earlyprintk=serial ignore_loglevel panic=-1";
        assert_eq!(line, expected);
    }
}
