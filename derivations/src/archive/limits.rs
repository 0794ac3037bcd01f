//! How much one archive may unpack to.
//!
//! Hashes say that an archive is the pinned one, not that it is harmless: the
//! first download of `kiln lock` decodes what nobody has looked at yet.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::ArchiveError;

/// A name and the headers around it may take this much between two members;
/// tar decoders hold it in memory, whatever its header claims.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Below this, no ratio is too high: a page of zeros compresses very well.
const RATIO_FREE_BYTES: u64 = 256 << 20;

/// How much one archive may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The uncompressed stream, in bytes.
    pub max_unpacked_bytes: u64,
    /// Members.
    pub max_entries: u64,
    /// Uncompressed bytes for each compressed one, beyond the first 256 MiB.
    pub max_ratio: u64,
}

impl Default for Limits {
    /// Room for the largest source archives there are, ten times over.
    fn default() -> Self {
        Self {
            max_unpacked_bytes: 64 << 30,
            max_entries: 4_000_000,
            max_ratio: 1000,
        }
    }
}

/// Counts one stream on both sides of its decompressor; cloned into both.
#[derive(Clone)]
pub(super) struct Gauge {
    counts: Rc<Counts>,
    limits: Limits,
}

struct Counts {
    packed_bytes: Cell<u64>,
    unpacked_bytes: Cell<u64>,
    header_bytes_left: Cell<Option<u64>>,
    trailing_zeros: Cell<u64>,
    exceeded: Cell<Option<(u64, &'static str)>>,
}

impl Gauge {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            counts: Rc::new(Counts {
                packed_bytes: Cell::new(0),
                unpacked_bytes: Cell::new(0),
                header_bytes_left: Cell::new(None),
                trailing_zeros: Cell::new(0),
                exceeded: Cell::new(None),
            }),
            limits: *limits,
        }
    }

    pub(super) fn packed<R: Read>(&self, inner: R) -> Packed<R> {
        Packed {
            inner,
            gauge: self.clone(),
        }
    }

    pub(super) fn unpacked<R: Read>(&self, inner: R) -> Metered<R> {
        Metered {
            inner,
            gauge: self.clone(),
        }
    }

    /// From here until [`Gauge::content_begins`], only headers may come.
    pub(super) fn headers_begin(&self) {
        self.counts.header_bytes_left.set(Some(MAX_HEADER_BYTES));
    }

    pub(super) fn content_begins(&self) {
        self.counts.header_bytes_left.set(None);
    }

    /// How many zero bytes were read last in a row.
    pub(super) fn trailing_zeros(&self) -> u64 {
        self.counts.trailing_zeros.get()
    }

    /// The limit that was passed, if an error came from here.
    pub(super) fn exceeded(&self) -> Option<ArchiveError> {
        let (limit, unit) = self.counts.exceeded.get()?;
        Some(ArchiveError::TooLarge { limit, unit })
    }

    fn count(&self, bytes: &[u8]) -> io::Result<()> {
        let counts = &self.counts;
        let length = bytes.len() as u64;
        let unpacked = counts.unpacked_bytes.get().saturating_add(length);
        counts.unpacked_bytes.set(unpacked);
        counts.count_zeros(bytes);

        if unpacked > self.limits.max_unpacked_bytes {
            return self.refuse(self.limits.max_unpacked_bytes, "bytes");
        }
        let packed = counts.packed_bytes.get().max(1);
        if unpacked > RATIO_FREE_BYTES && unpacked / packed > self.limits.max_ratio {
            return self.refuse(self.limits.max_ratio, "times its own size");
        }
        match counts.header_bytes_left.get() {
            None => Ok(()),
            Some(left) if left >= length => {
                counts.header_bytes_left.set(Some(left - length));
                Ok(())
            }
            Some(_) => self.refuse(MAX_HEADER_BYTES, "bytes of headers for one member"),
        }
    }

    fn refuse(&self, limit: u64, unit: &'static str) -> io::Result<()> {
        self.counts.exceeded.set(Some((limit, unit)));
        Err(io::Error::other("limit passed"))
    }
}

impl Counts {
    fn count_zeros(&self, bytes: &[u8]) {
        let run = bytes.iter().rev().take_while(|&&b| b == 0).count();
        let before = if run == bytes.len() {
            self.trailing_zeros.get()
        } else {
            0
        };
        self.trailing_zeros.set(before + run as u64);
    }
}

/// The compressed side.
pub(super) struct Packed<R> {
    inner: R,
    gauge: Gauge,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        let counts = &self.gauge.counts;
        counts
            .packed_bytes
            .set(counts.packed_bytes.get() + length as u64);
        Ok(length)
    }
}

/// The uncompressed side, where the limits hold.
pub(super) struct Metered<R> {
    inner: R,
    gauge: Gauge,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(into)?;
        self.gauge.count(&into[..length])?;
        Ok(length)
    }
}
