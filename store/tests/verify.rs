//! Damage is found, named, and mended by removing it.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use kiln_store::hash::TreeId;
use kiln_store::objects::Objects;
use kiln_store::store::{OpenOptions, Store};
use kiln_store::tree::Node;
use kiln_store::verify::Problem;
use support::{Fixture, write_tree};

struct Damaged {
    fixture: Fixture,
    source: PathBuf,
    tree: TreeId,
}

impl Damaged {
    fn new() -> Self {
        let fixture = Fixture::new();
        let source = fixture.dir("source");
        write_tree(&source);
        let tree = fixture.import(&source).tree;
        Self {
            fixture,
            source,
            tree,
        }
    }

    /// The blob of the file `large`, four levels down.
    fn blob(&self) -> PathBuf {
        let mut tree = self.tree;
        for name in ["a", "b", "c", "d"] {
            let directory = self.fixture.store.directory(&tree).expect("a directory");
            let Some(Node::Directory { tree: child }) = directory.get(name.as_bytes()) else {
                panic!("{name} is a directory");
            };
            tree = *child;
        }
        let directory = self.fixture.store.directory(&tree).expect("a directory");
        let Some(Node::File { content, .. }) = directory.get(b"large") else {
            panic!("large is a file");
        };
        let hex = content.to_string();
        self.fixture
            .store
            .path()
            .join(format!("blobs/{}/{hex}x", &hex[..2]))
    }

    /// Finds exactly one damage, mends it, and expects the next import to
    /// bring everything back.
    fn check(self, expected: &Problem) {
        let store = &self.fixture.store;
        let found = store.verify().expect("to verify").damage;
        let problems: Vec<_> = found.iter().map(|damage| &damage.problem).collect();
        assert_eq!(problems, [expected]);
        let of_tree = store.verify_tree(&self.tree).expect("to verify");
        assert_eq!(of_tree.damage, found);
        let gone = store.remove_damaged(&found).expect("to mend");
        assert!(gone.contains(&self.tree), "what reaches the damage is gone");
        assert!(!store.has_tree(&self.tree).expect("to look"));
        assert_eq!(store.verify().expect("to verify").damage, []);
        assert_eq!(self.fixture.import(&self.source).tree, self.tree);
        let whole = store.verify_tree(&self.tree).expect("to verify");
        assert_eq!(whole.damage, []);
    }
}

fn chmod(path: &PathBuf, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("to chmod");
}

#[test]
fn a_whole_store_has_no_damage() {
    let damaged = Damaged::new();
    let report = damaged.fixture.store.verify().expect("to verify");
    assert_eq!(report.damage, []);
    assert!(report.files >= 5 && report.directories >= 6);
}

#[test]
fn a_flipped_bit_is_found() {
    let damaged = Damaged::new();
    let blob = damaged.blob();
    let mut bytes = fs::read(&blob).expect("to read");
    bytes[1_000_000] ^= 1;
    chmod(&blob, 0o755);
    fs::write(&blob, bytes).expect("to write");
    chmod(&blob, 0o555);
    damaged.check(&Problem::Content);
}

#[test]
fn a_changed_mode_is_found() {
    let damaged = Damaged::new();
    chmod(&damaged.blob(), 0o755);
    damaged.check(&Problem::Metadata);
}

#[test]
fn a_missing_file_is_found() {
    let damaged = Damaged::new();
    let blob = damaged.blob();
    let name = blob
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let digest = name.trim_end_matches('x').parse().expect("a digest");
    fs::remove_file(blob).expect("to remove");
    damaged.check(&Problem::Lacks(digest));
}

#[test]
fn a_damaged_directory_is_found() {
    let damaged = Damaged::new();
    let hex = damaged.tree.to_string();
    let path = damaged
        .fixture
        .store
        .path()
        .join(format!("trees/{}/{hex}", &hex[..2]));
    chmod(&path, 0o644);
    fs::write(&path, "garbage").expect("to write");
    damaged.check(&Problem::Content);
}

/// What a power cut leaves: a lease of another boot, and a file that has its
/// name but lost its bytes.
#[test]
fn the_next_open_mends_what_a_power_cut_did() {
    let damaged = Damaged::new();
    let blob = damaged.blob();
    let Damaged {
        fixture,
        source,
        tree,
    } = damaged;
    let Fixture { store, dir } = fixture;
    let path = store.path().to_owned();
    drop(store);
    chmod(&blob, 0o755);
    fs::File::create(&blob).expect("to truncate");
    let lease = "kiln lease 1\nboot another\npid 1\nstart 1 0\nwrites\n";
    fs::write(path.join("leases/0123456789abcdef"), lease).expect("to write");
    fs::create_dir(path.join("tmp/0123456789abcdef")).expect("to create");
    let store = Store::open(&path, &OpenOptions::default()).expect("to open");
    assert!(!store.has_tree(&tree).expect("to look"));
    assert_eq!(store.verify().expect("to verify").damage, []);
    assert_eq!(
        fs::read_dir(path.join("tmp")).expect("a directory").count(),
        0
    );
    assert_eq!(
        fs::read_dir(path.join("leases"))
            .expect("a directory")
            .count(),
        0
    );
    let fixture = Fixture { store, dir };
    assert_eq!(fixture.import(&source).tree, tree);
}

#[test]
fn a_damaged_realisation_is_found_and_removed() {
    let damaged = Damaged::new();
    let store = &damaged.fixture.store;
    let signed = support::claim(1, damaged.tree);
    store
        .register(std::slice::from_ref(&signed))
        .expect("to register");
    let id = signed.realisation.id();
    fs::write(store.path().join(format!("realisations/{id}")), "garbage").expect("to write");
    let found = store.verify().expect("to verify").damage;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, "realisation");
    store.remove_damaged(&found).expect("to mend");
    let left = store.realisations_of_action(&signed.realisation.action);
    assert_eq!(left.expect("to look up"), []);
}
