//! A terminal for `kiln shell`.
//!
//! The sandbox gets a terminal of kiln's own making, never the user's: what is
//! written into its input queue from inside is read by nobody outside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

use super::request::{HostUser, Terminal};

/// The pair of terminals and the user's, which is raw until this is dropped.
pub(super) struct Session {
    user: Terminal,
    master: OwnedFd,
    before: Option<Termios>,
    size: Option<(u16, u16)>,
}

impl Session {
    /// The session, and the descriptor to be the sandbox's terminal, which
    /// belongs to `owner` if there is one.
    pub(super) fn open(user: Terminal, owner: Option<HostUser>) -> io::Result<(Session, OwnedFd)> {
        use rustix::fs::{Mode, OFlags};
        let master =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty())?;
        if let Some(owner) = owner {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::fchown(&slave, Some(uid), Some(gid))?;
        }
        let mut session = Session {
            user,
            master,
            before: None,
            size: None,
        };
        session.resize();
        session.make_raw()?;
        Ok((session, slave))
    }

    fn make_raw(&mut self) -> io::Result<()> {
        // Not a terminal, as in a test: keys then come as they are.
        let Ok(before) = rustix::termios::tcgetattr(self.input()) else {
            return Ok(());
        };
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(self.input(), OptionalActions::Now, &raw)?;
        self.before = Some(before);
        Ok(())
    }

    /// The side of kiln: what the sandbox writes, and where keys go.
    pub(super) fn master(&self) -> &OwnedFd {
        &self.master
    }

    /// The user's keys.
    pub(super) fn input(&self) -> BorrowedFd<'_> {
        // SAFETY: the request promises that it stays open for the whole run.
        unsafe { BorrowedFd::borrow_raw(self.user.input) }
    }

    /// Shows output. A screen that is gone does not end the work behind it.
    pub(super) fn show(&self, bytes: &[u8]) {
        let _ = write_all(self.output(), bytes);
    }

    /// The user's screen.
    fn output(&self) -> BorrowedFd<'_> {
        // SAFETY: as above.
        unsafe { BorrowedFd::borrow_raw(self.user.output) }
    }

    /// Takes over the size of the user's window. Asked for now and then,
    /// so that no process-wide signal handler is needed.
    pub(super) fn resize(&mut self) {
        let Ok(Winsize { ws_row, ws_col, .. }) = rustix::termios::tcgetwinsize(self.output())
        else {
            return;
        };
        if self.size.replace((ws_row, ws_col)) != Some((ws_row, ws_col)) {
            let size = Winsize {
                ws_row,
                ws_col,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }

    /// Passes on what was typed. False when there is nothing more to come.
    pub(super) fn pass_keys(&self) -> bool {
        let mut keys = [0; 4096];
        match rustix::io::read(self.input(), &mut keys) {
            Ok(0) | Err(_) => {
                // End of file: the key that says so to a terminal.
                let _ = rustix::io::write(&self.master, b"\x04");
                false
            }
            Ok(count) => write_all(self.master.as_fd(), &keys[..count]).is_ok(),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(self.input(), OptionalActions::Drain, before);
        }
    }
}

/// Writes everything, waiting for a descriptor that does not block.
fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
