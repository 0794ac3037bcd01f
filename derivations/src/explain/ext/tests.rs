//! On two small images, made once by mke2fs 1.47.0 of the same directory:
//!
//! ```text
//! etc/passwd = root:x:0:0::/:/bin/sh
//! etc/motd = welcome
//! bin/big = line 0 to line 2499
//! link -> etc/passwd
//!
//! export E2FSPROGS_FAKE_TIME=1700000000
//! mke2fs -t TYPE -b 1024 -I INODE -N 32 -m 0 -O ^has_journal,^resize_inode -U UUID
//!     -E hash_seed=UUID,lazy_itable_init=0,root_owner=0:0 -d DIRECTORY IMAGE 128k
//! zstd -19 IMAGE && base64 IMAGE.zst
//! ```
//!
//! TYPE ext4 with INODE 256 has extents and checksums; ext2 with 128 has
//! neither. Tests change bytes in them.

use super::super::fixture::{EXPECTED_S, Found, GOT_S, contents, contents_with};
use super::super::{Clue, Difference, Limits, What};
use super::format::{self, SUPERBLOCK_AT};
use super::*;

const EXT4: &str = include_str!("golden/ext4.zst.base64");
const EXT2: &str = include_str!("golden/ext2.zst.base64");

fn unpack(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |digit| DIGITS.iter().position(|&d| d == digit).expect("a digit") as u32;
    let digits: Vec<u8> = text.bytes().filter(|b| !b"\n=".contains(b)).collect();
    let mut packed = Vec::new();
    for chunk in digits.chunks(4) {
        let bits = chunk
            .iter()
            .fold(0, |bits, digit| bits << 6 | value(*digit));
        let bytes = (bits << (6 * (4 - chunk.len()))).to_be_bytes();
        packed.extend_from_slice(&bytes[1..chunk.len()]);
    }
    zstd::decode_all(&packed[..]).expect("it was packed with zstd")
}

/// An image, and places in it that tests change.
struct Sample {
    bytes: Vec<u8>,
}

impl Sample {
    fn of(text: &str) -> Self {
        let bytes = unpack(text);
        assert_eq!(bytes.len(), 128 << 10);
        Self { bytes }
    }

    fn find(&self, text: &[u8]) -> usize {
        let found = self
            .bytes
            .windows(text.len())
            .position(|bytes| bytes == text);
        found.expect("the image holds it")
    }

    /// Where inode `number` begins.
    fn inode(&self, number: u32) -> usize {
        let image = Image::parse(&self.bytes).expect("an image");
        let inode = image.inode(number).expect("an inode");
        inode.bytes.as_ptr() as usize - self.bytes.as_ptr() as usize
    }

    fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut changed = self.bytes.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    }
}

fn field(difference: &Difference) -> &str {
    match &difference.what {
        What::Field { name } => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_fields_of_the_superblock() {
    let sample = Sample::of(EXT4);
    let check = |at, bytes: &[u8], name, clue: &Clue| {
        let found = contents(&sample.bytes, &sample.with(SUPERBLOCK_AT + at, bytes));
        assert_eq!(found.only().inside, ["superblock"]);
        assert_eq!(field(found.only()), name);
        assert!(found.only().clues.contains(clue), "{found:?}");
    };
    let random = Clue::RandomLooking {
        form: "bytes".to_owned(),
    };
    check(0x68, &[0xa5; 16], "uuid", &random);
    check(0xec, &[0xa5; 16], "hash seed", &random);
    check(0x30, &[1, 2, 3, 4], "write time", &Clue::ModTime);

    let stamped = |second: i64| sample.with(SUPERBLOCK_AT + 0x108, &(second as u32).to_le_bytes());
    let found = contents(&stamped(EXPECTED_S), &stamped(GOT_S));
    assert_eq!(field(found.only()), "mkfs time");
    assert!(matches!(found.only().clues[0], Clue::TimeOfBuild { .. }));
}

#[test]
fn names_fields_of_inodes() {
    for text in [EXT4, EXT2] {
        let sample = Sample::of(text);
        let at = sample.inode(16);
        let check = |offset, bytes: &[u8], name, clue: Clue| {
            let found = contents(&sample.bytes, &sample.with(at + offset, bytes));
            assert_eq!(found.only().inside, ["inode 16 (/etc/passwd)"]);
            assert_eq!(field(found.only()), name);
            assert_eq!(found.only().clues, [clue]);
        };
        check(0x10, &[9, 9, 9, 9], "mtime", Clue::ModTime);
        check(0x02, &[9], "uid", Clue::Owner);
        check(0x18, &[9], "gid", Clue::Owner);
        check(0x00, &[0xff], "mode", Clue::Mode);
        check(0x1a, &[7], "links", Clue::Links);
    }
}

#[test]
fn compares_what_files_hold() {
    for text in [EXT4, EXT2] {
        let sample = Sample::of(text);
        let at = sample.find(b"root:x:0");
        let found = contents(&sample.bytes, &sample.with(at, b"rOOt"));
        assert_eq!(found.only().inside, ["inode 16 (/etc/passwd)", "line 1"]);
        // In the last block of a file that has many, which do not follow each
        // other.
        let at = sample.find(b"line 2498\n");
        let found = contents(&sample.bytes, &sample.with(at, b"LINE"));
        assert_eq!(found.only().inside, ["inode 13 (/bin/big)", "line 2499"]);
        let at = sample.inode(17) + format::MAP.start;
        let found = contents(&sample.bytes, &sample.with(at, b"ETC"));
        let link = found
            .differences
            .iter()
            .find(|d| d.inside == ["inode 17 (/link)"]);
        assert_eq!(link.map(field), Some("link target"), "{found:?}");
    }
}

#[test]
fn sees_another_order_of_directories() {
    for text in [EXT4, EXT2] {
        let sample = Sample::of(text);
        let at = sample.find(b"motd") - 8;
        let end = at + 12 + 16;
        let (motd, passwd) = (&sample.bytes[at..at + 12], &sample.bytes[at + 12..end]);
        let (mut first, mut second) = (passwd.to_vec(), motd.to_vec());
        let rest = u16::from_le_bytes([first[4], first[5]]) + 12 - 16;
        first[4..6].copy_from_slice(&16_u16.to_le_bytes());
        second[4..6].copy_from_slice(&rest.to_le_bytes());
        let found = contents(&sample.bytes, &sample.with(at, &[first, second].concat()));
        assert_eq!(found.only().what, What::Order);
        assert_eq!(found.only().inside, ["inode 14 (/etc)"]);
        let clues = &found.only().clues[..];
        assert!(matches!(clues, [Clue::OtherOrder { of, .. }] if of == "directory entries"));
    }
}

#[test]
fn sees_files_that_are_only_in_one() {
    let sample = Sample::of(EXT4);
    let at = sample.find(b"motd");
    let found = contents(&sample.bytes, &sample.with(at, b"MOTD"));
    assert_eq!(found.at(&["inode 15 (/etc/motd)"]).what, What::OnlyExpected);
    assert_eq!(found.at(&["inode 15 (/etc/MOTD)"]).what, What::OnlyGot);
}

#[test]
fn sees_what_nothing_uses() {
    let sample = Sample::of(EXT4);
    let free = 100 * 1024 + 5;
    let found = contents(&sample.bytes, &sample.with(free, b"left over"));
    assert_eq!(found.only().inside, ["free block 100"]);
    assert_eq!(found.only().clues, [Clue::Unused]);

    let at = sample.find(b"welcome\n") + 500;
    let found = contents(&sample.bytes, &sample.with(at, b"left over"));
    assert_eq!(
        found.only().inside,
        ["inode 15 (/etc/motd)", "after its end"]
    );
    assert_eq!(found.only().clues, [Clue::Unused]);
}

#[test]
fn names_tables_only_if_nothing_else_differs() {
    let sample = Sample::of(EXT4);
    let image = Image::parse(&sample.bytes).expect("an image");
    let at = |block: u64| block as usize * image.block_bytes;
    let group = &image.groups[0];
    let check = |at, place: &str| {
        let mut changed = sample.bytes.clone();
        changed[at] ^= 0x40;
        assert_eq!(contents(&sample.bytes, &changed).only().inside, [place]);
        let file = sample.find(b"root:x:0");
        changed[file] = b'R';
        let found = contents(&sample.bytes, &changed);
        assert_eq!(found.only().inside, ["inode 16 (/etc/passwd)", "line 1"]);
    };
    check(at(group.block_bitmap), "block bitmap of group 0");
    check(at(group.inode_bitmap), "inode bitmap of group 0");
    check(at(group.inode_table), "inode table of group 0");
    // The free counts, and the superblock's own checksum.
    check(at(2) + 12, "group descriptors of group 0");
    check(SUPERBLOCK_AT + 0x3fc, "superblock of group 0");
}

#[test]
fn bears_images_that_lie() {
    for text in [EXT4, EXT2] {
        let sample = Sample::of(text);
        for length in (0..sample.bytes.len()).step_by(4099) {
            contents(&sample.bytes, &sample.bytes[..length]);
        }
        let mut places: Vec<usize> = (0..128).map(|n| SUPERBLOCK_AT + 4 * n).collect();
        places.extend((0..16).map(|n| 2048 + 4 * n));
        let root = sample.inode(format::ROOT_INODE);
        let big = sample.inode(13);
        places.extend((0..32).flat_map(|n| [root + 4 * n, big + 4 * n]));
        for at in places {
            for bytes in [[0xff; 4], [0xff, 0xff, 0xff, 0x0f]] {
                let changed = sample.with(at, &bytes);
                if changed != sample.bytes {
                    contents(&changed, &sample.bytes);
                }
            }
        }
    }
}

#[test]
fn does_not_walk_in_circles() {
    let sample = Sample::of(EXT4);
    // /etc/motd becomes the root directory.
    let at = sample.find(b"motd") - 8;
    let mut circle = sample.with(at, &format::ROOT_INODE.to_le_bytes());
    circle[sample.find(b"welcome")] = b'W';
    contents(&sample.bytes, &circle);
    let limits = Limits {
        max_entries: 10,
        ..Limits::default()
    };
    let found = contents_with(&sample.bytes, &circle, &limits);
    assert!(!found.cut.is_empty());
}
