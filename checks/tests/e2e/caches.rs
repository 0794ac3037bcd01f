//! A whole system from a cache: pulled into an empty store, without a build, and
//! booted from there.

use std::fs;
use std::path::Path;

use kiln_checks::program::repository;
use kiln_checks::{Kiln, Scratch};
use kiln_store::trust::key::SecretKey;

use crate::shared;

#[test]
fn a_system_is_had_from_a_cache_and_boots() {
    let (shared, scratch) = (shared(), Scratch::new());
    let config = scratch.join("config");
    believe(&scratch, &config);
    // What boots it comes the same way.
    let push = shared.own(scratch.path()).env("KILN_CONFIG", &config);
    push.args(["push", "minsys", "seed.qemu", "seed.bwrap"])
        .succeed();

    let elsewhere = |store: &Path| {
        let kiln = Kiln::new(scratch.path(), store).env("KILN_CONFIG", &config);
        kiln.env("KILN_MANIFEST", repository())
    };
    let store = scratch.join("store");
    let pulled = elsewhere(&store).args(["pull", "minsys", "--out"]);
    let pulled = pulled.args([scratch.join("there")]).succeed();
    assert_eq!(pulled.events.end()["built"], 0);
    let bytes = pulled.events.end()["pulled_bytes"].as_u64();
    assert!(bytes < Some(10_000_000), "only the image came: {bytes:?}");
    let here = shared
        .own(scratch.path())
        .args(["build", "minsys", "--out"]);
    here.args([scratch.join("here")]).succeed();
    same(&scratch.join("here"), &scratch.join("there"));

    let boot = elsewhere(&store).args(["boot", "minsys"]);
    let boot = boot.stdin("uname -m\n").succeed();
    let mut answer = boot.stdout.lines();
    assert!(
        answer.any(|line| line.trim() == std::env::consts::ARCH),
        "{}",
        boot.stdout
    );
    let built = boot.events.built();
    assert!(
        built.is_empty(),
        "the emulator is from the cache too: {built:?}"
    );
}

/// A key and a cache, and a configuration that believes the one about the other.
fn believe(scratch: &Scratch, config: &Path) {
    let cache = scratch.join("cache");
    for directory in [&cache, config] {
        fs::create_dir(directory).expect("it is ours");
    }
    let key = SecretKey::generate().expect("random numbers");
    key.write(&config.join("key")).expect("writable");
    let text = format!(
        "[cache.here]\nurl = \"{}\"\n[trust]\nkeys = [{{ key = \"{}\" }}]\n",
        cache.display(),
        key.public()
    );
    fs::write(config.join("config.toml"), text).expect("writable");
}

fn same(here: &Path, there: &Path) {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("it was made");
        let mut names: Vec<_> = entries
            .map(|it| it.expect("readable").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(here), names(there));
    for name in names(here) {
        let read = |side: &Path| fs::read(side.join(&name)).expect("readable");
        assert!(read(here) == read(there), "{name:?} differs");
    }
}
