//! Times in bytes that differ, and whether a build's clock wrote them.
//!
//! A build takes seconds or minutes out of decades, so a number that lies in
//! its own build's window, on each side, is hardly there by chance. It has to
//! touch the bytes that differ: everything around them was written by both
//! builds alike.

mod binary;
mod civil;
mod text;

use std::ops::Range;

use serde::Serialize;

use super::clue::Clue;
use super::excerpt::readable;

/// When a build ran, in seconds of UNIX time, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Its first second.
    pub start_s: i64,
    /// Its last second.
    pub end_s: i64,
}

/// When the two builds ran, by their own clocks, if known: a time found in the
/// bytes that lies in its own build's window is the clock's mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// The build of the expected tree.
    pub expected: Option<Window>,
    /// The other one.
    pub got: Option<Window>,
}

/// Bytes of one side, and where in them the difference is.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub bytes: &'a [u8],
    pub near: Range<usize>,
}

impl Spot<'_> {
    /// The bytes before `range`, and what of the difference is there.
    pub fn before(&self, range: &Range<usize>) -> Self {
        let end = self.near.end.min(range.start);
        Self {
            bytes: &self.bytes[..range.start],
            near: self.near.start.min(end)..end,
        }
    }

    /// The bytes after `range`, and what of the difference is there.
    pub fn after(&self, range: &Range<usize>) -> Self {
        let from = |at: usize| at.saturating_sub(range.end);
        Self {
            bytes: &self.bytes[range.end..],
            near: from(self.near.start)..from(self.near.end),
        }
    }
}

/// What a text or a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// A second of UNIX time.
    Second(i64),
    /// A second as a clock on a wall shows it, in an unknown zone.
    Wall(i64),
    /// A day, counted from 1970.
    Day(i64),
    /// A second of an unknown day.
    SecondOfDay(i64),
    /// A minute of an unknown day.
    MinuteOfDay(i64),
}

/// A time found.
#[derive(Clone, Debug)]
struct Found {
    form: &'static str,
    /// Where it stands.
    range: Range<usize>,
    when: When,
    /// Whether it is a time beyond doubt: a date in words, not a number.
    certain: bool,
}

const DAY_S: i64 = 86_400;
const ZONE_STEP_S: i64 = 900;
const MAX_ZONE_S: i64 = 14 * 3600;
/// What is written without its zone is looked for in all of them only if the
/// window is short: else every time would fit one.
const ZONED_WINDOW_S: i64 = 300;
/// Beside a time that is exact, one of an unknown build is plausible so near.
const PLAUSIBLE_S: i64 = 10 * 365 * DAY_S;

impl Window {
    /// Whether the clock of the build may have shown this.
    fn holds(&self, when: When) -> bool {
        match when {
            When::Second(second) => self.contains(second),
            When::Wall(second) => self.zones().any(|zone| self.contains(second - zone)),
            When::Day(day) => {
                let first = (self.start_s - MAX_ZONE_S).div_euclid(DAY_S);
                let last = (self.end_s + MAX_ZONE_S).div_euclid(DAY_S);
                (first..=last).contains(&day)
            }
            When::SecondOfDay(second) => self.holds_of_day(second, 0),
            When::MinuteOfDay(minute) => self.holds_of_day(minute * 60, 59),
        }
    }

    fn contains(&self, second: i64) -> bool {
        (self.start_s..=self.end_s).contains(&second)
    }

    fn zones(&self) -> impl Iterator<Item = i64> + use<> {
        let most = match self.end_s.saturating_sub(self.start_s) < ZONED_WINDOW_S {
            true => MAX_ZONE_S / ZONE_STEP_S,
            false => 0,
        };
        (-most..=most).map(|zone| zone * ZONE_STEP_S)
    }

    /// Whether any second from `of_day` on for `more` seconds is in it.
    fn holds_of_day(&self, of_day: i64, more: i64) -> bool {
        self.zones().any(|zone| {
            // The first such second that is not over when the window begins.
            let first = of_day - zone;
            let wait = (first + more - self.start_s).rem_euclid(DAY_S);
            self.start_s + wait - more <= self.end_s
        })
    }
}

/// The clock's mark, or times at least, if there are some in both.
pub(super) fn clue(expected: &Spot<'_>, got: &Spot<'_>, windows: &Windows) -> Option<Mark> {
    let unknown = windows.expected.is_none() && windows.got.is_none();
    let (left, right) = match unknown {
        true => (text::find(expected), text::find(got)),
        false => (find(expected), find(got)),
    };
    // Hardly any number lies in its window, so hardly any makes a pair.
    let possible = |window: &Option<Window>, found: &Found| {
        found.certain || window.is_none_or(|window| window.holds(found.when))
    };
    let left: Vec<_> = left
        .iter()
        .filter(|e| possible(&windows.expected, e))
        .collect();
    let pairs = || {
        let right = right.iter().filter(|g| possible(&windows.got, g));
        right.flat_map(|g| {
            let same = left
                .iter()
                .filter(|e| e.form == g.form && alike(e, expected, g, got));
            same.map(move |e| (*e, g))
        })
    };
    let show = |found: &Found, spot: &Spot<'_>| match found.when {
        When::Second(second) if !found.certain => shown(second),
        _ => readable(&spot.bytes[found.range.clone()]),
    };
    if let Some((e, g)) = pairs().find(|(e, g)| is_of_build(e.when, g.when, windows)) {
        let clue = Clue::TimeOfBuild {
            form: g.form.to_owned(),
            expected: show(e, expected),
            got: show(g, got),
        };
        return Some(Mark::new(clue, e, g));
    }
    let (e, g) = pairs().find(|(e, g)| e.certain && g.certain && e.when != g.when)?;
    let clue = Clue::Times {
        form: g.form.to_owned(),
        expected: show(e, expected),
        got: show(g, got),
    };
    Some(Mark::new(clue, e, g))
}

/// A clue, and where on both sides it stands.
#[derive(Debug)]
pub(super) struct Mark {
    pub clue: Clue,
    pub expected: Range<usize>,
    pub got: Range<usize>,
}

impl Mark {
    fn new(clue: Clue, expected: &Found, got: &Found) -> Self {
        Self {
            clue,
            expected: expected.range.clone(),
            got: got.range.clone(),
        }
    }
}

/// Whether the two times begin at the same distance from the difference; texts
/// may move within the bytes that differ.
fn alike(e: &Found, expected: &Spot<'_>, g: &Found, got: &Spot<'_>) -> bool {
    let from = |found: &Found, spot: &Spot<'_>| found.range.start as i64 - spot.near.start as i64;
    e.certain || from(e, expected) == from(g, got)
}

fn is_of_build(expected: When, got: When, windows: &Windows) -> bool {
    let holds = |window: &Option<Window>, when| window.map(|window| window.holds(when));
    if expected == got {
        return false;
    }
    match (holds(&windows.expected, expected), holds(&windows.got, got)) {
        (Some(true), Some(true)) => true,
        (None, Some(true)) | (Some(true), None) => plausible(expected, got),
        _ => false,
    }
}

fn plausible(a: When, b: When) -> bool {
    match (a, b) {
        (When::Second(a), When::Second(b)) | (When::Wall(a), When::Wall(b)) => {
            a.abs_diff(b) < PLAUSIBLE_S as u64
        }
        (When::Day(a), When::Day(b)) => a.abs_diff(b) < (PLAUSIBLE_S / DAY_S) as u64,
        _ => true,
    }
}

/// The clue of two fields that are known to hold seconds.
pub(super) fn field_clue(expected: i64, got: i64, form: &str, windows: &Windows) -> Option<Clue> {
    let (e, g) = (When::Second(expected), When::Second(got));
    is_of_build(e, g, windows).then(|| Clue::TimeOfBuild {
        form: form.to_owned(),
        expected: shown(expected),
        got: shown(got),
    })
}

/// A time of the build in bytes that only one side has, such as a file's name.
pub(super) fn in_window(bytes: &[u8], window: Option<Window>) -> Option<(&'static str, String)> {
    let spot = Spot {
        bytes,
        near: 0..bytes.len(),
    };
    let window = window?;
    let found = text::find(&spot)
        .into_iter()
        .find(|found| window.holds(found.when) && !matches!(found.when, When::MinuteOfDay(_)))?;
    Some((found.form, readable(&bytes[found.range])))
}

/// Seconds, and what date they are.
pub(super) fn shown(second: i64) -> String {
    match civil::date_of(second) {
        Some(date) => format!("{second} ({date})"),
        None => second.to_string(),
    }
}

/// All times that touch the difference, those that say most first.
fn find(spot: &Spot<'_>) -> Vec<Found> {
    let mut found = text::find(spot);
    found.extend(binary::find(spot));
    found
}

#[cfg(test)]
mod tests;
