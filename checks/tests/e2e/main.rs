//! The whole of kiln, judged from outside: from an empty store to a guest that
//! answers.
//!
//! All tests share one store ([`shared`]), which the first one fills by
//! `kiln boot minsys`: the one at `KILN_CHECKS_STORE`, else one that stays below
//! `/var/tmp` for the next run. Whoever needs the proof that an empty store
//! suffices gives an empty one, as `.ci/run` does.

mod caches;
mod changes;
mod commands;
mod damage;
mod debian;
mod guest;
mod init;
mod places;
mod platforms;
mod reproduce;
mod resident;
mod zoo;

use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kiln_checks::program::repository;
use kiln_checks::scratch::base;
use kiln_checks::{Events, Kiln, Outcome, Project, Scratch};

/// The store that tests share, and the run that filled it.
pub struct Shared {
    store: PathBuf,
    log: PathBuf,
    /// `kiln boot minsys` with `uname -m` typed.
    first: Outcome,
}

/// The shared store, filled.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    let shared = SHARED.get_or_init(Shared::fill);
    assert_eq!(
        shared.first.status, 0,
        "the shared store could not be filled:\n{}",
        shared.first.stderr
    );
    shared
}

impl Shared {
    /// Boots minsys. A failure is no panic: another test would try it again.
    fn fill() -> Self {
        let store = match env::var_os("KILN_CHECKS_STORE") {
            Some(path) => path.into(),
            None => own_directory().join("store"),
        };
        let log = store.with_extension("events");
        let first = Kiln::new(repository(), &store)
            .args(["boot", "minsys"])
            .stdin("uname -m\n")
            .events(&log)
            .run();
        println!(
            "boot minsys: {:.0?} wall, {:.0?} CPU",
            first.wall, first.cpu
        );
        Self { store, log, first }
    }

    /// Where it is.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// kiln on this store, in a project's directory.
    pub fn kiln(&self, directory: &Path) -> Kiln {
        Kiln::new(directory, &self.store)
    }

    /// kiln on this store and this repository's own manifest, in a directory
    /// that may get a `result`.
    pub fn own(&self, directory: &Path) -> Kiln {
        self.kiln(directory).env("KILN_MANIFEST", repository())
    }

    /// All that was ever built into this store from this repository.
    pub fn events(&self) -> Events {
        let events = Events::read(&self.log);
        assert!(
            events.built().contains("busybox"),
            "{} was not filled by these checks; give an empty store",
            self.store.display()
        );
        events
    }
}

/// A copy of the repository's manifest and recipes, with where it lies.
pub fn project() -> (Scratch, Project) {
    let scratch = Scratch::new();
    let project = Project::copy_to(scratch.path());
    (scratch, project)
}

/// A directory that stays, for this user's checks alone.
fn own_directory() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let path = base().join(format!("kiln-checks-{uid}"));
    // It is there from the second time on; whose it is, is judged below.
    let _ = DirBuilder::new().mode(0o755).create(&path);
    let found = fs::symlink_metadata(&path).expect("the directory was made");
    assert!(
        found.is_dir() && found.uid() == uid,
        "{} is somebody else's",
        path.display()
    );
    path
}
