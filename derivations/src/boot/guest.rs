//! A running emulator: started, talked to, ended with everything it started.
//!
//! All its processes hold the two output pipes and nothing else of kiln does:
//! when both are at their end, the guest is gone.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use tempfile::TempDir;

use super::error::{BootError, Doing};

/// How much of the emulator's own messages is kept.
const MESSAGES_BYTES: usize = 4096;
/// How long processes may take to go after SIGKILL.
const GONE_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Guest {
    child: Child,
    pub(super) keys: Option<ChildStdin>,
    pub(super) console: Option<ChildStdout>,
    pub(super) messages: Option<ChildStderr>,
    said: Vec<u8>,
    waited_for: bool,
    /// Where it writes; removed when it is gone.
    _scratch: Option<TempDir>,
}

impl Guest {
    /// Starts `command` in a session of its own, so that keys at the terminal
    /// do not reach it and all of it can be ended. `inherited` stays open in it,
    /// `scratch` is kept for it. It dies with the calling thread.
    pub(super) fn start(
        mut command: Command,
        inherited: Option<OwnedFd>,
        scratch: Option<TempDir>,
    ) -> Result<Self, BootError> {
        let program = command.get_program().to_owned();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let raw = inherited.as_ref().map(AsRawFd::as_raw_fd);
        let in_child = move || {
            rustix::process::setsid()?;
            if let Some(fd) = raw {
                // SAFETY: the parent holds the descriptor until `spawn` returns.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: only system calls, no allocation.
        unsafe { command.pre_exec(in_child) };
        let mut child = command.spawn().map_err(|source| BootError::Start {
            program: program.into(),
            source,
        })?;
        drop(inherited);
        let (keys, console, messages) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let guest = Guest {
            child,
            keys,
            console,
            messages,
            said: Vec::new(),
            waited_for: false,
            _scratch: scratch,
        };
        if let Some(keys) = &guest.keys {
            rustix::io::ioctl_fionbio(keys, true).doing("making the guest's input non-blocking")?;
        }
        Ok(guest)
    }

    /// Whether nothing of it can show or say anything any more.
    pub(super) fn is_silent(&self) -> bool {
        self.console.is_none() && self.messages.is_none()
    }

    /// Reads what the console shows next; empty at its end.
    pub(super) fn read_console(&mut self) -> io::Result<Vec<u8>> {
        read_some(&mut self.console)
    }

    /// Reads what the emulator says about itself.
    pub(super) fn read_messages(&mut self) -> io::Result<()> {
        let bytes = read_some(&mut self.messages)?;
        self.said.extend(bytes);
        let surplus = self.said.len().saturating_sub(MESSAGES_BYTES);
        self.said.drain(..surplus);
        Ok(())
    }

    /// The last of what the emulator said about itself.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).trim().to_owned()
    }

    /// Ends it if it still runs, and waits until all of it is gone.
    pub(super) fn end(&mut self) -> Result<ExitStatus, BootError> {
        if !self.is_silent() {
            self.kill();
            self.drain()?;
        }
        let status = self.child.wait().doing("waiting for the emulator")?;
        self.waited_for = true;
        Ok(status)
    }

    fn kill(&self) {
        // It may have ended by itself: not an error. Its number is not given
        // to another process before it was waited for.
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
    }

    fn drain(&mut self) -> Result<(), BootError> {
        let until = Instant::now() + GONE_LIMIT;
        while !self.is_silent() {
            if Instant::now() >= until {
                return Err(BootError::Undying {
                    pid: self.child.id(),
                });
            }
            let [console, messages] = self.wait_for_output()?;
            if console {
                self.read_console().doing("reading the console")?;
            }
            if messages {
                self.read_messages()
                    .doing("reading the emulator's messages")?;
            }
        }
        Ok(())
    }

    fn wait_for_output(&self) -> Result<[bool; 2], BootError> {
        let pipes = [
            self.console.as_ref().map(AsFd::as_fd),
            self.messages.as_ref().map(AsFd::as_fd),
        ];
        ready(
            &pipes.map(|pipe| pipe.map(|fd| (fd, PollFlags::IN))),
            Duration::from_millis(100),
        )
    }
}

impl Drop for Guest {
    /// Whatever went wrong, nothing keeps running.
    fn drop(&mut self) {
        if !self.waited_for {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads once; at the end, closes the pipe.
fn read_some<R: Read>(pipe: &mut Option<R>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 64 * 1024];
    let Some(reader) = pipe else {
        return Ok(Vec::new());
    };
    let count = reader.read(&mut buffer)?;
    if count == 0 {
        *pipe = None;
    }
    buffer.truncate(count);
    Ok(buffer)
}

/// Waits until one of the descriptors is ready or the time is over; says which are.
pub(super) fn ready<const N: usize>(
    wanted: &[Option<(std::os::fd::BorrowedFd<'_>, PollFlags)>; N],
    limit: Duration,
) -> Result<[bool; N], BootError> {
    let mut polled: Vec<PollFd<'_>> = wanted
        .iter()
        .flatten()
        .map(|&(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
        .collect();
    let limit = rustix::event::Timespec::try_from(limit).ok();
    match poll(&mut polled, limit.as_ref()) {
        // A signal: the caller looks whether it is to stop.
        Err(rustix::io::Errno::INTR) => return Ok([false; N]),
        result => result.doing("waiting for the guest")?,
    };
    let mut events = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(std::array::from_fn(|index| {
        wanted[index].is_some() && events.next() == Some(true)
    }))
}
