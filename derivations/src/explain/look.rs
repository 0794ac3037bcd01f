//! The recursion into differing bytes, its bounds, and the list of what was
//! found.

use std::collections::HashMap;

use super::clue::Clue;
use super::difference::{Difference, Excerpt, Explanation, What};
use super::limits::Limits;
use super::time::Windows;
use super::{ar, compressed, cpio, elf, ext, opaque, tar, text};

/// Both sides of a part.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub expected: &'a [u8],
    pub got: &'a [u8],
}

impl<'a> Pair<'a> {
    pub fn differs(&self) -> bool {
        self.expected != self.got
    }

    /// `read` of both sides, if both have it.
    pub fn both<T>(&self, read: impl Fn(&'a [u8]) -> Option<T>) -> Option<(T, T)> {
        Some((read(self.expected)?, read(self.got)?))
    }
}

/// A place within a file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    text: String,
    /// What all places of its kind have in common.
    kind: String,
}

impl Place {
    /// A part that its format has once: differences in others are of another
    /// kind.
    pub fn part(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            kind: text.clone(),
            text,
        }
    }

    /// One of many that are alike: a member, a line.
    pub fn one_of(kind: &str, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: kind.to_owned(),
        }
    }
}

/// What a format found at a place.
pub(super) struct Finding {
    pub what: What,
    pub expected: Excerpt,
    pub got: Excerpt,
    pub clues: Vec<Clue>,
    pub differing_bytes: u64,
}

impl Finding {
    /// A difference that is not one of bytes.
    pub fn new(what: What, expected: Excerpt, got: Excerpt) -> Self {
        Self {
            what,
            expected,
            got,
            clues: Vec::new(),
            differing_bytes: 0,
        }
    }

    pub fn clue(mut self, clue: Clue) -> Self {
        self.clues.push(clue);
        self
    }
}

/// One comparison on its way.
pub(super) struct Look<'a> {
    pub windows: &'a Windows,
    pub limits: &'a Limits,
    path: String,
    inside: Vec<Place>,
    depth: usize,
    unpacked_bytes_left: u64,
    entries_left: u64,
    reported: u64,
    explanation: Explanation,
    /// By kind: the last that is listed, and how many are.
    alike: HashMap<String, (usize, usize)>,
}

impl<'a> Look<'a> {
    pub fn new(windows: &'a Windows, limits: &'a Limits) -> Self {
        Self {
            windows,
            limits,
            path: String::new(),
            inside: Vec::new(),
            depth: 0,
            unpacked_bytes_left: limits.max_unpacked_bytes,
            entries_left: limits.max_entries,
            reported: 0,
            explanation: Explanation::default(),
            alike: HashMap::new(),
        }
    }

    pub fn finish(self) -> Explanation {
        self.explanation
    }

    /// What follows is about this file.
    pub fn enter_path(&mut self, path: &str) {
        self.path = path.to_owned();
        self.inside.clear();
        // Kinds are counted in each file.
        self.alike.clear();
    }

    /// Runs `look` on what is at `place`.
    pub fn within<T>(&mut self, place: Place, look: impl FnOnce(&mut Self) -> T) -> T {
        self.inside.push(place);
        let result = look(self);
        self.inside.pop();
        result
    }

    /// How much was reported, listed or not.
    pub fn reported(&self) -> u64 {
        self.reported
    }

    /// Takes from what may be unpacked; says whether there was so much left.
    pub fn take_bytes(&mut self, bytes: u64) -> bool {
        let enough = bytes <= self.unpacked_bytes_left;
        match enough {
            true => self.unpacked_bytes_left -= bytes,
            false => self.cut("more is packed in it than kiln unpacks to compare"),
        }
        enough
    }

    /// What may still be unpacked.
    pub fn bytes_left(&self) -> u64 {
        self.unpacked_bytes_left
    }

    /// Takes one from the entries that may be looked at.
    pub fn take_entry(&mut self) -> bool {
        let enough = self.entries_left > 0;
        match enough {
            true => self.entries_left -= 1,
            false => self.cut("it has more entries than kiln compares"),
        }
        enough
    }

    /// Whether no more entries may be looked at.
    pub fn is_exhausted(&self) -> bool {
        self.entries_left == 0
    }

    /// Notes that a bound was met in this file.
    pub fn cut(&mut self, why: &str) {
        const MOST: usize = 100;
        let sentence = match self.path.is_empty() {
            true => why.to_owned(),
            false => format!("`{}`: {why}", self.path),
        };
        let cut = &mut self.explanation.cut;
        if cut.len() < MOST && !cut.contains(&sentence) {
            cut.push(sentence);
        }
    }

    /// Adds a difference at this place, or counts it with those alike.
    pub fn report(&mut self, finding: Finding) {
        self.reported += 1;
        let kind = self.kind(&finding.what);
        let listed = self.alike.get(&kind).copied();
        if let Some((last, count)) = listed
            && count >= self.limits.max_alike.max(1)
        {
            self.explanation.differences[last].more += 1;
            return;
        }
        if self.explanation.differences.len() >= self.limits.max_differences {
            self.explanation.more += 1;
            return;
        }
        let count = listed.map_or(0, |(_, count)| count);
        self.alike
            .insert(kind, (self.explanation.differences.len(), count + 1));
        self.explanation.differences.push(Difference {
            path: self.path.clone(),
            inside: self.inside.iter().map(|place| place.text.clone()).collect(),
            what: finding.what,
            expected: finding.expected,
            got: finding.got,
            clues: finding.clues,
            differing_bytes: finding.differing_bytes,
            more: 0,
        });
    }

    /// Whether a difference of this kind would be listed here: if not, nobody
    /// reads its clues. Places that are one of many do not matter.
    pub fn lists(&self, what: &What) -> bool {
        let count = self
            .alike
            .get(&self.kind(what))
            .map_or(0, |(_, count)| *count);
        count < self.limits.max_alike.max(1)
            && self.explanation.differences.len() < self.limits.max_differences
    }

    fn kind(&self, what: &What) -> String {
        let what = match what {
            What::Field { name } => name.as_str(),
            What::OnlyExpected | What::OnlyGot => "only",
            What::Size { .. } | What::Content { .. } => "content",
            What::Order => "order",
            What::Kind => "kind",
            What::Executable => "executable",
            What::LinkTarget => "target",
        };
        let mut kind = String::new();
        for place in &self.inside {
            kind.push_str(&place.kind);
            kind.push('\0');
        }
        kind + what
    }

    /// Compares what may be of any format.
    pub fn content(&mut self, pair: Pair<'_>) {
        if !pair.differs() {
            return;
        }
        let before = self.reported;
        if self.depth < self.limits.max_depth {
            self.depth += 1;
            formats(self, pair);
            self.depth -= 1;
        } else if !text::is_text(pair.expected) || !text::is_text(pair.got) {
            self.cut("there are more containers in each other than kiln opens");
        }
        // No format, or one that did not find what differs.
        if self.reported == before {
            plain(self, pair);
        }
    }
}

/// Compares what is neither a container nor a program.
fn plain(look: &mut Look<'_>, pair: Pair<'_>) {
    if text::is_text(pair.expected) && text::is_text(pair.got) {
        text::compare(look, pair);
    } else {
        opaque::compare(look, pair);
    }
}

/// Compares by the format that both sides have, if it is one and whole enough.
fn formats(look: &mut Look<'_>, pair: Pair<'_>) {
    let known: [fn(&mut Look<'_>, Pair<'_>) -> Option<()>; 6] = [
        compressed::compare,
        ar::compare,
        cpio::compare,
        elf::compare,
        tar::compare,
        ext::compare,
    ];
    for compare in known {
        if compare(look, pair).is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Found, contents, contents_with};
    use super::super::{compressed, cpio, tar};
    use super::*;

    /// A text in a tar in a cpio in a gzip.
    fn nested(text: &str) -> Vec<u8> {
        let tar = tar::tests::archive(&[("etc/motd", text.as_bytes(), &|_| {})]);
        let entries = [cpio::tests::entry("root.tar", [1, 1, 0], &tar)];
        compressed::tests::gzip(&cpio::tests::archive(&entries), 6, |builder| builder)
    }

    #[test]
    fn looks_through_formats_in_each_other() {
        let found = contents(&nested("one\ntwo\n"), &nested("one\n2\n"));
        let inside = [
            "in the gzip",
            "cpio entry `root.tar`",
            "tar member `etc/motd`",
            "line 2",
        ];
        assert_eq!(found.only().inside, inside);
    }

    #[test]
    fn counts_what_is_alike_by_its_kind() {
        let archive = |uid: u64, gid: u64| {
            let change = move |header: &mut ::tar::Header| {
                header.set_uid(uid);
                header.set_gid(gid);
            };
            let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
            let members: Vec<_> = names
                .iter()
                .map(|name| {
                    (
                        name.as_str(),
                        &b"x"[..],
                        &change as &dyn Fn(&mut ::tar::Header),
                    )
                })
                .collect();
            tar::tests::archive(&members)
        };
        let found = contents(&archive(0, 0), &archive(7, 8));
        // Three of each field are listed.
        assert_eq!(found.differences.len(), 6);
        let more: Vec<_> = found.differences.iter().map(|d| d.more).collect();
        assert_eq!(more, [0, 0, 0, 0, 7, 7]);
    }

    #[test]
    fn stops_at_the_number_of_entries() {
        let limits = Limits {
            max_entries: 1,
            ..Limits::default()
        };
        let found = contents_with(&nested("one\n"), &nested("two\n"), &limits);
        assert!(found.cut[0].contains("entries"), "{found:?}");
        assert_eq!(found.differences[0].inside, ["in the gzip"]);
    }
}
