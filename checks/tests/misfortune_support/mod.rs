//! Small projects whose packages take milliseconds, each with a store of its
//! own that has the build root and bubblewrap already.
//!
//! What they are pinned to is taken from kiln's own lock, fetched once for all
//! tests of a program, and copied.

#![allow(dead_code, reason = "each program needs a part of it")]

pub mod process;
pub mod server;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use kiln_checks::program::repository;
use kiln_checks::{Events, Kiln, Outcome, Scratch, UNUSED_ID, is_root};
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::lock::{PinnedSeed, PinnedSource, request};
use kiln_derivations::manifest::{Lock, Manifest, load};
use kiln_store::hash::Digest;

/// What every small project begins with.
pub const HEAD: &str = r#"[flake]
name = "small"
targets = ["x86_64", "aarch64"]

[sandbox]
root = "bwrap"

[seed.bwrap]
debian = "bookworm"
packages = ["bubblewrap"]
exclude = ["gcc-12-base", "libgcc-s1"]
remove = ["/etc/**", "/usr/lib/*/gconv/**", "/usr/share/**"]

[seed.base]
debian = "bookworm"
packages = ["coreutils", "dash", "perl-base"]
exclude = ["base-files", "debconf", "debianutils", "dpkg", "gcc-12-base"]
remove = ["/etc/**", "/usr/share/**", "/usr/lib/*/gconv/**"]

"#;

/// What of kiln's own seed `base` the small one has.
const PACKAGES: [&str; 11] = [
    "coreutils",
    "dash",
    "libacl1",
    "libattr1",
    "libc6",
    "libcrypt1",
    "libgcc-s1",
    "libgmp10",
    "libpcre2-8-0",
    "libselinux1",
    "perl-base",
];

/// Who runs kiln.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// root.
    Root,
    /// An ordinary user.
    User,
}

impl Who {
    /// Everybody that this process can run kiln as: root runs it as both.
    pub fn all() -> Vec<Who> {
        match is_root() {
            true => vec![Who::Root, Who::User],
            false => vec![Who::User],
        }
    }

    /// The most that this process can be.
    pub fn me() -> Who {
        Who::all()[0]
    }

    /// Gives `path` to them.
    pub fn own(self, path: &Path) {
        if is_root() && self == Who::User {
            chown(path, Some(UNUSED_ID), Some(UNUSED_ID)).expect("root may");
        }
    }
}

/// A project and a store, which go when this is dropped.
pub struct Shop {
    scratch: Scratch,
    who: Who,
}

impl Shop {
    /// A project with `packages` after [`HEAD`], and a store that can build.
    pub fn new(who: Who, packages: &str) -> Self {
        let shop = Self::without_store(who, packages);
        copy_store(who, &shop.store());
        shop
    }

    /// The same before anything was built.
    pub fn without_store(who: Who, packages: &str) -> Self {
        let scratch = match who {
            Who::Root => Scratch::new(),
            Who::User => Scratch::of_user(),
        };
        let shop = Self { scratch, who };
        fs::create_dir(shop.project()).expect("it is new");
        who.own(&shop.project());
        shop.write("flake-like.toml", &format!("{HEAD}{packages}"));
        shop.lock(Vec::new());
        shop
    }

    /// Pins the seeds, and `sources`.
    pub fn lock(&self, sources: Vec<PinnedSource>) {
        let manifest = load::load(&self.project().join("flake-like.toml"), &load::NoCheckout);
        // A manifest with a mistake is locked as its head is.
        let text = match manifest {
            Ok(manifest) => lock(&manifest, sources).write(),
            Err(_) => lock(&head(), sources).write(),
        };
        self.write("flake-like.lock", &text);
    }

    /// The directory that has everything.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The project.
    pub fn project(&self) -> PathBuf {
        self.scratch.join("project")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.scratch.join("store")
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.project().join(name);
        fs::write(&path, text).expect("the project can be written");
        self.who.own(&path);
    }

    /// Replaces the packages of the project.
    pub fn packages(&self, packages: &str) {
        self.write("flake-like.toml", &format!("{HEAD}{packages}"));
    }

    /// Replaces a text of the manifest.
    pub fn replace(&self, from: &str, to: &str) {
        let path = self.project().join("flake-like.toml");
        let text = fs::read_to_string(path).expect("it is there");
        assert!(text.contains(from), "{from:?} in {text}");
        self.write("flake-like.toml", &text.replace(from, to));
    }

    /// kiln, with `arguments`.
    pub fn kiln(&self, arguments: &[&str]) -> Kiln {
        kiln(self.who, &self.project(), &self.store()).args(arguments)
    }

    /// Runs `kiln build` without network.
    pub fn build(&self, names: &[&str]) -> Outcome {
        self.kiln(&["build", "--no-result", "--offline"])
            .args(names)
            .run()
    }

    /// Says what is wrong with the store after kiln has ended.
    pub fn assert_sound(&self) {
        self.kiln(&["verify"]).succeed();
        for name in ["build", "tmp", "leases"] {
            let left = names(&self.store().join(name));
            assert_eq!(left, [""; 0], "left in {name}/");
        }
        assert_eq!(process::of_store(&self.store()), [""; 0], "still running");
    }
}

/// kiln as `who`.
pub fn kiln(who: Who, project: &Path, store: &Path) -> Kiln {
    match who {
        Who::Root => Kiln::new(project, store),
        Who::User => Kiln::as_user(project, store),
    }
}

/// What one failed derivation's event says.
pub fn failure_of<'e>(events: &'e Events, name: &str) -> (&'e str, &'e str) {
    let failed = events
        .of_kind("failed")
        .find(|event| event["derivation"]["name"] == name)
        .unwrap_or_else(|| panic!("`{name}` did not fail: {events:?}"));
    let text = |key: &str| failed[key].as_str().expect("it is a text");
    (text("class"), text("message"))
}

/// The names in a directory, sorted; none if it is not there.
pub fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a directory can be listed");
        entry.file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The room that a directory takes with all below it, in KiB.
pub fn tree_kib(directory: &Path) -> u64 {
    let blocks = names(directory).into_iter().map(|name| {
        let path = directory.join(name);
        let stat = fs::symlink_metadata(&path).expect("it is there");
        match stat.is_dir() {
            true => 4 + tree_kib(&path),
            false => stat.blocks().div_ceil(8) * 4,
        }
    });
    blocks.sum()
}

/// Everything below a directory: path, mode, owner and where a link leads; of
/// files size and time of the last change.
pub fn listing(directory: &Path) -> Listing {
    let mut found = Listing::new();
    list(directory, &mut found);
    found
}

/// What is known of every path.
pub type Listing = BTreeMap<PathBuf, String>;

fn list(path: &Path, found: &mut Listing) {
    let stat = fs::symlink_metadata(path).expect("it is there");
    let link = fs::read_link(path).unwrap_or_default();
    // What comes and goes in a directory while somebody looks is no change.
    let content = match stat.is_dir() {
        true => String::new(),
        false => format!("{} {}.{:09}", stat.size(), stat.mtime(), stat.mtime_nsec()),
    };
    let line = format!(
        "{:o} {} {content} {}",
        stat.mode(),
        stat.uid(),
        link.display()
    );
    found.insert(path.to_owned(), line);
    if stat.is_dir() {
        for name in names(path) {
            list(&path.join(name), found);
        }
    }
}

fn head() -> Manifest {
    let scratch = Scratch::new();
    let path = scratch.join("flake-like.toml");
    fs::write(&path, HEAD).expect("it can be written");
    load::load(&path, &load::NoCheckout).expect("the head is sound")
}

/// A lock for `manifest`, with the pins that kiln's own lock has.
fn lock(manifest: &Manifest, sources: Vec<PinnedSource>) -> Lock {
    let text = fs::read_to_string(repository().join("flake-like.lock")).expect("kiln has a lock");
    let mut lock = Lock::parse("flake-like.lock", &text).expect("kiln's own lock is sound");
    let base = lock.seeds["base"].clone();
    lock.seeds.retain(|name, _| name == "bwrap");
    for (name, seed) in &manifest.seeds {
        if name.value != "bwrap" {
            let wanted: Vec<_> = match name.value.as_str() {
                "base" => PACKAGES.to_vec(),
                _ => seed.packages.iter().map(|it| it.value.as_str()).collect(),
            };
            let pinned = PinnedSeed {
                name: name.value.clone(),
                ..part_of(&base, &wanted)
            };
            lock.seeds.insert(name.value.clone(), pinned);
        }
        if let Some(pinned) = lock.seeds.get_mut(name.value.as_str()) {
            pinned.request = request(seed);
        }
    }
    lock.sources = sources
        .into_iter()
        .map(|source| (source.name.clone(), source))
        .collect();
    lock
}

/// A seed with only these of its packages.
fn part_of(seed: &PinnedSeed, wanted: &[&str]) -> PinnedSeed {
    let mut part = seed.clone();
    for platform in Target::ALL {
        let packages = part.packages_mut(platform);
        packages.retain(|package| wanted.contains(&package.name.as_str()));
        assert_eq!(packages.len(), wanted.len(), "kiln's seed `base` has all");
    }
    part
}

/// Copies a store that has the seeds, as kiln left it. Objects are linked where
/// the file system can: kiln never writes to one, and each registering would
/// have to wait until all copies are on the disk.
pub fn copy_store(who: Who, to: &Path) {
    let template = template(who);
    fs::create_dir(to).expect("it is new");
    for name in names(&template) {
        let from = template.join(&name);
        let objects = ["blobs", "trees"].contains(&name.as_str());
        if !objects || !copy(&from, to, "-al") {
            assert!(copy(&from, to, "-a"), "cp -a of {from:?}");
        }
    }
    let attributes = Command::new("chmod")
        .arg("--reference")
        .args([&template, to])
        .status();
    assert!(attributes.expect("the checks need chmod").success());
    who.own(to);
}

/// Copies into a directory; false if that does not go.
fn copy(from: &Path, to: &Path, options: &str) -> bool {
    let copied = Command::new("cp")
        .arg(options)
        .arg("--")
        .args([from, to])
        .output();
    let succeeded = copied.expect("the checks need cp").status.success();
    if !succeeded {
        let _ = fs::remove_dir_all(to.join(from.file_name().expect("it has a name")));
    }
    succeeded
}

/// A store with the seeds. It lies in the target directory, so that it is
/// fetched once for all programs, and is made anew for another kiln.
fn template(who: Who) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    static KEY: OnceLock<String> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let kiln = Digest::of_file(kiln_checks::program::kiln()).expect("kiln can be read");
        let lock = lock(&head(), Vec::new()).write();
        Digest::of(format!("{kiln} {lock} {HEAD}").as_bytes()).to_string()
    });
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let store = all.join(format!("seeds-{who:?}-{key}"));
    let _one = MAKING.lock().unwrap_or_else(|e| e.into_inner());
    if !store.is_dir() {
        let old = format!("seeds-{who:?}-");
        for name in names(all).into_iter().filter(|name| name.starts_with(&old)) {
            fs::remove_dir_all(all.join(name)).expect("it is ours");
        }
        make_template(who, &store);
    }
    store
}

fn make_template(who: Who, to: &Path) {
    let shop = Shop::without_store(who, "");
    let fetch = shop.kiln(&["build", "--no-result", "base", "bwrap"]);
    fetch.succeed();
    for name in ["mat", "downloads", "roots"] {
        let directory = shop.store().join(name);
        for name in names(&directory) {
            let path = directory.join(name);
            match path.is_dir() {
                true => fs::remove_dir_all(path).expect("it is ours"),
                false => fs::remove_file(path).expect("it is ours"),
            }
        }
    }
    let partial = to.with_extension(std::process::id().to_string());
    assert!(copy(&shop.store(), &partial, "-a"), "cp -a to {partial:?}");
    fs::rename(&partial, to).expect("it is new");
}
