//! Everything that is hashed, pinned: a digest here that changes is a break of
//! the format, and every store and cache would lose what it holds.
//!
//! `docs/formats.md` shows how to get the digests without kiln.

use expect_test::{Expect, expect};
use kiln_store::hash::{ActionKey, ContentId, Digest, RecipeKey, TreeId};
use kiln_store::realisation::{Realisation, RealisationError, SignedRealisation};
use kiln_store::tree::{Directory, Entry, Name, Node, TreeError};
use proptest::collection::vec;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::try_from(text).expect("a name")
}

fn file(content: &[u8], executable: bool) -> Node {
    Node::File {
        content: ContentId(Digest::of(content)),
        size: content.len() as u64,
        executable,
    }
}

fn directory(entries: Vec<(&str, Node)>) -> Directory {
    let entries = entries.into_iter().map(|(text, node)| Entry {
        name: name(text),
        node,
    });
    Directory::new(entries.collect()).expect("a directory")
}

fn small_tree() -> Directory {
    directory(vec![
        ("hello", file(b"hello\n", false)),
        ("run", file(b"#!/bin/sh\n", true)),
        (
            "link",
            Node::Symlink {
                target: b"hello".to_vec(),
            },
        ),
        (
            "sub",
            Node::Directory {
                tree: directory(vec![]).id(),
            },
        ),
    ])
}

fn realisation() -> Realisation {
    Realisation {
        recipe: RecipeKey(Digest::of(b"recipe")),
        action: ActionKey(Digest::of(b"action")),
        outputs: vec![
            ("dev".to_owned(), TreeId(Digest::of(b"dev"))),
            ("out".to_owned(), TreeId(Digest::of(b"out"))),
        ],
        build_platform: "x86_64-linux".to_owned(),
        contract: 300,
        facts: vec![("kernel".to_owned(), "6.1".to_owned())],
        key: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(actual: impl ToString, expected: &Expect) {
    expected.assert_eq(&actual.to_string());
}

#[test]
fn golden_digests_of_directories() {
    check(
        Digest::of(b""),
        &expect!["af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
    );
    check(
        directory(vec![]).id(),
        &expect!["db483a3bdf87eca2d091d31e6b34fd18256811a45cb11632b0d151166ac53999"],
    );
    check(hex(&directory(vec![]).encode()), &expect!["00"]);
    check(
        small_tree().id(),
        &expect!["c263e70c66d724e002c85d3eed697945ef969eb98a6f645e77669aebfc91d179"],
    );
    check(
        hex(&small_tree().encode()),
        &expect![
            "040568656c6c6f008e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a990600046c696e6b010568656c6c6f0372756e00bc1f407a11c9377c8b9b13f956b279c8462775105eb958fc9ae3c40de87cc96e0a010373756202db483a3bdf87eca2d091d31e6b34fd18256811a45cb11632b0d151166ac53999"
        ],
    );
    let large = directory(vec![(
        "f",
        Node::File {
            content: ContentId(Digest::of(b"x")),
            size: u64::from(u32::MAX) + 1,
            executable: false,
        },
    )]);
    check(
        large.id(),
        &expect!["a1acdf77a52623df6cfbcf20e785103253f5bf73b6f1e71faef2f7c112ab6e3a"],
    );
}

#[test]
fn golden_digests_of_realisations() {
    let unsigned = SignedRealisation {
        realisation: realisation(),
        signature: None,
    };
    check(
        unsigned.realisation.id(),
        &expect!["ba522c1686176c38e7af96bb214666e85f762a0a0311b824791e6a658aa09298"],
    );
    check(
        hex(&unsigned.encode()),
        &expect![
            "2cd86560b2a6a0a54b6f2767adec4d9fbf74c7b4c39ebca63fef3cdcee0d14f303b58451cab1e89b16ac6ecefe124ec6cf475071aa3375097a96cfc88420b8430203646576b7cb6f1c04d6b5ca86d921baff4119ad2f1e7a5f3a50182d88efbf0f1f165ca4036f75745443af0c0e97f60b57f1450f3051247bce8f92565feb6cd650c9369b79f0b43b0c7838365f36342d6c696e7578fb2c0101066b65726e656c03362e310000"
        ],
    );
    let signed = SignedRealisation {
        realisation: Realisation {
            key: Some([7; 32]),
            ..realisation()
        },
        signature: Some([9; 64]),
    };
    check(
        signed.realisation.id(),
        &expect!["83b4aad09b1a32b8f0c2a7f6995d5f28cc10625389438d203122328d5b06a6de"],
    );
    check(
        Digest::of(&signed.encode()),
        &expect!["750a14ac0de60a0f9587132a51fe12878861b33cef757968969ed6a767e5fc1b"],
    );
}

/// One entry `a`, an empty symlink-free directory, in bytes to be spoiled.
fn one_entry() -> Vec<u8> {
    let node = Node::Directory {
        tree: directory(vec![]).id(),
    };
    directory(vec![("a", node)]).encode()
}

#[test]
fn only_what_the_encoder_writes_is_decoded() {
    let check = |what: &str, bytes: &[u8], expected: fn(&TreeError) -> bool| {
        let error = Directory::decode(bytes).expect_err(what);
        assert!(expected(&error), "{what}: {error}");
    };
    let canonical = |error: &TreeError| matches!(error, TreeError::Canonical(_));
    let good = one_entry();
    assert!(Directory::decode(&good).is_ok());
    check("nothing", &[], canonical);
    check("trailing byte", &[&good[..], &[0]].concat(), canonical);
    check("cut short", &good[..good.len() - 1], canonical);
    check(
        "count in three bytes",
        &[&[251, 1, 0], &good[1..]].concat(),
        canonical,
    );
    check(
        "length in nine bytes",
        &[&[1, 253, 1, 0, 0, 0, 0, 0, 0, 0], &good[2..]].concat(),
        canonical,
    );
    check("more entries than bytes", &[255], canonical);
    check("unknown kind", &[1, 1, b'a', 3], canonical);
    check(
        "a count of billions",
        &[253, 0, 0, 0, 0, 255, 0, 0, 0],
        canonical,
    );
    let entry = &good[1..];
    let twice = [&[2], entry, entry].concat();
    check("a name twice", &twice, |e| matches!(e, TreeError::Order(_)));
    let mut swapped = twice;
    swapped[2] = b'b';
    check("unsorted", &swapped, |e| matches!(e, TreeError::Order(_)));
    for bad in [&b"."[..], b"..", b"", b"a/b", b"a\0b", &[b'x'; 256]] {
        let length = if bad.len() < 251 {
            vec![bad.len() as u8]
        } else {
            vec![251, 0, 1]
        };
        let bytes = [&[1], &length[..], bad, &good[3..]].concat();
        check("bad name", &bytes, |e| matches!(e, TreeError::Name(_)));
    }
    check("empty target", &[1, 1, b'a', 1, 0], |e| {
        matches!(e, TreeError::Target(_))
    });
    check("NUL in target", &[1, 1, b'a', 1, 1, 0], |e| {
        matches!(e, TreeError::Target(_))
    });
    let boolean = [&[1, 1, b'a', 0][..], &[0; 32], &[0, 2]].concat();
    check("a boolean of 2", &boolean, canonical);
}

#[test]
fn realisations_are_decoded_strictly() {
    let check = |what: &str,
                 change: fn(&mut SignedRealisation),
                 expected: fn(&RealisationError) -> bool| {
        let mut signed = SignedRealisation {
            realisation: realisation(),
            signature: None,
        };
        assert_eq!(
            SignedRealisation::decode(&signed.encode()).expect(what),
            signed
        );
        change(&mut signed);
        let error = SignedRealisation::decode(&signed.encode()).expect_err(what);
        assert!(expected(&error), "{what}: {error}");
    };
    let order = |error: &RealisationError| matches!(error, RealisationError::Order { .. });
    check("no output", |s| s.realisation.outputs.clear(), order);
    check(
        "unsorted outputs",
        |s| s.realisation.outputs.reverse(),
        order,
    );
    check(
        "a fact twice",
        |s| {
            let fact = s.realisation.facts[0].clone();
            s.realisation.facts.push(fact);
        },
        order,
    );
    let half = |error: &RealisationError| matches!(error, RealisationError::HalfSigned { .. });
    check("no signature", |s| s.realisation.key = Some([0; 32]), half);
    check("no key", |s| s.signature = Some([0; 64]), half);
}

fn any_node() -> impl Strategy<Value = Node> {
    prop_oneof![
        (any::<[u8; 32]>(), any::<u64>(), any::<bool>()).prop_map(|(digest, size, executable)| {
            Node::File {
                content: ContentId(Digest::from_bytes(digest)),
                size,
                executable,
            }
        }),
        vec(1..=255_u8, 1..300).prop_map(|target| Node::Symlink { target }),
        any::<[u8; 32]>().prop_map(|digest| Node::Directory {
            tree: TreeId(Digest::from_bytes(digest)),
        }),
    ]
}

fn any_name() -> impl Strategy<Value = Name> {
    vec(1..=255_u8, 1..=255).prop_filter_map("no name", |bytes| Name::new(bytes).ok())
}

fn any_directory() -> impl Strategy<Value = Directory> {
    proptest::collection::btree_map(any_name(), any_node(), 0..40).prop_map(|entries| {
        let entries = entries.into_iter().map(|(name, node)| Entry { name, node });
        Directory::new(entries.collect()).expect("a directory")
    })
}

proptest! {
    #[test]
    fn directories_come_back_as_they_were(directory in any_directory()) {
        let encoded = directory.encode();
        prop_assert_eq!(Directory::decode(&encoded).expect("to decode"), directory);
    }

    #[test]
    fn no_two_encodings_decode_to_the_same(
        directory in any_directory(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut encoded = directory.encode();
        let at = at.index(encoded.len());
        encoded[at] ^= 1 << bit;
        if let Ok(other) = Directory::decode(&encoded) {
            prop_assert_ne!(&other, &directory);
            prop_assert_eq!(other.encode(), encoded);
        }
    }

    #[test]
    fn no_bytes_are_decoded_that_would_be_written_otherwise(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(directory) = Directory::decode(&bytes) {
            prop_assert_eq!(directory.encode(), &bytes[..]);
        }
        if let Ok(signed) = SignedRealisation::decode(&bytes) {
            prop_assert_eq!(signed.encode(), bytes);
        }
    }
}
