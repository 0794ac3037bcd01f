//! What caches hold, byte for byte: a change here is a break of the format.
//! `docs/formats.md`, section "Caches", tells it in words.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use kiln_store::cache::description::{Description, Needed};
use kiln_store::cache::error::FormatError;
use kiln_store::cache::id::{ChunkId, IndexId, PackId, index_name, pack_name, tree_name};
use kiln_store::cache::index::{Chunk, File, Frame, Index, Run};
use kiln_store::cache::sweep::Note;
use kiln_store::hash::{ContentId, Digest, TreeId};
use kiln_store::tree::Directory;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").expect("a string takes it");
        }
        text.push('\n');
    }
    text
}

fn check(bytes: &[u8], expected: Expect) {
    expected.assert_eq(&hex(bytes));
}

fn id(letter: u8) -> Digest {
    Digest::from_bytes([letter; 32])
}

/// A file of two chunks of its own and one of another index, and the empty
/// directory.
fn index() -> Index {
    let chunk = |letter, length| Chunk {
        id: ChunkId(id(letter)),
        length,
    };
    let mut index = Index::new();
    index.packs = vec![PackId(id(0xaa))];
    index.frames = vec![
        Frame {
            pack: 0,
            offset: 0,
            packed: 300,
            raw: 70_000,
            chunks: 1,
        },
        Frame {
            pack: 0,
            offset: 300,
            packed: 20,
            raw: 5,
            chunks: 1,
        },
    ];
    index.chunks = vec![chunk(1, 70_000), chunk(2, 5)];
    index.others = vec![IndexId(id(0xbb))];
    index.files = vec![File {
        content: ContentId(id(0xcc)),
        runs: vec![
            Run {
                from: 0,
                first: 0,
                count: 2,
            },
            Run {
                from: 1,
                first: 9,
                count: 1,
            },
        ],
    }];
    index.directories = vec![Directory::default().encode()];
    index
}

#[test]
fn an_index_is_written_as_ever() {
    let encoded = index().encode();
    check(
        &encoded,
        expect![[r#"
            0101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
            aaaa020000fb2c01fc701101000100fb2c011405010201010101010101010101
            01010101010101010101010101010101010101010101fc701101000202020202
            0202020202020202020202020202020202020202020202020202020501bbbbbb
            bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb01cccc
            cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc0200
            0002010901010100
        "#]],
    );
    assert_eq!(Index::decode(&encoded).expect("what was written"), index());
    let stored = index().pack().expect("to pack");
    let (read, bytes) = Index::unpack(&stored).expect("what was written");
    assert_eq!((read, bytes), (index(), encoded.len() as u64));
}

#[test]
fn a_description_is_written_as_ever() {
    let tree = TreeId(id(0xdd));
    let needed = |letter, size_bytes| Needed {
        index: IndexId(id(letter)),
        size_bytes,
    };
    let packs = vec![PackId(id(9)), PackId(id(8)), PackId(id(9))];
    let description = Description::new(tree, vec![needed(7, 1000), needed(6, 3)], packs);
    let encoded = description.encode();
    check(
        &encoded,
        expect![[r#"
            01dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
            dd02060606060606060606060606060606060606060606060606060606060606
            0606030707070707070707070707070707070707070707070707070707070707
            070707fbe8030208080808080808080808080808080808080808080808080808
            0808080808080809090909090909090909090909090909090909090909090909
            09090909090909
        "#]],
    );
    let read = Description::decode(&tree, &encoded).expect("what was written");
    assert_eq!(read, description);
}

#[test]
fn files_are_called_as_ever() {
    let names = [
        pack_name(&PackId(id(0xab))),
        index_name(&IndexId(id(0xcd))),
        tree_name(&TreeId(id(0xef))),
    ];
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    expect![[r#"
        packs/ab/abababababababababababababababababababababababababababababababab
        indexes/cd/cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
        trees/ef/efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef"#]]
    .assert_eq(&names.join("\n"));
}

#[test]
fn a_note_is_read_as_ever() {
    // Version, one file, since the second 258.
    let bytes = [&[1, 1, 7][..], b"packs/a", &[251, 2, 1]].concat();
    let note = Note::decode(&bytes).expect("a note");
    assert_eq!(note.encode(), bytes);
    let twice = [&[1, 2][..], &bytes[2..], &bytes[2..]].concat();
    assert!(matches!(Note::decode(&twice), Err(FormatError::Rule(_))));
}

#[test]
fn versions_that_never_were_are_refused() {
    for bytes in [&[][..], &[0], &[251, 1, 0]] {
        assert!(Index::decode(bytes).is_err());
    }
}
