//! Cuts content into chunks, where its bytes say so and not at fixed places: so
//! that a change of a few bytes changes a chunk or two. Pure.
//!
//! Where it is cut is no part of any identity, only of what two versions of a
//! file have in common. Why these sizes: `docs/decisions/0012-packs.md`.

use std::io::{self, Read};

use fastcdc::v2020::{Normalization, cut, select_masks};

use super::id::ChunkId;
use super::index::Chunk;
use crate::hash::{ContentId, Digest};

/// Content up to this size is one chunk, in bytes.
pub const WHOLE_BYTES: u64 = 32 << 10;
/// The shortest chunk, but for the last of a file, in bytes.
const SHORTEST_BYTES: usize = 8 << 10;
/// How long a chunk is on average, in bytes.
const AVERAGE_BYTES: usize = 16 << 10;
/// The longest chunk, in bytes.
pub const LONGEST_BYTES: usize = 64 << 10;
/// What is read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Cuts all of `content`; returns the chunks and what the whole is.
pub(super) fn survey(content: &mut dyn Read) -> io::Result<(Vec<Chunk>, ContentId)> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut whole = blake3::Hasher::new();
    let mut chunks = Vec::new();
    let (mut start, mut end) = (0, 0);
    loop {
        buffer.copy_within(start..end, 0);
        end -= start;
        start = 0;
        let count = fill(content, &mut buffer[end..])?;
        whole.update(&buffer[end..end + count]);
        end += count;
        // As long as there is more to come, a cut needs the longest chunk.
        let needed = if end < buffer.len() { 1 } else { LONGEST_BYTES };
        while end - start >= needed {
            let length = first_cut(&buffer[start..end]);
            let bytes = &buffer[start..start + length];
            chunks.push(Chunk {
                id: ChunkId(Digest::of(bytes)),
                length: length as u32,
            });
            start += length;
        }
        if needed == 1 {
            let digest = Digest::from_bytes(*whole.finalize().as_bytes());
            return Ok((chunks, ContentId(digest)));
        }
    }
}

fn first_cut(bytes: &[u8]) -> usize {
    let (strict, lax) = select_masks(AVERAGE_BYTES, Normalization::Level2);
    let (_, length) = cut(
        bytes,
        SHORTEST_BYTES,
        AVERAGE_BYTES,
        LONGEST_BYTES,
        strict,
        lax,
        strict << 1,
        lax << 1,
    );
    length.max(1)
}

/// Reads until the buffer is full or there is no more.
pub(super) fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without a pattern, the same for the same seed.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    fn chunks(bytes: &[u8]) -> Vec<Chunk> {
        let (chunks, content) = survey(&mut { bytes }).expect("memory");
        assert_eq!(content, ContentId(Digest::of(bytes)));
        let mut rest = bytes;
        for chunk in &chunks {
            let (first, more) = rest.split_at(chunk.length as usize);
            assert_eq!(chunk.id, ChunkId(Digest::of(first)));
            assert!(chunk.length as usize <= LONGEST_BYTES);
            rest = more;
        }
        assert!(rest.is_empty());
        chunks
    }

    #[test]
    fn chunks_are_the_content_and_of_the_length_that_is_wanted() {
        assert!(chunks(&[]).is_empty());
        assert_eq!(chunks(b"a").len(), 1);
        assert_eq!(chunks(&vec![0; 1 << 20]).len(), 16);
        let average = (8 << 20) / chunks(&noise(8 << 20, 0)).len();
        assert!((12 << 10..24 << 10).contains(&average), "{average}");
    }

    #[test]
    fn a_change_of_some_bytes_changes_few_chunks() {
        let before = noise(4 << 20, 1);
        let old: std::collections::HashSet<_> =
            chunks(&before).iter().map(|chunk| chunk.id).collect();
        let check = |after: &[u8]| {
            let new = chunks(after);
            let changed = new.iter().filter(|chunk| !old.contains(&chunk.id));
            let changed = changed.count();
            assert!((1..=3).contains(&changed), "{changed}");
        };
        let mut after = before.clone();
        after[2 << 20..][..64].fill(7);
        check(&after);
        after.splice(1 << 20..1 << 20, [1, 2, 3]);
        check(&[&before[..1 << 20], b"inserted", &before[1 << 20..]].concat());
    }

    #[test]
    fn pieces_in_which_content_is_read_do_not_matter() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(777);
                self.0.read(&mut buffer[..count])
            }
        }
        let bytes = noise(3 << 20, 2);
        let (slow, _) = survey(&mut Slow(&bytes)).expect("memory");
        assert_eq!(slow, chunks(&bytes));
    }
}
