//! What no field and no file explains: blocks that differ, each with its
//! owner.

use super::super::look::{Look, Pair, Place};
use super::super::opaque;
use super::files::{self, Files};

/// Whose a block is, is looked up so often; nobody reads more of them.
const MAX_NAMED: usize = 2000;

/// Which blocks are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Every one that differs.
    All,
    /// Those that nothing uses.
    Free,
}

/// Compares block by block, if the images have the same blocks.
pub fn compare(look: &mut Look<'_>, expected: &Files<'_, '_>, got: &Files<'_, '_>, which: Which) {
    let (left, right) = (expected.image, got.image);
    if left.block_bytes != right.block_bytes || left.bytes.len() != right.bytes.len() {
        return;
    }
    let owners = match which {
        Which::All => owners(expected),
        Which::Free => Vec::new(),
    };
    let mut named = 0;
    let blocks = left
        .bytes
        .chunks(left.block_bytes)
        .zip(right.bytes.chunks(left.block_bytes));
    for (number, (a, b)) in (0..).zip(blocks) {
        let pair = Pair {
            expected: a,
            got: b,
        };
        if !pair.differs() {
            continue;
        }
        if left.is_free(number) && right.is_free(number) {
            let place = Place::one_of("free block", format!("free block {number}"));
            look.within(place, |look| files::unused(look, pair));
        } else if which == Which::All {
            named += 1;
            let owners = if named > MAX_NAMED { &[][..] } else { &owners };
            let place = owner(owners, number);
            look.within(place, |look| opaque::compare(look, pair));
        }
    }
}

/// Blocks from one to before another, and whose they are.
struct Owner {
    blocks: std::ops::Range<u64>,
    kind: &'static str,
    name: String,
}

fn owner(owners: &[Owner], block: u64) -> Place {
    match owners.iter().find(|owner| owner.blocks.contains(&block)) {
        Some(owner) => {
            let offset = block - owner.blocks.start;
            let text = match offset {
                0 => owner.name.clone(),
                offset => format!("{}, block {offset} of it", owner.name),
            };
            Place::one_of(owner.kind, text)
        }
        None => Place::one_of("block", format!("block {block}")),
    }
}

fn owners(files: &Files<'_, '_>) -> Vec<Owner> {
    let image = files.image;
    let mut owners = Vec::new();
    let mut add = |start: u64, blocks: u64, kind, name: String| {
        owners.push(Owner {
            blocks: start..start.saturating_add(blocks),
            kind,
            name,
        });
    };
    for (number, group) in image.groups.iter().enumerate() {
        let of = |what| format!("{what} of group {number}");
        add(group.block_bitmap, 1, "block bitmap", of("block bitmap"));
        add(group.inode_bitmap, 1, "inode bitmap", of("inode bitmap"));
        let blocks = image.inode_table_blocks();
        add(group.inode_table, blocks, "inode table", of("inode table"));
    }
    for (path, file) in &files.by_path {
        let title = files::title(path, file);
        for run in &file.runs {
            add(run.physical, run.blocks, "data", format!("data of {title}"));
        }
        for node in &file.nodes {
            add(*node, 1, "map", format!("block map of {title}"));
        }
    }
    // Last: copies of these are in some groups only, and what else may be
    // there has been named.
    for number in 0..image.groups.len() as u64 {
        let start = image.first_block + number * image.blocks_per_group;
        let of = |what| format!("{what} of group {number}");
        add(start, 1, "superblock", of("superblock"));
        add(
            start + 1,
            image.descriptor_blocks,
            "descriptors",
            of("group descriptors"),
        );
    }
    owners
}
