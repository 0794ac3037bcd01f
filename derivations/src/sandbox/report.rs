//! What bubblewrap reports through `--json-status-fd`: the pid of its pid 1,
//! later the exit status; one JSON object a line.
//!
//! The second report can be held back by filling the pipe: bubblewrap, which
//! leaves right after it, then waits. That is for the account of what a build
//! used. It is kept by pid 1, and lost if bubblewrap, as the first process of
//! its pid namespace, ends before pid 1 has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// One line.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Pid 1 of the sandbox, as a pid of bubblewrap's namespace.
    pub(super) child_pid: Option<i32>,
    /// The builder's status as a shell would give it.
    pub(super) exit_code: Option<i32>,
}

/// The reading side.
pub(super) struct Reports {
    pipe: Option<OwnedFd>,
    text: Vec<u8>,
    filler: Option<OwnedFd>,
    held: bool,
}

impl Reports {
    /// The reading side, and what bubblewrap writes to.
    pub(super) fn new() -> io::Result<(Reports, OwnedFd)> {
        let (pipe, end) = pipe_with(PipeFlags::CLOEXEC)?;
        // One page, which is the least: quickly filled.
        fcntl_setpipe_size(&pipe, rustix::param::page_size())?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let filler = Some(rustix::io::fcntl_dupfd_cloexec(&end, 0)?);
        Ok((
            Reports {
                pipe: Some(pipe),
                text: Vec::new(),
                filler,
                held: false,
            },
            end,
        ))
    }

    /// What to poll; nothing while held back, since the filling is readable.
    pub(super) fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| !self.held).map(AsFd::as_fd)
    }

    /// Holds the next report back. All before it MUST have been read.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        if let (Some(pipe), Some(filler)) = (&self.pipe, &self.filler) {
            let filling = vec![b'\n'; fcntl_getpipe_size(pipe)?];
            rustix::io::write(filler, &filling)?;
            self.held = true;
        }
        Ok(())
    }

    /// Whether bubblewrap waits, or will, with its last report.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Lets bubblewrap go on, or without having held, be seen to end.
    pub(super) fn release(&mut self) {
        self.filler = None;
        self.held = false;
    }

    /// The reports that have come; `None` when there is nothing at present.
    pub(super) fn read(&mut self) -> io::Result<Option<Vec<Report>>> {
        let Some(pipe) = &self.pipe else {
            return Ok(None);
        };
        let mut bytes = [0; 4096];
        match rustix::io::read(pipe, &mut bytes) {
            Ok(0) => self.pipe = None,
            Ok(count) => self.text.extend_from_slice(&bytes[..count]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut reports = Vec::new();
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            // Empty lines of the filling, and objects without these keys.
            reports.extend(serde_json::from_slice(&line));
        }
        Ok(Some(reports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(reports: &mut Reports) -> (Option<i32>, Option<i32>) {
        let mut all = reports.read().unwrap().unwrap();
        let report = all.pop().unwrap();
        (report.child_pid, report.exit_code)
    }

    #[test]
    fn reports_come_line_by_line() {
        let (mut reports, end) = Reports::new().unwrap();
        assert!(reports.read().unwrap().is_none());
        rustix::io::write(
            &end,
            b"{ \"child-pid\": 7, \"mnt-namespace\": 1 }\n{ \"exit",
        )
        .unwrap();
        assert_eq!(next(&mut reports), (Some(7), None));
        rustix::io::write(&end, b"-code\": 3 }\n").unwrap();
        assert_eq!(next(&mut reports), (None, Some(3)));
    }

    #[test]
    fn a_report_is_held_back_until_it_is_released() {
        let (mut reports, end) = Reports::new().unwrap();
        reports.hold().unwrap();
        assert!(reports.readable().is_none());
        rustix::io::ioctl_fionbio(&end, true).unwrap();
        assert_eq!(rustix::io::write(&end, b"{}\n"), Err(Errno::AGAIN));
        reports.release();
        while reports
            .read()
            .unwrap()
            .is_some_and(|reports| reports.is_empty())
        {}
        assert!(rustix::io::write(&end, b"{ \"exit-code\": 0 }\n").is_ok());
        assert_eq!(next(&mut reports), (None, Some(0)));
    }
}
