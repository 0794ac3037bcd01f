//! The store on disk, through its public interface.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use kiln_store::error::StoreError;
use kiln_store::import::Rules;
use kiln_store::realisation::SignedRealisation;
use kiln_store::store::{OpenOptions, Store};
use kiln_store::tree::MTIME_S;

use support::{Fixture, write_tree};

#[test]
fn what_is_imported_comes_out_the_same() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let imported = fixture.import(&source);
    let out = fixture.path("out");
    fixture
        .store
        .export(&imported.tree, &out, false)
        .expect("to export");
    assert_eq!(fixture.import(&out), imported);
    assert_eq!(fs::metadata(&out).expect("a directory").mtime(), MTIME_S);
}

#[test]
fn a_checkout_is_shared_and_shows_the_tree() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let tree = fixture.import(&source).tree;
    let one = fixture.store.checkout(&tree).expect("to check out");
    let two = fixture.store.checkout(&tree).expect("to check out");
    assert_eq!(one.path(), two.path());
    assert_eq!(fixture.import(one.path()).tree, tree);
}

#[test]
fn no_two_files_of_a_checkout_set_share_an_inode() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let tree = fixture.import(&source).tree;
    let other = fixture.dir("other");
    fs::write(other.join("plain"), "plain").expect("to write");
    fs::write(other.join("own"), "own").expect("to write");
    let other = fixture.import(&other).tree;
    let set = fixture
        .store
        .checkout_set(&[tree, other, tree])
        .expect("to check out");
    let mut inodes = std::collections::HashSet::new();
    for checkout in &set {
        assert_eq!(fixture.import(checkout.path()).tree, checkout.tree());
        for file in support::files(checkout.path()) {
            let inode = fs::symlink_metadata(&file).expect("a file").ino();
            assert!(inodes.insert(inode), "{} shares its inode", file.display());
        }
    }
}

#[test]
fn a_rebuilt_index_answers_the_same() {
    let fixture = Fixture::new();
    let tree = fixture.import(&fixture.dir("empty")).tree;
    let claims: Vec<_> = (0..20).map(|n| support::claim(n, tree)).collect();
    fixture.store.register(&claims).expect("to register");
    let answers = |store: &Store| -> Vec<_> {
        let of = |claim: &SignedRealisation| {
            let realisation = &claim.realisation;
            let by_action = store.realisations_of_action(&realisation.action);
            let by_recipe = store.realisations_of_recipe(&realisation.recipe);
            (
                by_action.expect("to look up"),
                by_recipe.expect("to look up"),
            )
        };
        claims.iter().map(of).collect()
    };
    let before = answers(&fixture.store);
    assert_eq!(before[0].0, claims[..1]);
    assert_eq!(before[0].1.len(), 2);
    fixture.store.rebuild_index().expect("to rebuild");
    assert_eq!(answers(&fixture.store), before);
    let path = fixture.store.path().to_owned();
    let Fixture { store, dir } = fixture;
    drop(store);
    fs::remove_file(path.join("kiln.db")).expect("an index");
    let store = Store::open(&path, &OpenOptions::default()).expect("to open");
    assert_eq!(answers(&store), before);
    drop((store, dir));
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("a file").mode() & 0o7777
}

#[test]
fn modes_and_times_are_as_promised() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let tree = fixture.import(&source).tree;
    let checkout = fixture.store.checkout(&tree).expect("to check out");
    let (exported, copied) = (fixture.path("exported"), fixture.path("copied"));
    fixture
        .store
        .export(&tree, &exported, false)
        .expect("to export");
    fixture.store.copy_to(&tree, &copied).expect("to copy");
    let check = |root: &Path, plain, executable| {
        assert_eq!(mode(&root.join("plain")), plain);
        assert_eq!(mode(&root.join("nothing")), plain);
        assert_eq!(mode(&root.join("script")), executable);
        assert_eq!(mode(&root.join("a/b/c/d/large")), executable);
        for path in [
            "",
            "a/b",
            "plain",
            "again",
            "nothing",
            "link",
            "a/b/c/d/zeros",
        ] {
            let metadata = fs::symlink_metadata(root.join(path)).expect("an entry");
            assert_eq!(
                (metadata.mtime(), metadata.mtime_nsec()),
                (MTIME_S, 0),
                "{path}"
            );
        }
        assert_eq!(mode(root), 0o755);
        assert_eq!(mode(&root.join("a/b")), 0o755);
    };
    check(checkout.path(), 0o444, 0o555);
    check(&exported, 0o644, 0o755);
    check(&copied, 0o644, 0o755);
    for root in [&exported, &copied] {
        for file in support::files(root) {
            assert_eq!(fs::symlink_metadata(&file).expect("a file").nlink(), 1);
        }
    }
}

#[test]
fn what_is_there_is_replaced_only_on_demand() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let tree = fixture.import(&source).tree;
    let dest = fixture.dir("dest");
    fs::write(dest.join("mine"), "precious").expect("to write");
    let error = fixture
        .store
        .export(&tree, &dest, false)
        .expect_err("it exists");
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    assert!(fixture.store.copy_to(&tree, &dest).is_err());
    assert_eq!(fs::read_dir(&dest).expect("a directory").count(), 1);
    fixture
        .store
        .export(&tree, &dest, true)
        .expect("to replace");
    assert_eq!(fixture.import(&dest).tree, tree);
    let beside = fs::read_dir(fixture.dir.path()).expect("a directory");
    assert_eq!(beside.count(), 3, "source, dest and the store");
}

/// What root needs: builders run under another uid.
#[test]
fn what_a_builder_sees_belongs_to_it() {
    const BUILDER: (u32, u32) = (65_533, 65_532);
    if !rustix::process::geteuid().is_root() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = OpenOptions {
            owner: Some(BUILDER),
            ..OpenOptions::default()
        };
        let store = Store::open(&dir.path().join("store"), &options).expect("to open");
        let made = store.new_build_dir("x");
        assert!(made.is_err(), "only root can give files away");
        return;
    }
    let fixture = Fixture::with(OpenOptions {
        owner: Some(BUILDER),
        ..OpenOptions::default()
    });
    let source = fixture.dir("source");
    write_tree(&source);
    let tree = fixture.import(&source).tree;
    let checkout = fixture.store.checkout(&tree).expect("to check out");
    let scratch = fixture.store.new_build_dir("x").expect("a directory");
    let copied = scratch.path().join("src");
    fixture.store.copy_to(&tree, &copied).expect("to copy");
    let mut owned = support::files(checkout.path());
    owned.extend(support::files(&copied));
    owned.extend([
        checkout.path().to_owned(),
        checkout.path().join("a/b"),
        scratch.path(),
    ]);
    for path in owned {
        let metadata = fs::symlink_metadata(&path).expect("an entry");
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            BUILDER,
            "{}",
            path.display()
        );
    }
    let store = fixture.store.path();
    let mat = checkout.path().parent().expect("a parent");
    // A failed build is entered as the builder was.
    let on_the_way = ["mat", "build", "failed"].map(|name| store.join(name));
    for passed in on_the_way.iter().map(PathBuf::as_path).chain([store, mat]) {
        assert_eq!(mode(passed), 0o711, "{}", passed.display());
    }
    for closed in ["blobs", "trees", "realisations", "leases", "tmp"] {
        assert_eq!(mode(&store.join(closed)), 0o700, "{closed}");
    }
}

#[test]
fn a_closed_store_leaves_no_session_behind() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    fixture.import(&source);
    let path = fixture.store.path().to_owned();
    let Fixture { store, dir } = fixture;
    drop(store);
    for directory in ["leases", "tmp"] {
        let left = fs::read_dir(path.join(directory)).expect("a directory");
        assert_eq!(left.count(), 0, "{directory}");
    }
    drop(dir);
}

#[test]
fn a_local_source_is_captured_like_any_other() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let expected = fixture.import(&source);
    for _ in 0..2 {
        let imported = fixture.store.import_path(&source, &Rules::source());
        assert_eq!(imported.expect("to import"), expected);
    }
}
