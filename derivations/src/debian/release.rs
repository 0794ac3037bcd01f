//! `Release` files: what a suite consists of at one time.

use std::collections::BTreeMap;

use deb822_fast::borrowed::BorrowedParser;
use kiln_store::hash::Digest;

use crate::fetch::Timestamp;

/// A suite at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `stable`, `oldstable-updates`, …: changes with time.
    pub suite: String,
    /// `bookworm`, `bookworm-updates`, …: stays.
    pub codename: String,
    /// When it was made.
    pub date: Timestamp,
    /// Until when it may be used; point releases have no such time.
    pub valid_until: Option<Timestamp>,
    /// Whether its files may also be had by their hash.
    pub by_hash: bool,
    /// Its files by path below `dists/SUITE/`.
    pub files: BTreeMap<String, IndexFile>,
}

/// A file that a release vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What to do with a release whose time has passed. An old one is what an
/// attacker would serve who wants old packages to be locked; it is also what a
/// snapshot serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// Refuse it.
    #[default]
    Refuse,
    /// Use it.
    Accept,
}

/// Why a release cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A field is missing or makes no sense.
    #[error("its field `{field}` is missing or wrong")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// It is no deb822 text.
    #[error("it is not a release file: {reason}")]
    Syntax {
        /// What is wrong.
        reason: String,
    },
    /// It is another suite's.
    #[error("it is the release of `{found}`, not of `{wanted}`")]
    OtherSuite {
        /// The suite that was asked for.
        wanted: String,
        /// The codename it has.
        found: String,
    },
    /// Its time has passed.
    #[error("it was valid until {valid_until} only; an older index may be used by saying so")]
    Stale {
        /// Until when.
        valid_until: Timestamp,
    },
    /// It is of the future.
    #[error("it was made at {date}, which is yet to come: check the clock")]
    Future {
        /// When it was made.
        date: Timestamp,
    },
}

/// How far clocks may differ.
const CLOCK_SLACK_S: i64 = 24 * 3600;

impl Release {
    /// Reads the text of a `Release` file.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let syntax = |reason: String| ReleaseError::Syntax { reason };
        let paragraphs = BorrowedParser::new(text).parse_all();
        let paragraphs = paragraphs.map_err(|error| syntax(error.to_string()))?;
        let [paragraph] = paragraphs.as_slice() else {
            return Err(syntax("it is not one paragraph".to_owned()));
        };
        let field = |field| {
            let value = paragraph.get_single(field).map(str::trim);
            value.ok_or(ReleaseError::Field { field })
        };
        let time = |field| {
            let value = paragraph.get_single(field).map(str::trim);
            let time = value.map(|value| date(value).ok_or(ReleaseError::Field { field }));
            time.transpose()
        };
        let lines = paragraph.get("SHA256").unwrap_or_default().iter();
        let files: Option<BTreeMap<_, _>> = lines
            .filter(|line| !line.trim().is_empty())
            .map(|line| file(line))
            .collect();
        Ok(Self {
            suite: field("Suite").unwrap_or_default().to_owned(),
            codename: field("Codename")?.to_owned(),
            date: time("Date")?.ok_or(ReleaseError::Field { field: "Date" })?,
            valid_until: time("Valid-Until")?,
            by_hash: field("Acquire-By-Hash").is_ok_and(|value| value == "yes"),
            files: files.ok_or(ReleaseError::Field { field: "SHA256" })?,
        })
    }

    /// Checks that it is the one that was asked for, and of its time.
    pub fn check(&self, wanted: &str, now: Timestamp, stale: Stale) -> Result<(), ReleaseError> {
        if wanted != self.codename && wanted != self.suite {
            return Err(ReleaseError::OtherSuite {
                wanted: wanted.to_owned(),
                found: self.codename.clone(),
            });
        }
        if self.date.unix() > now.unix() + CLOCK_SLACK_S {
            return Err(ReleaseError::Future { date: self.date });
        }
        match self.valid_until {
            Some(valid_until) if valid_until < now && stale == Stale::Refuse => {
                Err(ReleaseError::Stale { valid_until })
            }
            _ => Ok(()),
        }
    }
}

/// A line such as ` <sha256> <size> main/binary-amd64/Packages.xz`.
fn file(line: &str) -> Option<(String, IndexFile)> {
    let mut words = line.split_whitespace();
    let sha256 = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?.to_owned();
    Some((path, IndexFile { sha256, size }))
}

/// A date such as `Sat, 11 Jul 2026 10:23:45 UTC`.
fn date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, zone] = words.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)?;
    let time: Option<Vec<i64>> = time.split(':').map(|part| part.parse().ok()).collect();
    let [hour, minute, second] = *time?.as_slice() else {
        return None;
    };
    let date = (year.parse().ok()?, month as i64 + 1, day.parse().ok()?);
    let utc = matches!(*zone, "UTC" | "GMT" | "+0000" | "Z");
    Timestamp::from_civil(date, (hour, minute, second)).filter(|_| utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Origin: Debian\n\
        Suite: oldstable-updates\n\
        Codename: bookworm-updates\n\
        Date: Sat, 21 Nov 2026 08:14:03 UTC\n\
        Valid-Until: Sat, 28 Nov 2026 08:14:03 UTC\n\
        Acquire-By-Hash: yes\n\
        SHA256:\n \
        a9a118bbe84d8764da0ea0d28b3ab3fae8477fc7e4085d90102b8596fc7c75e4 1234 main/binary-amd64/Packages.xz\n";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    #[test]
    fn a_release_is_read_and_checked() {
        let release = Release::parse(TEXT).expect("release");
        assert_eq!(release.date, at("20261121T081403Z"));
        assert_eq!(release.files["main/binary-amd64/Packages.xz"].size, 1234);
        let check = |suite: &str, now: &str, stale| {
            let checked = release.check(suite, at(now), stale);
            checked.map_err(|error| error.to_string()).err()
        };
        let today = "20261122T000000Z";
        assert_eq!(check("bookworm-updates", today, Stale::Refuse), None);
        assert_eq!(
            check("bookworm", today, Stale::Refuse).as_deref(),
            Some("it is the release of `bookworm-updates`, not of `bookworm`")
        );
        let late = "20261222T000000Z";
        assert_eq!(
            check("bookworm-updates", late, Stale::Refuse).as_deref(),
            Some(
                "it was valid until 20261128T081403Z only; an older index may be used by saying so"
            )
        );
        assert_eq!(check("bookworm-updates", late, Stale::Accept), None);
        assert!(check("bookworm-updates", "20261101T000000Z", Stale::Accept).is_some());
    }

    #[test]
    fn what_is_no_release_is_refused() {
        for text in [
            "",
            "<html>",
            "Codename: x\n",
            &TEXT.replace("1234", "x"),
            &TEXT.replace("UTC", "CET"),
        ] {
            assert!(Release::parse(text).is_err(), "{text}");
        }
    }
}
