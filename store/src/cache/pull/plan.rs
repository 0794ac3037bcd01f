//! What has to be fetched so that all wanted content comes of it. Touches
//! neither cache nor store.

use super::walk;
use crate::cache::catalogue::{Catalogue, Number, Span};
use crate::cache::error::CacheError;
use crate::cache::id::PackId;
use crate::cache::index::Frame;
use crate::cache::transfer::Reader;
use crate::hash::{ContentId, TreeId};

/// A request leaves out what is not needed only if that is more than this, in
/// bytes: a further request costs about as much time.
const GAP_BYTES: u64 = 128 << 10;
/// A request is not for more than this, unless for one frame, in bytes.
const REQUEST_BYTES: u64 = 8 << 20;
/// What is wanted comes in at most as many pieces.
const MAX_SEGMENTS: usize = 1 << 22;

/// A file that is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) content: ContentId,
    pub(super) size_bytes: u64,
    pub(super) executable: bool,
    /// A tree that is pulled and has it.
    pub(super) root: TreeId,
}

/// Chunks of one frame that follow one another in a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Segment {
    /// In which index the frame stands.
    pub(super) index: Number,
    /// The number of the frame there.
    pub(super) frame: u32,
    /// The number of the first chunk in the index.
    pub(super) first: u32,
    /// How many chunks.
    pub(super) count: u32,
    /// The file, in [`Plan::files`].
    pub(super) file: u32,
    /// Where in it they belong, in bytes.
    pub(super) at: u64,
}

/// A frame that is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed {
    pub(super) pack: PackId,
    pub(super) frame: Frame,
    pub(super) index: Number,
    /// The number of its first chunk in the index.
    pub(super) first_chunk: u32,
    /// What is needed of it: from here on in [`Plan::segments`] …
    pub(super) segments_start: u32,
    /// … to here.
    pub(super) segments_end: u32,
}

/// What has to be fetched.
pub(super) struct Plan {
    pub(super) files: Vec<Wanted>,
    /// For each file, in how many segments it comes.
    pub(super) segments_of: Vec<u32>,
    /// By index and frame.
    pub(super) segments: Vec<Segment>,
    /// By pack and offset.
    pub(super) frames: Vec<Needed>,
    /// Ranges of `frames` that are fetched at once.
    pub(super) requests: Vec<std::ops::Range<usize>>,
}

/// Finds out what `files` consist of.
pub(super) fn plan(
    reader: &Reader<'_>,
    catalogue: &Catalogue,
    files: Vec<Wanted>,
) -> Result<Plan, CacheError> {
    let firsts = first_chunks(catalogue);
    let mut segments = Vec::new();
    let mut segments_of = Vec::with_capacity(files.len());
    for (number, file) in files.iter().enumerate() {
        let before = segments.len();
        let mut found = catalogue.content(&file.content, file.size_bytes);
        match found.next() {
            _ if file.size_bytes == 0 => {}
            Some((_, spans)) => {
                let split = split(catalogue, &firsts, number as u32, &spans, &mut segments);
                if !split {
                    return Err(lacks(reader, file));
                }
            }
            None => return Err(lacks(reader, file)),
        }
        segments_of.push((segments.len() - before) as u32);
    }
    segments.sort_unstable();
    let frames = frames(catalogue, &firsts, &segments);
    let requests = requests(&frames);
    Ok(Plan {
        files,
        segments_of,
        segments,
        frames,
        requests,
    })
}

fn lacks(reader: &Reader<'_>, file: &Wanted) -> CacheError {
    walk::lacks(reader, &file.root, "file", file.content.0)
}

/// For each index, the number of each frame's first chunk.
fn first_chunks(catalogue: &Catalogue) -> Vec<Vec<u32>> {
    let entries = catalogue.entries().iter();
    let firsts = entries.map(|entry| {
        let mut next = 0;
        let frames = entry.index.frames.iter();
        let firsts = frames.map(|frame| {
            let first = next;
            next += frame.chunks;
            first
        });
        firsts.collect()
    });
    firsts.collect()
}

/// Splits spans of chunks where a frame ends. `false` if that are too many.
fn split(
    catalogue: &Catalogue,
    firsts: &[Vec<u32>],
    file: u32,
    spans: &[Span],
    segments: &mut Vec<Segment>,
) -> bool {
    let mut at = 0;
    for span in spans {
        let firsts = &firsts[span.index as usize];
        let (mut first, end) = (span.first, span.first + span.count);
        while first < end {
            if segments.len() == MAX_SEGMENTS {
                return false;
            }
            let after = firsts.partition_point(|start| *start <= first);
            let stop = firsts.get(after).map_or(end, |next| end.min(*next));
            let part = Span {
                index: span.index,
                first,
                count: stop - first,
            };
            segments.push(Segment {
                index: span.index,
                frame: after as u32 - 1,
                first,
                count: part.count,
                file,
                at,
            });
            at += catalogue.span_bytes(&part);
            first = stop;
        }
    }
    true
}

fn frames(catalogue: &Catalogue, firsts: &[Vec<u32>], segments: &[Segment]) -> Vec<Needed> {
    let mut frames = Vec::new();
    let mut start = 0;
    let same = |a: &Segment, b: &Segment| (a.index, a.frame) == (b.index, b.frame);
    for group in segments.chunk_by(same) {
        let Segment { index, frame, .. } = group[0];
        let entry = &catalogue.entry(index).index;
        let end = start + group.len();
        frames.push(Needed {
            pack: entry.packs[entry.frames[frame as usize].pack as usize],
            frame: entry.frames[frame as usize],
            index,
            first_chunk: firsts[index as usize][frame as usize],
            segments_start: start as u32,
            segments_end: end as u32,
        });
        start = end;
    }
    frames.sort_unstable_by_key(|needed| (needed.pack, needed.frame.offset));
    frames
}

/// Puts neighbours together.
fn requests(frames: &[Needed]) -> Vec<std::ops::Range<usize>> {
    let mut requests: Vec<std::ops::Range<usize>> = Vec::new();
    for (number, needed) in frames.iter().enumerate() {
        let fits = requests.last().is_some_and(|request| {
            let (first, last) = (&frames[request.start], &frames[request.end - 1]);
            // Frames of different indexes may overlap, if a cache lies.
            let gap = needed.frame.offset.checked_sub(last.frame.end());
            last.pack == needed.pack
                && gap.is_some_and(|gap| gap <= GAP_BYTES)
                && needed.frame.end() - first.frame.offset <= REQUEST_BYTES
        });
        match requests.last_mut() {
            Some(request) if fits => request.end = number + 1,
            _ => requests.push(number..number + 1),
        }
    }
    requests
}
