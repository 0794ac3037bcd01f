//! The store on disk, through its public interface.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

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
