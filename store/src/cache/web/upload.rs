//! A body that can be sent again.

use std::io::{self, Read, SeekFrom};
use std::time::Instant;

use super::speed::Speed;
use crate::cache::backend::{Kind, Source};
use crate::cache::pace::Pace;
use crate::cache::patience::Patience;

/// What is sent with a request.
pub(in crate::cache) struct Upload<'a> {
    source: &'a mut dyn Source,
    size_bytes: u64,
    left: u64,
    speed: Option<Speed>,
    pace: Pace,
    /// When the library last took bytes, to send them.
    taken: Option<Instant>,
    failed: Option<Kind>,
}

impl<'a> Upload<'a> {
    /// All of `source`, which has to have `size_bytes`.
    pub(in crate::cache) fn new(source: &'a mut dyn Source, size_bytes: u64) -> Result<Self, Kind> {
        let there = source
            .seek(SeekFrom::End(0))
            .map_err(|error| unreadable(&error))?;
        if there != size_bytes {
            let why = format!("expected {size_bytes} bytes, got {there}");
            return Err(Kind::Refused(why));
        }
        Ok(Self {
            source,
            size_bytes,
            left: 0,
            speed: None,
            pace: Pace::default(),
            taken: None,
            failed: None,
        })
    }

    pub(in crate::cache) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Begins again.
    pub(super) fn rewind(&mut self, patience: &Patience, pace: &Pace) -> Result<(), Kind> {
        self.source.rewind().map_err(|error| unreadable(&error))?;
        self.left = self.size_bytes;
        self.speed = Some(Speed::new(patience));
        self.pace = pace.clone();
        (self.taken, self.failed) = (None, None);
        Ok(())
    }

    /// What went wrong here, which is not the server's fault.
    pub(super) fn failure(&mut self) -> Option<Kind> {
        self.failed.take()
    }

    fn fail(&mut self, kind: Kind) -> io::Error {
        self.failed = Some(kind);
        io::Error::other("the upload failed")
    }
}

impl Read for Upload<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = self.taken.take();
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let room = self.pace.room(room);
        if room == 0 {
            return Ok(0);
        }
        let length = match self.source.read(&mut buffer[..room]) {
            // It was longer a moment ago.
            Ok(0) => return Err(self.fail(unreadable(&io::ErrorKind::UnexpectedEof.into()))),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.fail(unreadable(&error))),
        };
        // What was taken before has been sent since.
        let is_fast = match (taken, &mut self.speed) {
            (Some(taken), Some(speed)) => speed.count(taken, length),
            _ => true,
        };
        if !is_fast {
            return Err(self.fail(Kind::Busy("it takes what it is sent too slowly".to_owned())));
        }
        // A pause of our own is no slowness of the server's.
        self.pace.moved(length);
        self.left -= length as u64;
        self.taken = Some(Instant::now());
        Ok(length)
    }
}

fn unreadable(error: &io::Error) -> Kind {
    Kind::Refused(format!("what is to be written cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_sent_is_paced_also_the_second_time() {
        // Nobody waits, but all is counted.
        let stop = Arc::new(AtomicBool::new(true));
        let pace = Pace::at_most("10k".parse().expect("a rate"), stop);
        let mut source = Cursor::new(vec![7; 100_000]);
        let mut upload = Upload::new(&mut source, 100_000).expect("that many");
        for seconds in [10, 20] {
            let rewound = upload.rewind(&Patience::default(), &pace);
            rewound.unwrap_or_else(|error| panic!("{error}"));
            let mut sent = Vec::new();
            upload.read_to_end(&mut sent).expect("memory");
            assert_eq!(sent.len(), 100_000);
            let (due, elapsed) = pace.due();
            let least = Duration::from_secs(seconds);
            assert!((least..=least + elapsed).contains(&due), "{due:?}");
        }
    }
}
