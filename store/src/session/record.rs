//! The text of a lease file. Pure.
//!
//! ```text
//! kiln lease 1
//! boot 3f0c…            the boot under which it runs
//! pid 4711              for people
//! start 1793612345 678  ctime of this file when it was made: seconds, ns
//! + HEX                 this tree is used from here on
//! - HEX                 … and no more
//! writes                objects are written from here on
//! ```

use std::collections::HashSet;

use rustix::fs::Stat;

use crate::hash::TreeId;

const MAGIC: &str = "kiln lease 1";

/// A time of the store's file system: seconds, then nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) i64, pub(crate) i64);

impl Stamp {
    /// When an inode was changed last.
    pub(crate) fn changed(stat: &Stat) -> Self {
        // The types of these fields differ between architectures.
        #[allow(clippy::unnecessary_cast)]
        Self(stat.st_ctime as i64, stat.st_ctime_nsec as i64)
    }

    /// The time this many seconds before.
    pub(crate) fn minus(self, margin_s: i64) -> Self {
        Self(self.0.saturating_sub(margin_s), self.1)
    }
}

/// What a lease file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Under which boot it was made.
    pub(crate) boot: String,
    /// By which process.
    pub(crate) pid: u32,
    /// When, by the clock of the file system.
    pub(crate) start: Stamp,
    /// Which trees are in use.
    pub(crate) trees: HashSet<TreeId>,
    /// Whether objects may have been written.
    pub(crate) writes: bool,
}

/// The first lines of a lease file.
pub(crate) fn head(boot: &str, pid: u32, start: Stamp) -> String {
    let Stamp(seconds, nanoseconds) = start;
    format!("{MAGIC}\nboot {boot}\npid {pid}\nstart {seconds} {nanoseconds}\n")
}

impl Record {
    /// Reads a lease file. `None` if it is not whole: its session died before
    /// it could write any object, or the file is not ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let boot = lines.next()?.strip_prefix("boot ")?.to_owned();
        let pid = lines.next()?.strip_prefix("pid ")?.parse().ok()?;
        let (seconds, nanoseconds) = lines.next()?.strip_prefix("start ")?.split_once(' ')?;
        let mut record = Self {
            boot,
            pid,
            start: Stamp(seconds.parse().ok()?, nanoseconds.parse().ok()?),
            trees: HashSet::new(),
            writes: false,
        };
        lines.try_for_each(|line| record.apply(line))?;
        Some(record)
    }

    fn apply(&mut self, line: &str) -> Option<()> {
        match line.split_once(' ') {
            Some(("+", tree)) => {
                self.trees.insert(tree.parse().ok()?);
            }
            Some(("-", tree)) => {
                self.trees.remove(&tree.parse().ok()?);
            }
            None if line == "writes" => self.writes = true,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Digest;

    #[test]
    fn a_lease_says_what_is_used_at_its_end() {
        let (a, b) = (TreeId(Digest::of(b"a")), TreeId(Digest::of(b"b")));
        let text = head("boot", 7, Stamp(-1, 5)) + &format!("+ {a}\nwrites\n+ {b}\n- {a}\n");
        let expected = Record {
            boot: "boot".to_owned(),
            pid: 7,
            start: Stamp(-1, 5),
            trees: HashSet::from([b]),
            writes: true,
        };
        assert_eq!(Record::parse(&text), Some(expected));
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let check = |text: &str| assert_eq!(Record::parse(text), None, "{text:?}");
        check("");
        check("kiln lease 2\nboot x\npid 1\nstart 1 2\n");
        check("kiln lease 1\nboot x\npid 1\n");
        check("kiln lease 1\nboot x\npid 1\nstart 1 2\n+ abc\n");
        check("kiln lease 1\nboot x\npid 1\nstart 1 2\nwhat\n");
    }
}
