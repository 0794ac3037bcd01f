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
pub(in crate::cache) struct Wanted {
    pub(in crate::cache) content: ContentId,
    pub(in crate::cache) size_bytes: u64,
    pub(in crate::cache) executable: bool,
    /// A tree that is pulled and has it.
    pub(in crate::cache) root: TreeId,
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
    let mut segments = Vec::new();
    let mut segments_of = Vec::with_capacity(files.len());
    for (number, file) in files.iter().enumerate() {
        let before = segments.len();
        if file.size_bytes > 0 {
            let mut found = catalogue.content(&file.content, file.size_bytes);
            let spans = found.next().map(|(_, spans)| spans);
            let spans = spans.ok_or_else(|| lacks(reader, file))?;
            if !split(catalogue, number as u32, &spans, &mut segments) {
                return Err(lacks(reader, file));
            }
        }
        segments_of.push((segments.len() - before) as u32);
    }
    segments.sort_unstable();
    let frames = frames(catalogue, &segments);
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

/// Splits spans of chunks where a frame ends. `false` if that are too many.
fn split(catalogue: &Catalogue, file: u32, spans: &[Span], segments: &mut Vec<Segment>) -> bool {
    let mut at = 0;
    for (frame, part) in spans.iter().flat_map(|span| catalogue.split(span)) {
        if segments.len() == MAX_SEGMENTS {
            return false;
        }
        segments.push(Segment {
            index: part.index,
            frame,
            first: part.first,
            count: part.count,
            file,
            at,
        });
        at += catalogue.span_bytes(&part);
    }
    true
}

fn frames(catalogue: &Catalogue, segments: &[Segment]) -> Vec<Needed> {
    let mut frames = Vec::new();
    let mut start = 0;
    let same = |a: &Segment, b: &Segment| (a.index, a.frame) == (b.index, b.frame);
    for group in segments.chunk_by(same) {
        let Segment { index, frame, .. } = group[0];
        let entry = catalogue.entry(index);
        let end = start + group.len();
        frames.push(Needed {
            pack: entry.index.pack_of(frame),
            frame: entry.index.frames[frame as usize],
            index,
            first_chunk: entry.chunks_of(frame).start,
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
