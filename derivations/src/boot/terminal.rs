//! Raw mode, and the way back from it.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::termios::{self, OptionalActions, Termios};

/// While it lives, a terminal passes every key on and shows none by itself.
/// Dropped, also by a panic, it gives the terminal back as it was. A signal
/// that ends the program would not drop it: the caller has to turn signals into
/// a cancelled run.
#[derive(Debug)]
pub(super) struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> RawMode<'fd> {
    pub(super) fn enter(terminal: BorrowedFd<'fd>) -> io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // Flush: answers to questions the guest asked the terminal must not
        // end up as input of the user's shell. A terminal that is gone needs
        // nothing restored.
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustix::pty::{self, OpenptFlags};
    use rustix::termios::LocalModes;
    use std::fs::File;
    use std::os::fd::{AsFd, OwnedFd};

    /// Both ends of a terminal: the user's and the program's.
    pub(in crate::boot) fn terminal() -> (File, OwnedFd) {
        let master = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        pty::grantpt(&master).unwrap();
        pty::unlockpt(&master).unwrap();
        let name = pty::ptsname(&master, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
        (master.into(), slave)
    }

    fn local_modes(terminal: &OwnedFd) -> LocalModes {
        termios::tcgetattr(terminal).unwrap().local_modes
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let (_master, slave) = terminal();
        let before = local_modes(&slave);
        let outcome = std::panic::catch_unwind(|| {
            let _raw = RawMode::enter(slave.as_fd()).unwrap();
            assert!(
                !local_modes(&slave)
                    .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
            );
            panic!("on purpose");
        });
        assert!(outcome.is_err());
        assert_eq!(local_modes(&slave), before);
    }
}
