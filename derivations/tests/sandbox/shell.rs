//! Working in a sandbox by hand.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use kiln_derivations::sandbox::{CancelToken, Exit, Terminal};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::Kiln;

/// A user's terminal: what the user holds, and what kiln gets.
pub(crate) fn terminal() -> (File, File) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap().into_string().unwrap();
    let given = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name)
        .unwrap();
    (user.into(), given)
}

#[test]
fn a_shell_has_a_terminal_of_its_own_with_the_users_size_and_keys() {
    let (mut user, given) = terminal();
    let size = Winsize {
        ws_row: 33,
        ws_col: 99,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&given, size).unwrap();
    let mut kiln = Kiln::new(&["/bin/sh", "-i"]);
    kiln.request.env.insert("PS1".into(), "> ".into());
    let fd = given.as_raw_fd();
    kiln.request.terminal = Some(Terminal {
        input: fd,
        output: fd,
    });
    user.write_all(b"stty size; test -t 0 && echo on'e'; (: > /dev/tty) && echo tw'o'\n")
        .unwrap();
    user.write_all(b"exit 7\n").unwrap();
    let run = kiln.try_run(&CancelToken::new().unwrap()).unwrap();
    assert_eq!(run.outcome.exit, Exit::Code(7), "{}", run.log);
    for expected in ["33 99\r\n", "one\r\n", "two\r\n"] {
        assert!(run.log.contains(expected), "{expected}: {}", run.log);
    }
    // A terminal gives what it has, not all that there will be.
    let (mut screen, mut piece) = (String::new(), [0; 4096]);
    while !screen.contains("one\r\n") {
        let count = user.read(&mut piece).unwrap();
        screen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    // The user's terminal is as it was.
    assert!(
        tcgetattr(&given)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO)
    );
}

#[test]
fn the_interrupt_key_is_the_sandboxs() {
    let (mut user, given) = terminal();
    let mut kiln =
        Kiln::script("trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 1; done");
    let fd = given.as_raw_fd();
    kiln.request.terminal = Some(Terminal {
        input: fd,
        output: fd,
    });
    let keys = std::thread::spawn(move || {
        let mut seen = String::new();
        let mut bytes = [0; 256];
        while !seen.contains("ready") {
            let count = user.read(&mut bytes).unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        user.write_all(b"\x03").unwrap();
        user
    });
    let run = kiln.run();
    keys.join().unwrap();
    assert_eq!(run.outcome.exit, Exit::Code(3), "{}", run.log);
    assert!(run.log.contains("interrupted"));
}
