//! A root file system made of Debian packages.

use std::fs;

use kiln_checks::{Project, Scratch};

use crate::shared;

const MANIFEST: &str = r#"
[flake]
name = "debian"
targets = ["x86_64"]

[seed.small]
debian = "bookworm"
packages = ["base-files", "dash", "passwd"]

[rootfs.small]
packages = ["seed.small"]
remove = ["/etc/rmt", "/usr/bin/debconf*", "/usr/sbin/dpkg-*", "/usr/share/debconf/**", "/usr/share/doc/**"]
modes."/usr/bin/chfn" = { mode = "0755" }
"#;

#[test]
fn takes_owners_and_modes_from_the_packages() {
    let (shared, scratch) = (shared(), Scratch::new());
    let project = Project::at(scratch.path());
    project.write("flake-like.toml", MANIFEST);
    let kiln = || shared.kiln(project.directory());
    kiln().args(["lock"]).succeed();
    kiln().args(["build", "rootfs.small"]).succeed();
    let meta = fs::read_to_string(scratch.join("result/meta")).expect("it was made");
    let lines: Vec<_> = meta.lines().collect();
    for line in [
        "d 0700 0 0 /root",
        "d 1777 0 0 /tmp",
        "d 2775 0 50 /var/local",
        "f 2755 0 42 /usr/bin/chage",
        "f 4755 0 0 /usr/bin/passwd",
        // The manifest has the last word.
        "f 0755 0 0 /usr/bin/chfn",
    ] {
        assert!(lines.contains(&line), "no `{line}`:\n{meta}");
    }
    // What was removed is not spoken of.
    assert!(!meta.contains("debconf"), "{meta}");
}
