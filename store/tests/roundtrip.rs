//! Any tree goes through the store and every form of it on disk unchanged.

mod support;

use std::sync::LazyLock;

use kiln_store::hash::TreeId;
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::{Directory, Entry, Name, Node};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use support::Fixture;

static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::new);

/// A tree that is not stored yet.
#[derive(Clone, Debug)]
enum Sketch {
    File(Vec<u8>, bool),
    Symlink(Vec<u8>),
    Directory(Vec<(Name, Sketch)>),
}

impl Sketch {
    fn put(&self, objects: &dyn Objects) -> Node {
        match self {
            Self::File(content, executable) => {
                let put = objects.put_file(&mut content.as_slice(), *executable);
                let (content, size) = put.expect("to put a file");
                Node::File {
                    content,
                    size,
                    executable: *executable,
                }
            }
            Self::Symlink(target) => Node::Symlink {
                target: target.clone(),
            },
            Self::Directory(entries) => Node::Directory {
                tree: put_directory(entries, objects),
            },
        }
    }
}

fn put_directory(entries: &[(Name, Sketch)], objects: &dyn Objects) -> TreeId {
    let entries = entries.iter().map(|(name, sketch)| Entry {
        name: name.clone(),
        node: sketch.put(objects),
    });
    let directory = Directory::new(entries.collect()).expect("a directory");
    objects
        .put_directory(&directory)
        .expect("to put a directory")
}

fn any_name() -> impl Strategy<Value = Name> {
    let short = vec(prop_oneof![Just(b'a'), Just(b'.'), any::<u8>()], 1..12);
    let long = vec(any::<u8>(), 250..=255);
    prop_oneof![9 => short, 1 => long].prop_filter_map("no name", |bytes| Name::new(bytes).ok())
}

fn any_leaf() -> impl Strategy<Value = Sketch> {
    prop_oneof![
        // Few contents, so that many files share one.
        (vec(0..2_u8, 0..4), any::<bool>()).prop_map(|(bytes, x)| Sketch::File(bytes, x)),
        (65_530..65_540_usize, any::<bool>()).prop_map(|(n, x)| Sketch::File(vec![0; n], x)),
        vec(1..=255_u8, 1..60).prop_map(Sketch::Symlink),
    ]
}

fn any_entries() -> impl Strategy<Value = Vec<(Name, Sketch)>> {
    let node = any_leaf().prop_recursive(4, 40, 8, |inner| {
        btree_map(any_name(), inner, 0..8)
            .prop_map(|map| Sketch::Directory(map.into_iter().collect()))
    });
    btree_map(any_name(), node, 0..8).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn trees_come_back_as_they_were(entries in any_entries()) {
        let fixture = &*FIXTURE;
        let tree = put_directory(&entries, &fixture.store);
        prop_assert_eq!(put_directory(&entries, &Memory::default()), tree);

        let checkout = fixture.store.checkout(&tree).expect("to check out");
        prop_assert_eq!(fixture.import(checkout.path()).tree, tree);

        let exported = fixture.path("exported");
        fixture.store.export(&tree, &exported, true).expect("to export");
        prop_assert_eq!(fixture.import(&exported).tree, tree);

        prop_assert_eq!(fixture.store.verify_tree(&tree).expect("to verify").damage, []);
    }
}
