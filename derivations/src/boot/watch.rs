//! Looks for things in what a console shows, however it is cut into pieces.

/// Finds texts in a stream, one after the other: each is looked for behind the
/// one before it.
#[derive(Debug, Clone)]
pub(super) struct Markers {
    wanted: Vec<String>,
    found: usize,
    /// The end of what was seen, too short to hold the next marker.
    tail: Vec<u8>,
}

impl Markers {
    /// Empty markers are found at once.
    pub(super) fn new(wanted: Vec<String>) -> Self {
        let found = wanted.iter().take_while(|marker| marker.is_empty()).count();
        Markers {
            wanted,
            found,
            tail: Vec::new(),
        }
    }

    /// Takes the next piece; gives the markers it completes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> &[String] {
        let before = self.found;
        self.tail.extend_from_slice(bytes);
        while let Some(marker) = self.wanted.get(self.found) {
            let Some(at) = find(&self.tail, marker.as_bytes()) else {
                let keep = self.tail.len().min(marker.len() - 1);
                self.tail.drain(..self.tail.len() - keep);
                return &self.wanted[before..self.found];
            };
            self.tail.drain(..at + marker.len());
            self.found += 1;
        }
        self.tail.clear();
        &self.wanted[before..self.found]
    }

    /// The first marker not found yet.
    pub(super) fn missing(&self) -> Option<&str> {
        self.wanted.get(self.found).map(String::as_str)
    }
}

/// Where `needle` first stands in `haystack`; an empty one at 0.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Finds the line by which a kernel says that it gives up.
#[derive(Debug, Default)]
pub(super) struct Panic {
    line: Vec<u8>,
    found: Option<String>,
}

const PANIC: &str = "Kernel panic - not syncing";
/// Longer lines are cut: nothing that matters is behind that.
const LINE_BYTES: usize = 1024;

impl Panic {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.found.is_some() {
                return;
            }
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LINE_BYTES => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let message = without_time(line.trim());
        if message.starts_with(PANIC) {
            self.found = Some(message.to_owned());
        }
        self.line.clear();
    }

    /// The line, if there was one; also one that the machine's end cut short.
    pub(super) fn line(mut self) -> Option<String> {
        if self.found.is_none() {
            self.end_line();
        }
        self.found
    }
}

/// A line of the kernel without its `[    0.123456] `. A panic has to stand at
/// the start: a shell that echoes the words is not one.
fn without_time(line: &str) -> &str {
    let Some((stamp, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return line;
    };
    let is_time = stamp.trim().chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_time { rest.trim_start() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn markers(wanted: &[&str]) -> Markers {
        Markers::new(wanted.iter().map(|&text| text.into()).collect())
    }

    #[test]
    fn markers_are_found_wherever_the_stream_is_cut() {
        let text = b"booting\r\nkiln: kiln: up\r\n~ # kiln: exit 0\r\n";
        for size in 1..=text.len() {
            let mut markers = markers(&["kiln: up", "kiln: exit 0"]);
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                seen.extend(markers.take(piece).to_vec());
            }
            assert_eq!(seen, ["kiln: up", "kiln: exit 0"], "in pieces of {size}");
            assert_eq!(markers.missing(), None);
        }
    }

    #[test]
    fn markers_have_an_order() {
        let mut markers = markers(&["b", "a"]);
        markers.take(b"a b");
        assert_eq!(markers.missing(), Some("a"));
        assert_eq!(markers.take(b"aaa"), ["a"]);
    }

    #[test]
    fn markers_do_not_overlap() {
        let mut markers = markers(&["aa", "aa"]);
        assert_eq!(markers.take(b"aaa").len(), 1);
        assert_eq!(markers.take(b"a").len(), 1);
    }

    fn check_panic(text: &str, expected: Option<&str>) {
        for size in 1..=text.len() {
            let mut panic = Panic::default();
            text.as_bytes()
                .chunks(size)
                .for_each(|piece| panic.take(piece));
            assert_eq!(panic.line().as_deref(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_panic_is_told_by_its_line() {
        let line = "Kernel panic - not syncing: No working init found.";
        check_panic(&format!("x\r\n[    0.51] {line}\r\nCPU: 0\r\n"), Some(line));
        check_panic(&format!("x\r\n{line}"), Some(line));
    }

    #[test]
    fn talk_of_a_panic_is_none() {
        check_panic("~ # echo Kernel panic - not syncing: x\r\n", None);
        check_panic("[note] Kernel panic - not syncing: x\r\n", None);
    }
}
