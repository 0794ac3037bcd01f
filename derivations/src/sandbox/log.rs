//! The output of a build on its way from the pipe to the log.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;

use super::request::Limit;
use super::supervise::{Cause, Output};

/// How much of the output is kept for the message of a failed setup.
const HEAD_BYTES: usize = 4096;

pub(super) struct Log {
    source: Option<OwnedFd>,
    /// Where the log is cut; `None` for a session by hand, which may scroll as
    /// much as it likes.
    limit_bytes: Option<u64>,
    pub(super) bytes: u64,
    pub(super) last_output: Instant,
    head: Vec<u8>,
}

impl Log {
    pub(super) fn new(source: OwnedFd, limit_bytes: Option<u64>) -> io::Result<Log> {
        rustix::io::ioctl_fionbio(&source, true)?;
        let source = Some(source);
        Ok(Log {
            source,
            limit_bytes,
            bytes: 0,
            last_output: Instant::now(),
            head: Vec::new(),
        })
    }

    /// What to poll; nothing after the end of the output.
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// The beginning: bubblewrap's message, if the builder never ran.
    pub(super) fn head(&self) -> String {
        String::from_utf8_lossy(&self.head).trim().into()
    }

    /// Passes on what there is, at most `turns` buffers of it.
    pub(super) fn pump(&mut self, output: &mut dyn Output, turns: usize) -> Result<(), Cause> {
        let mut buffer = [0; 64 * 1024];
        for _ in 0..turns {
            let Some(source) = &self.source else {
                return Ok(());
            };
            match rustix::io::read(source, &mut buffer) {
                // A terminal whose other side is closed gives EIO.
                Ok(0) | Err(Errno::IO) => self.source = None,
                Ok(count) => self.pass_on(output, &buffer[..count])?,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(Cause::LogFailed(error.into())),
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, output: &mut dyn Output, bytes: &[u8]) -> Result<(), Cause> {
        self.last_output = Instant::now();
        let left = self
            .limit_bytes
            .map_or(u64::MAX, |limit_bytes| limit_bytes - self.bytes);
        let kept = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let head = kept.min(HEAD_BYTES - self.head.len());
        self.head.extend_from_slice(&bytes[..head]);
        output.chunk(&bytes[..kept]).map_err(Cause::LogFailed)?;
        self.bytes += kept as u64;
        if kept < bytes.len() {
            Err(Cause::Limit(Limit::Log))
        } else {
            Ok(())
        }
    }
}
