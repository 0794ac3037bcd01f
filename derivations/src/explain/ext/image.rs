//! The structures of one image, read where they lie. Nothing here trusts a
//! number: what points past the image is not there.

use super::super::look::Look;
use super::super::members::{Field, Value};
use super::format::{self, Holds, le16, le32};

/// The deepest tree of extents that the kernel makes.
const MAX_EXTENT_DEPTH: u16 = 5;

/// One image.
pub struct Image<'a> {
    pub bytes: &'a [u8],
    pub block_bytes: usize,
    pub first_block: u64,
    pub blocks_per_group: u64,
    pub groups: Vec<Group>,
    pub has_journal: bool,
    /// Blocks of descriptors after each superblock.
    pub descriptor_blocks: u64,
    pub inodes_per_group: u32,
    inode_bytes: usize,
}

/// Where a group keeps its tables, as block numbers.
pub struct Group {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
}

/// One inode.
#[derive(Clone, Copy)]
pub struct Inode<'a> {
    pub number: u32,
    pub bytes: &'a [u8],
    pub mode: u16,
    pub size: u64,
    flags: u32,
}

/// Blocks of a file that follow each other, in the file and in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub logical: u64,
    pub physical: u64,
    pub blocks: u64,
    /// Allocated and never written: read as zeros.
    pub unwritten: bool,
}

impl<'a> Image<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let superblock = bytes.get(format::SUPERBLOCK_AT..)?;
        let superblock = superblock.get(..format::SUPERBLOCK_BYTES)?;
        let number = |at| le32(superblock, at);
        if le16(superblock, 0x38)? != format::MAGIC || number(0x18)? > 6 {
            return None;
        }
        let block_bytes = 1024 << number(0x18)?;
        let inode_bytes = match number(0x4c)? {
            0 => 128,
            _ => usize::from(le16(superblock, 0x58)?),
        };
        let incompatible = number(0x60)?;
        let (blocks_per_group, inodes_per_group) = (u64::from(number(0x20)?), number(0x28)?);
        let usable = inode_bytes >= 128
            && inode_bytes <= block_bytes
            && blocks_per_group > 0
            && inodes_per_group > 0
            && incompatible & format::META_BG == 0;
        if !usable {
            return None;
        }
        let descriptor_bytes = match incompatible & format::BITS_64 {
            0 => 32,
            _ => usize::from(le16(superblock, 0xfe)?).max(32),
        };
        let first_block = u64::from(number(0x14)?);
        let blocks = (bytes.len() / block_bytes) as u64;
        let count = blocks
            .saturating_sub(first_block)
            .div_ceil(blocks_per_group);
        let mut image = Self {
            bytes,
            block_bytes,
            first_block,
            blocks_per_group,
            groups: Vec::new(),
            has_journal: number(0x5c)? & format::HAS_JOURNAL != 0,
            descriptor_blocks: (count * descriptor_bytes as u64).div_ceil(block_bytes as u64),
            inodes_per_group,
            inode_bytes,
        };
        image.read_groups(count, descriptor_bytes)?;
        Some(image)
    }

    fn read_groups(&mut self, count: u64, descriptor_bytes: usize) -> Option<()> {
        let table = self.first_block.checked_add(1)?;
        let table = usize::try_from(table).ok()?.checked_mul(self.block_bytes)?;
        let wide = descriptor_bytes >= 64;
        for group in 0..usize::try_from(count).ok()? {
            // A table that ends early ends the groups: each takes bytes there.
            let start = table.checked_add(group.checked_mul(descriptor_bytes)?)?;
            let bytes = self
                .bytes
                .get(start..start.checked_add(descriptor_bytes)?)?;
            let block = |low, high| {
                let high = if wide { le32(bytes, high)? } else { 0 };
                Some(u64::from(high) << 32 | u64::from(le32(bytes, low)?))
            };
            self.groups.push(Group {
                block_bitmap: block(0, 0x20)?,
                inode_bitmap: block(4, 0x24)?,
                inode_table: block(8, 0x28)?,
            });
        }
        Some(())
    }

    /// The superblock's fields by name.
    pub fn fields(&self) -> Vec<Field> {
        let superblock = &self.bytes[format::SUPERBLOCK_AT..];
        let field = |(at, length, name, holds): &(usize, usize, &'static str, Holds)| {
            let bytes = superblock.get(*at..at + length)?;
            let number = || {
                let digits = bytes.iter().rev().take(8);
                digits.fold(0, |number, digit| number << 8 | u64::from(*digit))
            };
            let value = match holds {
                Holds::Time => Value::Time(i64::try_from(number()).ok()?),
                Holds::Number => Value::Number(number()),
                Holds::Following if *length <= 8 => Value::Following(number()),
                Holds::Following | Holds::Drawn => Value::Bytes(bytes.to_vec()),
                Holds::Text => {
                    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
                    Value::Text(bytes[..end].to_vec())
                }
            };
            Some(Field::new(name, value))
        };
        format::SUPERBLOCK.iter().filter_map(field).collect()
    }

    pub fn block(&self, number: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(number)
            .ok()?
            .checked_mul(self.block_bytes)?;
        self.bytes.get(start..start.checked_add(self.block_bytes)?)
    }

    pub fn inode(&self, number: u32) -> Option<Inode<'a>> {
        let index = number.checked_sub(1)?;
        let group = self.groups.get((index / self.inodes_per_group) as usize)?;
        let table = usize::try_from(group.inode_table)
            .ok()?
            .checked_mul(self.block_bytes)?;
        let within = (index % self.inodes_per_group) as usize * self.inode_bytes;
        let start = table.checked_add(within)?;
        let bytes = self
            .bytes
            .get(start..start.checked_add(self.inode_bytes)?)?;
        let mode = le16(bytes, 0)?;
        // Of other kinds, the upper half means something else.
        let high = match mode & format::TYPE_MASK {
            format::REGULAR => le32(bytes, 0x6c)?,
            _ => 0,
        };
        Some(Inode {
            number,
            bytes,
            mode,
            size: u64::from(high) << 32 | u64::from(le32(bytes, 4)?),
            flags: le32(bytes, 0x20)?,
        })
    }

    /// The blocks that a table of inodes takes.
    pub fn inode_table_blocks(&self) -> u64 {
        let bytes = u64::from(self.inodes_per_group) * self.inode_bytes as u64;
        bytes.div_ceil(self.block_bytes as u64)
    }

    /// Whether the bitmap says that nothing uses this block.
    pub fn is_free(&self, block: u64) -> bool {
        let bit = || {
            let index = block.checked_sub(self.first_block)?;
            let group = self
                .groups
                .get(usize::try_from(index / self.blocks_per_group).ok()?)?;
            let bit = usize::try_from(index % self.blocks_per_group).ok()?;
            let bitmap = self.block(group.block_bitmap)?;
            Some(bitmap.get(bit / 8)? >> (bit % 8) & 1)
        };
        bit() == Some(0)
    }
}

impl<'a> Inode<'a> {
    pub fn kind(&self) -> u16 {
        self.mode & format::TYPE_MASK
    }

    /// What is in the inode itself and not in blocks: a short link's target, a
    /// device's number, a small file.
    pub fn inline(&self) -> Option<&'a [u8]> {
        let map = self.bytes.get(format::MAP)?;
        let short = usize::try_from(self.size)
            .ok()
            .filter(|size| *size <= map.len());
        match self.kind() {
            format::SYMLINK if self.flags & format::EXTENTS == 0 => map.get(..short?),
            _ if self.flags & format::INLINE_DATA != 0 => map.get(..short?),
            format::CHARACTER | format::BLOCK | format::FIFO => map.get(..8),
            _ => None,
        }
    }

    /// Its blocks; second, the blocks that hold the map itself. `None` if the
    /// map is damaged or larger than may be looked at.
    pub fn runs(&self, image: &Image<'a>, look: &mut Look<'_>) -> Option<(Vec<Run>, Vec<u64>)> {
        let mut map = Map {
            image,
            runs: Vec::new(),
            nodes: Vec::new(),
        };
        if self.inline().is_some() {
            return Some((map.runs, map.nodes));
        }
        let root = self.bytes.get(format::MAP)?;
        match self.flags & format::EXTENTS {
            0 => map.pointers(look, root, self.size)?,
            _ => map.extents(look, root, MAX_EXTENT_DEPTH)?,
        }
        // No file has more blocks than there are; one that says so would have
        // the same ones read over and over.
        let blocks = map.runs.iter().map(|run| run.blocks).sum::<u64>();
        if blocks > (image.bytes.len() / image.block_bytes) as u64 {
            return None;
        }
        Some((map.runs, map.nodes))
    }
}

/// The map of one inode while it is read.
struct Map<'i, 'a> {
    image: &'i Image<'a>,
    runs: Vec<Run>,
    nodes: Vec<u64>,
}

impl Map<'_, '_> {
    fn extents(&mut self, look: &mut Look<'_>, node: &[u8], depth_left: u16) -> Option<()> {
        if le16(node, 0)? != format::EXTENT_MAGIC {
            return None;
        }
        let (entries, depth) = (usize::from(le16(node, 2)?), le16(node, 6)?);
        for entry in 0..entries {
            if !look.take_entry() {
                return None;
            }
            let entry = node.get(12 + 12 * entry..24 + 12 * entry)?;
            if depth == 0 {
                self.extent(entry)?;
                continue;
            }
            let block = u64::from(le16(entry, 8)?) << 32 | u64::from(le32(entry, 4)?);
            self.nodes.push(block);
            let child = self.image.block(block)?;
            self.extents(look, child, depth_left.checked_sub(1)?)?;
        }
        Some(())
    }

    fn extent(&mut self, entry: &[u8]) -> Option<()> {
        const LONGEST: u16 = 32_768;
        let length = le16(entry, 4)?;
        let unwritten = length > LONGEST;
        self.push(Run {
            logical: u64::from(le32(entry, 0)?),
            physical: u64::from(le16(entry, 6)?) << 32 | u64::from(le32(entry, 8)?),
            blocks: u64::from(if unwritten { length - LONGEST } else { length }),
            unwritten,
        });
        Some(())
    }

    /// Twelve blocks, then a block of blocks, one of those, one of those.
    fn pointers(&mut self, look: &mut Look<'_>, root: &[u8], size: u64) -> Option<()> {
        let end = size.div_ceil(self.image.block_bytes as u64);
        let mut logical = 0;
        for slot in 0..15_usize {
            let pointer = le32(root, 4 * slot)?;
            let depth = slot.saturating_sub(11) as u32;
            self.pointer(look, pointer, depth, &mut logical, end)?;
        }
        Some(())
    }

    fn pointer(
        &mut self,
        look: &mut Look<'_>,
        pointer: u32,
        depth: u32,
        logical: &mut u64,
        end: u64,
    ) -> Option<()> {
        if *logical >= end {
            return Some(());
        }
        let pointers = (self.image.block_bytes / 4) as u64;
        let holds = pointers.checked_pow(depth)?;
        if pointer == 0 {
            *logical += holds;
            return Some(());
        }
        if !look.take_entry() {
            return None;
        }
        if depth == 0 {
            self.push(Run {
                logical: *logical,
                physical: u64::from(pointer),
                blocks: 1,
                unwritten: false,
            });
            *logical += 1;
            return Some(());
        }
        self.nodes.push(u64::from(pointer));
        let block = self.image.block(u64::from(pointer))?;
        for slot in 0..block.len() / 4 {
            self.pointer(look, le32(block, 4 * slot)?, depth - 1, logical, end)?;
        }
        Some(())
    }

    /// Adds a run to the one before if they follow each other.
    fn push(&mut self, run: Run) {
        if let Some(last) = self.runs.last_mut()
            && last.unwritten == run.unwritten
            && last.logical + last.blocks == run.logical
            && last.physical + last.blocks == run.physical
        {
            last.blocks += run.blocks;
        } else {
            self.runs.push(run);
        }
    }
}
