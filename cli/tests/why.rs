//! `kiln why --not-cached` on a project that was shared, and then changed.

mod support;

use std::fs;

use support::Project;

const MANIFEST: &str = r#"
[flake]
name    = "paper"
targets = ["x86_64", "aarch64"]

[source.folder]
path = "folder"

[source.words]
url = "file:WORDS"
raw = true

[compose.both]
packages = ["source.folder", "source.words"]

[rootfs.small]
packages = ["both"]
files    = { "/etc/motd" = { text = "hello\n" } }
"#;

const WHY: [&str; 3] = ["why", "--not-cached", "rootfs.small"];

/// A project that was shared, and an empty store beside.
fn shared() -> Project {
    let project = Project::new(MANIFEST);
    fs::create_dir(project.path("cache")).expect("writable");
    let made = project.check(&["key", "generate"], 0, &["ed25519:"], &[]);
    let key = String::from_utf8(made.stdout).expect("text");
    let key = key.split_whitespace().find(|it| it.starts_with("ed25519:"));
    let key = key.expect("it is printed");
    believe(&project, key);
    project.check(&["lock"], 0, &[], &[]);
    project.check(&["build", "--no-result", "rootfs.small"], 0, &[], &[]);
    project.check(&["push", "rootfs.small"], 0, &["claims"], &[]);
    project
}

fn believe(project: &Project, key: &str) {
    project.write(
        "config/config.toml",
        &format!(
            "[cache.here]\nurl = \"{}\"\n[trust]\nkeys = [{{ key = \"{key}\" }}]\n",
            project.path("cache")
        ),
    );
}

fn change(project: &Project, from: &str, to: &str) {
    let manifest = MANIFEST.replace(from, to);
    assert_ne!(manifest, MANIFEST);
    let manifest = manifest.replace("WORDS", &project.path("words"));
    project.write("flake-like.toml", &manifest);
}

#[test]
fn what_is_cached_says_so() {
    let project = shared();
    for store in ["store", "empty"] {
        project.check_in(
            store,
            &WHY,
            0,
            &["rootfs.small (", "): cached, as ed25519:"],
            &[],
        );
    }
}

#[test]
fn a_changed_field_is_named() {
    let project = shared();
    change(
        &project,
        "text = \"hello\\n\"",
        "text = \"hello\\n\", mode = \"0600\"",
    );
    for store in ["store", "empty"] {
        let words = ["not cached", "It comes from: modes /etc/motd"];
        project.check_in(store, &WHY, 0, &words, &[]);
    }
}

#[test]
fn a_changed_file_is_followed_to_where_it_is() {
    let project = shared();
    project.write("folder/file", "changed\n");
    let said = project.check_in("empty", &WHY, 0, &["(follows from both)"], &[]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let last = said.lines().last().expect("it says something");
    assert_eq!(last, "It comes from: tree of source.folder", "{said}");
    // Nothing was built or fetched for it.
    project.check_in("empty", &["store", "info"], 0, &["realisations  0"], &[]);
}

#[test]
fn another_source_is_named_by_its_hash() {
    let project = shared();
    project.write("words", "other words\n");
    fs::remove_file(project.path("flake-like.lock")).expect("it is there");
    project.check(&["lock"], 0, &[], &[]);
    let words = ["It comes from: hash of source.words", "size"];
    project.check_in("empty", &WHY, 0, &words, &[]);
}

#[test]
fn who_does_not_count_is_named() {
    let project = shared();
    let other = "ed25519:8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    believe(&project, other);
    let words = ["the policy does not list this key"];
    project.check(&WHY, 0, &words, &[]);
}

#[test]
fn where_nobody_can_be_asked_it_is_a_mistake() {
    let project = shared();
    for flag in ["--offline", "--no-caches"] {
        let args = [&WHY[..], &[flag]].concat();
        project.check(&args, 2, &[], &["caches have to be asked"]);
    }
    project.write("config/config.toml", "");
    project.check(&WHY, 2, &[], &["nobody is trusted here"]);
    project.check(&["why"], 2, &[], &["--not-cached <NAME>"]);
    let unknown = ["why", "--not-cached", "rootfs.smal"];
    project.check(&unknown, 2, &[], &["did you mean `small`?"]);
}
