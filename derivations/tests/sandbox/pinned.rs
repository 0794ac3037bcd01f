//! The pinned bubblewrap of this repository's own manifest, for machines that
//! have none: fetched and composed by kiln itself, with no sandbox needed.

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

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// A directory with bubblewrap and its libraries, made once for all tests.
pub(crate) fn root() -> &'static Path {
    ROOT.get_or_init(make)
}

fn make() -> PathBuf {
    let directory = tempfile::Builder::new().prefix("kiln-bwrap-").tempdir();
    let directory = directory.expect("a temporary directory").keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let store = Store::open(&directory.join("store"), &OpenOptions::default());
    let store = store.expect("a store in an empty directory");
    let copy = directory.join("root");
    let tree = realise(&store);
    store.export(&tree, &copy, false).expect("room for 6 MiB");
    // Only the copy is needed from here on.
    drop(store);
    let _ = fs::remove_dir_all(directory.join("store"));
    copy
}

fn realise(store: &Store) -> kiln_store::hash::TreeId {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../flake-like.toml");
    let lock = load_lock(&manifest.with_extension("lock")).expect("the repository's lock");
    let manifest = load(&manifest, &NoCheckout).expect("the repository's manifest");
    let sandbox = manifest.sandbox.as_ref().expect("it pins bubblewrap");
    let host = Target::host().expect("kiln knows this architecture");
    let (graph, id) = runner(&manifest, &lock, sandbox, host, &Disk).expect("it is pinned");
    let downloads = store.path().join("downloads");
    let fetch = || FetchConfig::of_machine(downloads.clone());
    let none = |_| {
        Err(BuildError::new(
            FailureClass::Sandbox,
            "not for a composition",
        ))
    };
    let machine = Machine {
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
            "bubblewrap, which is pinned, could not be had: {}",
            failure.error
        );
    }
    let (_, outputs) = report.roots[0].as_ref().expect("nothing failed");
    outputs[0].1
}
