//! Types prepared input on a guest's console, no faster than it is read there.
//!
//! A serial port has no flow control that a guest honours: what comes while
//! the guest's buffers are full is lost. So the input goes line by line, and
//! the next line waits until the guest has echoed the one before: then its
//! kernel has it. Where nothing is echoed (`stty -echo`) a time limit takes its
//! place.
//!
//! The end of the input is Ctrl-D. It means "end" only to who reads the console
//! at that moment, and is an ordinary byte for a shell that edits its line while
//! it waits; so it is typed when the guest is quiet, and again until it is gone.
//!
//! Knows no process and no clock: times are given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longest piece typed at once; a longer line goes in several.
const PIECE_BYTES: usize = 256;
/// How long an echo may take before the next piece goes without it.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// How long nothing was shown when a guest counts as quiet.
const QUIET: Duration = Duration::from_millis(100);
/// Ctrl-D is repeated after the first, then after twice that, up to the second.
const END_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// Input beyond this is not read before some was typed.
const ENOUGH_BYTES: usize = 64 * 1024;
/// What ends an input on a terminal.
const CTRL_D: u8 = 4;

/// Input on its way to the console.
#[derive(Debug)]
pub(super) struct Feeder {
    pending: VecDeque<u8>,
    ended: bool,
    last_typed: Option<u8>,
    echo: Option<(Echo, Instant)>,
    last_shown: Instant,
    end_typed: Option<(Instant, Duration)>,
}

impl Feeder {
    pub(super) fn new(now: Instant) -> Self {
        Feeder {
            pending: VecDeque::new(),
            ended: false,
            last_typed: None,
            echo: None,
            last_shown: now,
            end_typed: None,
        }
    }

    /// Takes input.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// There is no more input.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether more input should be read.
    pub(super) fn wants_more(&self) -> bool {
        !self.ended && self.pending.len() < ENOUGH_BYTES
    }

    /// Takes what the console showed.
    pub(super) fn shown(&mut self, bytes: &[u8], now: Instant) {
        self.last_shown = now;
        if let Some((echo, _)) = &mut self.echo
            && echo.complete(bytes)
        {
            self.echo = None;
        }
    }

    /// What is to be typed now.
    pub(super) fn next(&mut self, now: Instant) -> Vec<u8> {
        if let Some((_, typed)) = &self.echo
            && now.duration_since(*typed) < ECHO_LIMIT
        {
            return Vec::new();
        }
        self.echo = None;
        if self.pending.is_empty() {
            return if self.ended {
                self.type_end(now)
            } else {
                Vec::new()
            };
        }
        let limit = self.pending.len().min(PIECE_BYTES);
        let line = self
            .pending
            .iter()
            .take(limit)
            .position(|&byte| byte == b'\n');
        let piece: Vec<u8> = self
            .pending
            .drain(..line.map_or(limit, |at| at + 1))
            .collect();
        self.typed(piece, now)
    }

    fn typed(&mut self, piece: Vec<u8>, now: Instant) -> Vec<u8> {
        self.last_typed = piece.last().copied();
        self.echo = Some((Echo::of(&piece), now));
        piece
    }

    fn type_end(&mut self, now: Instant) -> Vec<u8> {
        // On a line that was begun, Ctrl-D would not mean the end.
        if self.last_typed.is_some_and(|byte| byte != b'\n') {
            return self.typed(b"\n".to_vec(), now);
        }
        let (first, longest) = END_AGAIN;
        let again = match self.end_typed {
            None => first,
            Some((at, wait)) if now.duration_since(at) >= wait => longest.min(wait * 2),
            Some(_) => return Vec::new(),
        };
        if now.duration_since(self.last_shown) < QUIET {
            return Vec::new();
        }
        self.end_typed = Some((now, again));
        vec![CTRL_D]
    }
}

/// Waits for the echo of what was typed.
///
/// Only letters and digits outside of escape sequences are compared, since a
/// shell that edits its line moves the cursor about, and of them only the last
/// few; of a piece without any, the end of the line has to show.
#[derive(Debug)]
struct Echo {
    wanted: Vec<u8>,
    seen: Vec<u8>,
    sequence: Sequence,
}

/// Where in an escape sequence (`ESC [ 1 2 J`) the output stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Outside,
    Begun,
    Inside,
}

impl Sequence {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (_, 0x1b) => Sequence::Begun,
            (Sequence::Begun, b'[') => Sequence::Inside,
            (Sequence::Inside, 0x20..=0x3f) => Sequence::Inside,
            _ => Sequence::Outside,
        }
    }
}

/// As many are compared: enough that older output hardly ever ends alike.
const COMPARED: usize = 12;

impl Echo {
    fn of(piece: &[u8]) -> Self {
        let mut wanted: Vec<u8> = piece
            .iter()
            .copied()
            .filter(u8::is_ascii_alphanumeric)
            .collect();
        wanted.drain(..wanted.len().saturating_sub(COMPARED));
        if wanted.is_empty() && piece.contains(&b'\n') {
            wanted.push(b'\n');
        }
        Echo {
            wanted,
            seen: Vec::new(),
            sequence: Sequence::Outside,
        }
    }

    fn complete(&mut self, shown: &[u8]) -> bool {
        let line_end = self.wanted == b"\n";
        for &byte in shown {
            let counts = if line_end {
                byte == b'\n'
            } else {
                byte.is_ascii_alphanumeric()
            };
            if counts && self.sequence == Sequence::Outside {
                self.seen.push(byte);
            }
            self.sequence = self.sequence.after(byte);
        }
        let complete = super::watch::find(&self.seen, &self.wanted).is_some();
        let keep = self.seen.len().min(COMPARED);
        self.seen.drain(..self.seen.len() - keep);
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn feeder(input: &[u8]) -> (Feeder, Instant) {
        let now = Instant::now();
        let mut feeder = Feeder::new(now);
        feeder.push(input);
        feeder.end();
        (feeder, now)
    }

    #[test]
    fn a_line_waits_for_the_echo_of_the_one_before() {
        let (mut feeder, now) = feeder(b"echo one\necho two\n");
        assert_eq!(feeder.next(now), b"echo one\n");
        assert_eq!(feeder.next(now + MS), b"");
        feeder.shown(b"~ # ec", now);
        assert_eq!(feeder.next(now + MS), b"");
        feeder.shown(b"ho on\x1b[Je\r\n", now);
        assert_eq!(feeder.next(now + MS), b"echo two\n");
    }

    #[test]
    fn without_echo_lines_go_slowly() {
        let (mut feeder, now) = feeder(b"a\nb\n");
        assert_eq!(feeder.next(now), b"a\n");
        assert_eq!(feeder.next(now + ECHO_LIMIT - MS), b"");
        assert_eq!(feeder.next(now + ECHO_LIMIT), b"b\n");
    }

    #[test]
    fn a_line_without_letters_is_echoed_by_its_end() {
        let (mut feeder, now) = feeder(b"{\n}\n");
        assert_eq!(feeder.next(now), b"{\n");
        feeder.shown(b"{", now);
        assert_eq!(feeder.next(now), b"");
        feeder.shown(b"\r\n> ", now);
        assert_eq!(feeder.next(now), b"}\n");
    }

    #[test]
    fn long_lines_go_in_pieces() {
        let line = vec![b'x'; PIECE_BYTES + 1];
        let (mut feeder, now) = feeder(&line);
        assert_eq!(feeder.next(now).len(), PIECE_BYTES);
        assert_eq!(feeder.next(now + ECHO_LIMIT), b"x");
    }

    #[test]
    fn the_end_is_typed_when_quiet_and_again() {
        let (mut feeder, now) = feeder(b"");
        feeder.shown(b"busy", now);
        assert_eq!(feeder.next(now + QUIET - MS), b"");
        let first = now + QUIET;
        assert_eq!(feeder.next(first), [CTRL_D]);
        assert_eq!(feeder.next(first + END_AGAIN.0 - MS), b"");
        let second = first + END_AGAIN.0;
        assert_eq!(feeder.next(second), [CTRL_D]);
        assert_eq!(feeder.next(second + END_AGAIN.0), b"");
        assert_eq!(feeder.next(second + END_AGAIN.0 * 2), [CTRL_D]);
    }

    #[test]
    fn a_last_line_without_an_end_gets_one() {
        let (mut feeder, now) = feeder(b"uname");
        assert_eq!(feeder.next(now), b"uname");
        feeder.shown(b"uname", now);
        assert_eq!(feeder.next(now), b"\n");
        feeder.shown(b"\r\nLinux\r\n~ # ", now);
        assert_eq!(feeder.next(now + QUIET), [CTRL_D]);
    }

    #[test]
    fn input_is_not_hoarded() {
        let mut feeder = Feeder::new(Instant::now());
        assert!(feeder.wants_more());
        feeder.push(&vec![b'\n'; ENOUGH_BYTES]);
        assert!(!feeder.wants_more());
    }
}
