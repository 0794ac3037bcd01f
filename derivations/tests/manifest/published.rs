//! What is generated from the types is what is in the repository.

use std::path::{Path, PathBuf};

use expect_test::expect_file;
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::assemble::Assembly;
use kiln_derivations::manifest::schema::Attach;
use kiln_derivations::manifest::{Imported, Lock, evaluate, init, manifest_schema};

use super::support::{Memory, lock, manifest, render, requested};

#[test]
fn json_schema_is_up_to_date() {
    let schema = serde_json::to_string_pretty(&manifest_schema()).expect("is JSON");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/flake-like.schema.json");
    expect_file![path].assert_eq(&(schema + "\n"));
}

/// As much of kiln's own manifest as a new project uses.
const KILN: &str = r#"
[flake]
name = "kiln"
[seed.base]
debian = "bookworm"
packages = ["dash"]
[seed.qemu]
debian = "trixie"
packages = ["qemu"]
[seed.bwrap]
debian = "bookworm"
packages = ["bubblewrap"]
[package.busybox]
root = "base"
script = "build.sh"
[package.linux]
root = "base"
script = "build.sh"
[format."initramfs.cpio.gz"]
root = "base"
script = "build.sh"
boot = "initrd"
"#;

#[test]
fn a_new_project_evaluates() {
    let kiln = manifest(KILN);
    let lock_of_kiln = lock(&kiln);
    let created = init::files("mine", &init::Kiln::Folder("../kiln".to_owned()));
    let root = PathBuf::from("/mine");
    let mut assembly = Assembly::new(root, created[0].path, &created[0].text);
    let imported = Imported {
        manifest: kiln,
        lock: lock_of_kiln,
    };
    assembly.import("kiln", imported);
    let mine = assembly
        .finish()
        .unwrap_or_else(|error| panic!("{}", render(&error)));

    let files = Memory::default()
        .with("/flake/build.sh", "true")
        .with("/mine/init", &created[1].text);
    let request = requested(&["mine", "kiln.qemu"], &Target::ALL);
    let evaluation = evaluate(&mine, &Lock::default(), &request, &files);
    let evaluation = evaluation.unwrap_or_else(|error| panic!("{}", render(&error)));
    assert_eq!(evaluation.images.len(), 2);
    assert_eq!(evaluation.images[0].formats[0].boot, Some(Attach::Initrd));
}
