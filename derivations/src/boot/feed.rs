//! Types prepared input on a guest's console, no faster than it is read there.
//!
//! A serial port has no flow control that a guest honours: what comes while
//! the guest's buffers are full is lost. What is typed ahead of the program that
//! is to read it may be lost too: login and others discard it, and a shell that
//! is between two ways of reading mistakes it. So the input goes line by line:
//!
//! 1. A line is typed.
//! 2. The guest has to echo it: then its kernel has it. Where nothing is echoed
//!    (`stty -echo`), a time limit takes the echo's place.
//! 3. The guest has to show a prompt, which is any text that does not end its
//!    line. Who reads without a prompt and who is busy look alike, so this wait
//!    gets shorter while there is none.
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
/// How long an echo may take before the next piece goes without it. It comes at
/// once; but a busy host may leave the emulator waiting.
const ECHO_LIMIT: Duration = Duration::from_secs(3);
/// How long a guest shows nothing behind its prompt.
const PROMPT_QUIET: Duration = Duration::from_millis(5);
/// How long a quiet guest may take to its prompt, at first.
const PROMPT_LIMIT: Duration = Duration::from_secs(1);
/// How long one that is never quiet may.
const NOISE_LIMIT: Duration = Duration::from_secs(10);
/// How long nothing was shown when Ctrl-D is typed.
const END_QUIET: Duration = Duration::from_millis(100);
/// Ctrl-D is repeated after the first, then after twice that, up to the second.
const END_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// Input beyond this is not read before some was typed.
const ENOUGH_BYTES: usize = 64 * 1024;
/// What ends an input on a terminal.
const CTRL_D: u8 = 4;
/// Empties the line. A Ctrl-D that was typed while a program ran comes to a
/// shell that edits its line as a NUL, and on a line that holds something the
/// next one is no end.
const CTRL_U: u8 = 21;

/// Input on its way to the console.
#[derive(Debug)]
pub(super) struct Feeder {
    pending: VecDeque<u8>,
    ended: bool,
    typed: Typed,
    prompt_limit: Duration,
    last_shown: Instant,
    /// What is shown does not end with a line's end.
    within_line: bool,
    end_typed: Option<(Instant, Duration)>,
}

/// What was typed last.
#[derive(Debug)]
struct Typed {
    at: Instant,
    echo: Echo,
    is_line: bool,
    line_end_shown: bool,
}

impl Feeder {
    /// For a guest that came up `now`; the first line waits for a prompt.
    pub(super) fn new(now: Instant) -> Self {
        Feeder {
            pending: VecDeque::new(),
            ended: false,
            typed: Typed {
                at: now,
                echo: Echo::of(b""),
                is_line: true,
                line_end_shown: true,
            },
            prompt_limit: PROMPT_LIMIT,
            last_shown: now,
            within_line: false,
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

    /// How soon [`Feeder::next`] may have something, if nothing is shown.
    pub(super) fn pause(&self) -> Duration {
        if self.pending.is_empty() {
            END_QUIET / 4
        } else {
            PROMPT_QUIET
        }
    }

    /// Takes what the console showed.
    pub(super) fn shown(&mut self, bytes: &[u8], now: Instant) {
        let Some(last) = bytes.last() else { return };
        self.last_shown = now;
        self.within_line = !matches!(last, b'\n' | b'\r');
        self.typed.echo.shown(bytes);
        self.typed.line_end_shown |= bytes.contains(&b'\n');
    }

    /// What is to be typed now.
    pub(super) fn next(&mut self, now: Instant) -> Vec<u8> {
        if self.pending.is_empty() && !self.ended || !self.is_read(now) {
            return Vec::new();
        }
        if self.pending.is_empty() {
            return self.type_end(now);
        }
        let limit = self.pending.len().min(PIECE_BYTES);
        let line = self
            .pending
            .iter()
            .take(limit)
            .position(|&byte| byte == b'\n');
        let piece = self
            .pending
            .drain(..line.map_or(limit, |at| at + 1))
            .collect();
        self.type_piece(piece, now)
    }

    /// Whether the guest has what was typed, and reads on.
    fn is_read(&mut self, now: Instant) -> bool {
        let typed = &self.typed;
        let since_typed = now.duration_since(typed.at);
        let quiet = now.duration_since(self.last_shown);
        if !typed.echo.is_complete() {
            return since_typed >= ECHO_LIMIT;
        }
        let prompts = typed.line_end_shown && self.within_line && quiet >= PROMPT_QUIET;
        if prompts || !typed.is_line {
            self.prompt_limit = PROMPT_LIMIT;
            return true;
        }
        quiet >= self.prompt_limit || since_typed >= NOISE_LIMIT
    }

    fn type_piece(&mut self, piece: Vec<u8>, now: Instant) -> Vec<u8> {
        self.prompt_limit = self.prompt_limit * 4 / 5;
        self.typed = Typed {
            at: now,
            echo: Echo::of(&piece),
            is_line: piece.ends_with(b"\n"),
            line_end_shown: false,
        };
        piece
    }

    fn type_end(&mut self, now: Instant) -> Vec<u8> {
        // On a line that was begun, Ctrl-D would not mean the end.
        if !self.typed.is_line {
            return self.type_piece(b"\n".to_vec(), now);
        }
        let (first, longest) = END_AGAIN;
        let is_first = self.end_typed.is_none();
        let again = match self.end_typed {
            None => first,
            Some((at, wait)) if now.duration_since(at) >= wait => longest.min(wait * 2),
            Some(_) => return Vec::new(),
        };
        if now.duration_since(self.last_shown) < END_QUIET {
            return Vec::new();
        }
        self.end_typed = Some((now, again));
        match is_first {
            true => vec![CTRL_D],
            false => vec![CTRL_U, CTRL_D],
        }
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
    complete: bool,
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
            complete: wanted.is_empty(),
            wanted,
            seen: Vec::new(),
            sequence: Sequence::Outside,
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn shown(&mut self, bytes: &[u8]) {
        if self.complete {
            return;
        }
        let line_end = self.wanted == b"\n";
        for &byte in bytes {
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
        self.complete = super::watch::find(&self.seen, &self.wanted).is_some();
        let surplus = self.seen.len().saturating_sub(COMPARED);
        self.seen.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A feeder whose guest shows its first prompt, and the time then.
    fn feeder(input: &[u8]) -> (Feeder, Instant) {
        let now = Instant::now();
        let mut feeder = Feeder::new(now);
        feeder.push(input);
        feeder.end();
        feeder.shown(b"~ # ", now);
        (feeder, now + PROMPT_QUIET)
    }

    #[test]
    fn a_line_waits_for_echo_and_prompt() {
        let (mut feeder, now) = feeder(b"echo one\necho two\n");
        assert_eq!(feeder.next(now), b"echo one\n");
        feeder.shown(b"ec", now);
        assert_eq!(feeder.next(now + PROMPT_QUIET), b"");
        feeder.shown(b"ho on\x1b[Je\r\n", now);
        assert_eq!(feeder.next(now + PROMPT_QUIET), b"");
        feeder.shown(b"one\r\n~ # ", now);
        assert_eq!(feeder.next(now + PROMPT_QUIET - MS), b"");
        assert_eq!(feeder.next(now + PROMPT_QUIET), b"echo two\n");
    }

    #[test]
    fn the_first_line_waits_for_a_prompt() {
        let now = Instant::now();
        let mut feeder = Feeder::new(now);
        feeder.push(b"x\n");
        feeder.shown(b"kiln: up\r\n", now);
        assert_eq!(feeder.next(now + PROMPT_LIMIT - MS), b"");
        assert_eq!(feeder.next(now + PROMPT_LIMIT), b"x\n");
    }

    #[test]
    fn without_echo_lines_go_slowly() {
        let (mut feeder, now) = feeder(b"a\nb\n");
        assert_eq!(feeder.next(now), b"a\n");
        assert_eq!(feeder.next(now + ECHO_LIMIT - MS), b"");
        assert_eq!(feeder.next(now + ECHO_LIMIT), b"b\n");
    }

    #[test]
    fn without_a_prompt_lines_go_ever_faster() {
        let (mut feeder, mut now) = feeder(&b"x\n".repeat(100));
        let begin = now;
        for _ in 0..100 {
            while feeder.next(now).is_empty() {
                now += MS;
            }
            feeder.shown(b"x\r\n", now);
        }
        let waited = now.duration_since(begin);
        assert!(
            waited > PROMPT_LIMIT && waited < PROMPT_LIMIT * 5,
            "{waited:?}"
        );
    }

    #[test]
    fn noise_does_not_stop_the_input() {
        let (mut feeder, begin) = feeder(b"a\nb\n");
        assert_eq!(feeder.next(begin), b"a\n");
        let mut now = begin;
        while feeder.next(now).is_empty() {
            feeder.shown(b"a\r\n", now);
            now += MS;
        }
        assert_eq!(now, begin + NOISE_LIMIT);
    }

    #[test]
    fn a_line_without_letters_is_echoed_by_its_end() {
        let (mut feeder, now) = feeder(b"{\n}\n");
        assert_eq!(feeder.next(now), b"{\n");
        feeder.shown(b"{", now);
        assert_eq!(feeder.next(now + PROMPT_QUIET), b"");
        feeder.shown(b"\r\n> ", now);
        assert_eq!(feeder.next(now + PROMPT_QUIET), b"}\n");
    }

    #[test]
    fn long_lines_go_in_pieces() {
        let line = vec![b'x'; PIECE_BYTES + 1];
        let (mut feeder, now) = feeder(&line);
        assert_eq!(feeder.next(now).len(), PIECE_BYTES);
        feeder.shown(&line[1..], now);
        assert_eq!(feeder.next(now), b"x");
    }

    #[test]
    fn the_end_is_typed_when_quiet_and_again() {
        let (mut feeder, now) = feeder(b"");
        feeder.shown(b"busy", now);
        assert_eq!(feeder.next(now + END_QUIET - MS), b"");
        let first = now + END_QUIET;
        assert_eq!(feeder.next(first), [CTRL_D]);
        assert_eq!(feeder.next(first + END_AGAIN.0 - MS), b"");
        let second = first + END_AGAIN.0;
        assert_eq!(feeder.next(second), [CTRL_U, CTRL_D]);
        assert_eq!(feeder.next(second + END_AGAIN.0), b"");
        assert_eq!(feeder.next(second + END_AGAIN.0 * 2), [CTRL_U, CTRL_D]);
    }

    #[test]
    fn a_last_line_without_an_end_gets_one() {
        let (mut feeder, now) = feeder(b"uname");
        assert_eq!(feeder.next(now), b"uname");
        feeder.shown(b"uname", now);
        assert_eq!(feeder.next(now), b"\n");
        feeder.shown(b"\r\nLinux\r\n~ # ", now);
        assert_eq!(feeder.next(now + END_QUIET), [CTRL_D]);
    }

    #[test]
    fn input_is_not_hoarded() {
        let mut feeder = Feeder::new(Instant::now());
        assert!(feeder.wants_more());
        feeder.push(&vec![b'\n'; ENOUGH_BYTES]);
        assert!(!feeder.wants_more());
    }
}
