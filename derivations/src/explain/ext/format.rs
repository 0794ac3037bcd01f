//! The layout of ext2, ext3 and ext4: offsets and names, as far as they are
//! looked at. All numbers are little endian.

/// Where the superblock is, whatever the block size.
pub const SUPERBLOCK_AT: usize = 1024;
pub const SUPERBLOCK_BYTES: usize = 1024;
pub const MAGIC: u16 = 0xef53;

pub const ROOT_INODE: u32 = 2;
pub const JOURNAL_INODE: u32 = 8;

/// `feature_compat`: there is a journal.
pub const HAS_JOURNAL: u32 = 0x4;
/// `feature_incompat`: descriptors lie in every group; not understood here.
pub const META_BG: u32 = 0x10;
/// `feature_incompat`: block numbers have 64 bits, descriptors their own size.
pub const BITS_64: u32 = 0x80;

/// Flag of an inode: blocks are mapped by extents.
pub const EXTENTS: u32 = 0x8_0000;
/// Flag of an inode: its content is in the inode.
pub const INLINE_DATA: u32 = 0x1000_0000;
pub const EXTENT_MAGIC: u16 = 0xf30a;

pub const TYPE_MASK: u16 = 0xf000;
pub const FIFO: u16 = 0x1000;
pub const CHARACTER: u16 = 0x2000;
pub const DIRECTORY: u16 = 0x4000;
pub const BLOCK: u16 = 0x6000;
pub const REGULAR: u16 = 0x8000;
pub const SYMLINK: u16 = 0xa000;

/// Where an inode keeps its map of blocks, or a short link's target.
pub const MAP: std::ops::Range<usize> = 0x28..0x64;

/// What a field of the superblock holds.
#[derive(Clone, Copy)]
pub enum Holds {
    Time,
    Number,
    Drawn,
    Text,
    /// Follows from other things.
    Following,
}

/// Offset, length in bytes, name, meaning.
pub const SUPERBLOCK: [(usize, usize, &str, Holds); 46] = [
    (0x00, 4, "inode count", Holds::Number),
    (0x04, 4, "block count", Holds::Number),
    (0x08, 4, "reserved block count", Holds::Number),
    (0x0c, 4, "free block count", Holds::Following),
    (0x10, 4, "free inode count", Holds::Following),
    (0x14, 4, "first data block", Holds::Number),
    (0x18, 4, "block size", Holds::Number),
    (0x20, 4, "blocks per group", Holds::Number),
    (0x28, 4, "inodes per group", Holds::Number),
    (0x2c, 4, "mount time", Holds::Time),
    (0x30, 4, "write time", Holds::Time),
    (0x34, 2, "mount count", Holds::Number),
    (0x36, 2, "maximum mount count", Holds::Number),
    (0x3a, 2, "state", Holds::Number),
    (0x3c, 2, "behaviour on errors", Holds::Number),
    (0x40, 4, "last check time", Holds::Time),
    (0x44, 4, "check interval", Holds::Number),
    (0x48, 4, "creator OS", Holds::Number),
    (0x4c, 4, "revision", Holds::Number),
    (0x50, 2, "uid of reserved blocks", Holds::Number),
    (0x52, 2, "gid of reserved blocks", Holds::Number),
    (0x54, 4, "first inode", Holds::Number),
    (0x58, 2, "inode size", Holds::Number),
    (0x5c, 4, "compatible features", Holds::Number),
    (0x60, 4, "incompatible features", Holds::Number),
    (0x64, 4, "read-only compatible features", Holds::Number),
    (0x68, 16, "uuid", Holds::Drawn),
    (0x78, 16, "volume name", Holds::Text),
    (0x88, 64, "last mounted on", Holds::Text),
    (0xce, 2, "reserved descriptor blocks", Holds::Number),
    (0xd0, 16, "journal uuid", Holds::Drawn),
    (0xe0, 4, "journal inode", Holds::Number),
    (0xec, 16, "hash seed", Holds::Drawn),
    (0xfc, 1, "hash version", Holds::Number),
    (0xfe, 2, "descriptor size", Holds::Number),
    (0x100, 4, "default mount options", Holds::Number),
    (0x108, 4, "mkfs time", Holds::Time),
    (0x10c, 68, "journal backup", Holds::Following),
    (0x160, 4, "flags", Holds::Number),
    (0x174, 1, "groups per flex group", Holds::Number),
    (0x178, 8, "kilobytes written", Holds::Number),
    (0x198, 4, "first error time", Holds::Time),
    (0x1cc, 4, "last error time", Holds::Time),
    (0x200, 64, "mount options", Holds::Text),
    (0x270, 4, "checksum seed", Holds::Drawn),
    (0x278, 2, "encoding", Holds::Number),
];

pub fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
