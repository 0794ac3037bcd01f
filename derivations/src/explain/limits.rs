//! How far one comparison goes: files were written by builders, and one that
//! unpacks to a thousand times its size must not take the machine with it.

/// Bounds of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Larger files are compared byte by byte as they are read, and not looked
    /// into. Both sides of a pair are in memory at once.
    pub max_file_bytes: u64,
    /// All that is decompressed or gathered, on both sides and in all files.
    pub max_unpacked_bytes: u64,
    /// Archive members, entries of file systems and sections, in all files.
    pub max_entries: u64,
    /// Containers within each other.
    pub max_depth: usize,
    /// Differences that are listed; the rest is counted.
    pub max_differences: usize,
    /// Differences of one kind in one file that are listed; the rest is
    /// counted.
    pub max_alike: usize,
}

impl Default for Limits {
    /// Room for the disk image of a small system and all that is in it.
    fn default() -> Self {
        Self {
            max_file_bytes: 512 << 20,
            max_unpacked_bytes: 4 << 30,
            max_entries: 2_000_000,
            max_depth: 12,
            max_differences: 1000,
            max_alike: 3,
        }
    }
}
