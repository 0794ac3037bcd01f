//! Roots that this repository's own manifest pins: bubblewrap for machines that
//! have none, an emulator and what to run in it. Fetched and composed by kiln
//! itself, with no sandbox needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use kiln_derivations::build::error::{BuildError, FailureClass};
use kiln_derivations::cancel::Cancel;
use kiln_derivations::derivation::Target;
use kiln_derivations::event::Silent;
use kiln_derivations::fetch::FetchConfig;
use kiln_derivations::manifest::evaluate::{Disk, runner};
use kiln_derivations::manifest::load::{NoCheckout, load, load_lock};
use kiln_derivations::realise::execute::{Options, execute};
use kiln_derivations::realise::world::Machine;
use kiln_store::store::{OpenOptions, Store};

static BWRAP: OnceLock<PathBuf> = OnceLock::new();
static EMULATION: OnceLock<PathBuf> = OnceLock::new();

/// A directory with bubblewrap and its libraries, made once for all tests.
pub(crate) fn root() -> &'static Path {
    BWRAP.get_or_init(|| make(&["bwrap"]).join("bwrap"))
}

/// A directory with the roots `qemu-user`, of this machine, and `base`, of the
/// other platform. What `KILN_TEST_EMULATION` names, else made once.
pub(crate) fn emulation() -> &'static Path {
    EMULATION.get_or_init(|| match std::env::var_os("KILN_TEST_EMULATION") {
        Some(path) => path.into(),
        None => make(&["qemu-user", "base"]),
    })
}

/// The platform whose programs this machine does not run itself.
pub(crate) fn foreign() -> Target {
    let host = Target::host().expect("kiln knows this architecture");
    let other = Target::ALL.into_iter().find(|target| *target != host);
    other.expect("there are two")
}

fn make(names: &[&str]) -> PathBuf {
    let directory = tempfile::Builder::new().prefix("kiln-pinned-").tempdir();
    let directory = directory.expect("a temporary directory").keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let store = Store::open(&directory.join("store"), &OpenOptions::default());
    let store = store.expect("a store in an empty directory");
    for name in names {
        let tree = realise(&store, name);
        let copy = directory.join(name);
        store.export(&tree, &copy, false).expect("room for 70 MiB");
    }
    // Only the copies are needed from here on.
    drop(store);
    let _ = fs::remove_dir_all(directory.join("store"));
    directory
}

fn realise(store: &Store, name: &str) -> kiln_store::hash::TreeId {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../flake-like.toml");
    let lock = load_lock(&manifest.with_extension("lock")).expect("the repository's lock");
    let manifest = load(&manifest, &NoCheckout).expect("the repository's manifest");
    let mut root = manifest.sandbox.clone().expect("it pins bubblewrap");
    root.root.value = name.to_owned();
    let platform = match name {
        "base" => foreign(),
        _ => Target::host().expect("kiln knows this architecture"),
    };
    let (graph, id) = runner(&manifest, &lock, &root, platform, &Disk).expect("it is pinned");
    let downloads = store.path().join("downloads");
    let fetch = || FetchConfig::of_machine(downloads.clone());
    let none = |_| {
        Err(BuildError::new(
            FailureClass::Sandbox,
            "not for a composition",
        ))
    };
    let machine = Machine {
        others: None,
        builds: true,
        store,
        fetch: Some(&fetch),
        find_sandbox: &none,
        user: None,
        cores: 1,
        fetcher: OnceLock::new(),
        leases: Mutex::default(),
        sandboxing: OnceLock::new(),
    };
    let options = Options {
        jobs: 1,
        downloads: 4,
        keep_going: false,
        bytes: true,
    };
    let cancel = Cancel::new().expect("an eventfd");
    let report = execute(&graph, &[id], &machine, &options, &Silent, &cancel).expect("it works");
    if let Some(failure) = report.failures.first() {
        panic!(
            "{name}, which is pinned, could not be had: {}",
            failure.error
        );
    }
    let (_, outputs) = report.roots[0].as_ref().expect("nothing failed");
    outputs[0].1
}
