//! A pack on its way: tells of the content in it while it is sent, and ends if
//! nobody wants it any more.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use crate::cache::watch::Watch;

/// A pack as it is read to be sent.
///
/// Content counts in proportion to how much of the pack was read, and once: what
/// is sent again after a cut tells nothing new. A registry's packs are read to be
/// hashed before they are sent, and so count a little early.
pub(super) struct Watched<'a> {
    pack: Cursor<&'a [u8]>,
    /// Bytes of content in it.
    raw_bytes: u64,
    /// How much of that was told.
    told: u64,
    watch: &'a dyn Watch,
}

impl<'a> Watched<'a> {
    pub(super) fn new(pack: &'a [u8], raw_bytes: u64, watch: &'a dyn Watch) -> Self {
        Self {
            pack: Cursor::new(pack),
            raw_bytes,
            told: 0,
            watch,
        }
    }

    /// The cache has all of it.
    pub(super) fn finish(mut self) {
        self.tell(self.raw_bytes);
    }

    fn tell(&mut self, raw_bytes: u64) {
        let new = raw_bytes.saturating_sub(self.told);
        if new > 0 {
            self.told += new;
            self.watch.moved(new);
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.is_cancelled() {
            return Err(io::Error::other("it was asked to stop"));
        }
        let length = self.pack.read(buffer)?;
        // What is read now is sent later: what was read before, was.
        let sent = self.pack.position() - length as u64;
        let size = self.pack.get_ref().len().max(1) as u128;
        let raw_bytes = u128::from(self.raw_bytes) * u128::from(sent) / size;
        self.tell(raw_bytes as u64);
        Ok(length)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.pack.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts, and is cancelled once everything has moved.
    #[derive(Default)]
    struct Moved(AtomicU64);

    impl Watch for Moved {
        fn moved(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }

        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) >= 600
        }
    }

    #[test]
    fn content_is_told_once_and_all_of_it() {
        let moved = Moved::default();
        let now = || moved.0.load(Ordering::Relaxed);
        let mut source = Watched::new(&[7; 10], 300, &moved);
        let mut buffer = [0; 4];
        for expected in [0, 120, 240] {
            let read = source.read(&mut buffer).expect("memory");
            assert!(read > 0);
            assert_eq!(now(), expected);
        }
        // A cut, and all of it again.
        source.rewind().expect("memory");
        let mut again = Vec::new();
        source.read_to_end(&mut again).expect("memory");
        assert_eq!((again.len(), now()), (10, 300));
        source.finish();
        assert_eq!(now(), 300);
        // One that was there already.
        Watched::new(&[7; 10], 300, &moved).finish();
        assert_eq!(now(), 600);
        let mut late = Watched::new(&[7; 10], 300, &moved);
        late.read(&mut buffer).expect_err("it was asked to stop");
    }
}
