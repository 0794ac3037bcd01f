//! Images of ext2, ext3 and ext4 file systems, looked at and never mounted.
//!
//! First what the file system says: the superblock's fields, then each file by
//! its path. Tables, bitmaps and checksums follow from those, so they are
//! shown only if nothing else differs; blocks that nothing uses always are.
//!
//! - [`format`]: where the structures lie and what their fields are called.
//! - [`image`]: the structures of one image, and which blocks are whose.
//! - [`files`]: the files of both, compared by path.
//! - [`blocks`]: what is left, block by block.

mod blocks;
mod files;
mod format;
mod image;
#[cfg(test)]
mod tests;

use super::look::{Look, Pair, Place};
use super::members;
use image::Image;

/// Compares two file systems; `None` if they are none.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) -> Option<()> {
    let (expected, got) = pair.both(Image::parse)?;
    let before = look.reported();
    look.within(Place::part("superblock"), |look| {
        members::fields(look, &expected.fields(), &got.fields());
    });
    let (left, right) = (files::all(look, &expected), files::all(look, &got));
    // Half of the files would look like missing ones.
    if look.is_exhausted() {
        return None;
    }
    files::compare(look, &left, &right);
    let only = match look.reported() == before {
        true => blocks::Which::All,
        false => blocks::Which::Free,
    };
    blocks::compare(look, &left, &right, only);
    Some(())
}
