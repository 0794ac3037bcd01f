//! What the tests of the store share.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_store::hash::{ActionKey, Digest, RecipeKey, TreeId};
use kiln_store::import::{ImportError, Imported, Limits, Rules};
use kiln_store::realisation::{Realisation, SignedRealisation};
use kiln_store::store::{OpenOptions, Store};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

/// A store in a directory that goes with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(OpenOptions::default())
    }

    pub(crate) fn with(options: OpenOptions) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store"), &options);
        Self {
            store: store.expect("to open a new store"),
            dir,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new, empty directory.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("to create a directory");
        path
    }

    pub(crate) fn try_import(&self, path: &Path, limits: Limits) -> Result<Imported, ImportError> {
        let dir = fs::File::open(path).expect("to open a directory");
        self.store.import(dir.as_fd(), &Rules::output(limits))
    }

    /// Another handle on the store, as another process has it.
    pub(crate) fn reopen(&self) -> Store {
        Store::open(self.store.path(), &OpenOptions::default()).expect("to open")
    }

    /// Removes what is too deep for the temporary directory to be removed.
    pub(crate) fn remove_nested(&self, path: &Path) {
        let dir = self.store.new_build_dir("nested").expect("a directory");
        fs::rename(path, dir.path().join("nested")).expect("to rename");
        dir.remove().expect("to remove");
    }

    pub(crate) fn import(&self, path: &Path) -> Imported {
        import(&self.store, path)
    }
}

/// Captures what a builder left.
pub(crate) fn import(store: &Store, path: &Path) -> Imported {
    let dir = fs::File::open(path).expect("to open a directory");
    let imported = store.import(dir.as_fd(), &Rules::output(Limits::default()));
    imported.expect("to import")
}

/// A claim that an action gave a tree.
pub(crate) fn claim(number: u8, tree: TreeId) -> SignedRealisation {
    SignedRealisation {
        realisation: Realisation {
            recipe: RecipeKey(Digest::of(&[number / 2])),
            action: ActionKey(Digest::of(&[number, number])),
            outputs: vec![("out".to_owned(), tree)],
            build_platform: "x86_64-linux".to_owned(),
            contract: 1,
            facts: Vec::new(),
            key: None,
        },
        signature: None,
    }
}

/// Nests directories, as `mkdir && cd` in a loop does.
pub(crate) fn nest(root: &Path, levels: usize) {
    let mut here = OwnedFd::from(fs::File::open(root).expect("to open"));
    for _ in 0..levels {
        mkdirat(&here, "deeper", Mode::RWXU).expect("to make a directory");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        here = openat(here.as_fd(), "deeper", flags, Mode::empty()).expect("to open");
    }
}

/// Writes a tree with something of everything into an empty directory.
pub(crate) fn write_tree(root: &Path) {
    let deep = root.join("a/b/c/d");
    fs::create_dir_all(&deep).expect("to create directories");
    fs::create_dir(root.join("empty")).expect("to create a directory");
    let write = |path: &Path, content: &[u8], mode| {
        fs::write(path, content).expect("to write");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("to chmod");
    };
    write(&root.join("plain"), b"plain", 0o644);
    write(&root.join("again"), b"plain", 0o600);
    write(&root.join("script"), b"plain", 0o755);
    write(&root.join("nothing"), b"", 0o644);
    write(&root.join("nothing too"), b"", 0o644);
    write(&deep.join("zeros"), &vec![0; 3 << 20], 0o444);
    let mut large: Vec<u8> = (0..2_500_000_u32).map(|n| (n % 251) as u8).collect();
    large[200_000..900_000].fill(0);
    write(&deep.join("large"), &large, 0o555);
    write(
        &root.join(OsStr::from_bytes(b"\xff\xfe\n")),
        b"bytes",
        0o640,
    );
    symlink("nowhere/\u{1f9f1}", root.join("link")).expect("to link");
    symlink("plain", deep.join("plain")).expect("to link");
}

/// All files and links below `root`.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
