//! Points in time as the snapshot archive and release files write them.

use std::fmt;
use std::str::FromStr;

const DAY_S: i64 = 86_400;

/// A second in UTC; written as `20261121T091300Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_s: i64,
}

/// A text that is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time: expected the form 20261121T091300Z")]
pub struct BadTimestamp {
    /// The text as it was given.
    pub text: String,
}

impl Timestamp {
    /// From seconds since 1970.
    pub const fn from_unix(unix_s: i64) -> Self {
        Self { unix_s }
    }

    /// As seconds since 1970.
    pub const fn unix(self) -> i64 {
        self.unix_s
    }

    /// From a date and a time of day; `None` if there is no such second.
    pub fn from_civil(date: (i64, i64, i64), time: (i64, i64, i64)) -> Option<Self> {
        let (year, month, day) = date;
        let (hour, minute, second) = time;
        let fits = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..=60).contains(&second);
        let days = days_from_civil(year, month, day);
        (fits && civil_from_days(days) == date).then_some(Self {
            unix_s: days * DAY_S + hour * 3600 + minute * 60 + second,
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.unix_s.div_euclid(DAY_S));
        let second = self.unix_s.rem_euclid(DAY_S);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        )
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |range: std::ops::Range<usize>| -> Option<i64> {
            let digits = text.get(range)?;
            let all = digits.bytes().all(|b| b.is_ascii_digit());
            all.then(|| digits.parse().ok()).flatten()
        };
        let parse = || {
            let shape = text.len() == 16 && text.get(8..9)? == "T" && text.get(15..)? == "Z";
            let date = (part(0..4)?, part(4..6)?, part(6..8)?);
            let time = (part(9..11)?, part(11..13)?, part(13..15)?);
            Self::from_civil(date, time).filter(|_| shape)
        };
        parse().ok_or_else(|| BadTimestamp {
            text: text.to_owned(),
        })
    }
}

/// Days since 1970 in the Gregorian calendar; years begin in March, so that the
/// leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        for (unix_s, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_795_252_380, "20261121T091300Z"),
        ] {
            assert_eq!(Timestamp::from_unix(unix_s).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_unix(unix_s)));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "20261121",
            "20260230T000000Z",
            "20261121T250000Z",
            "+0261121T000000Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
