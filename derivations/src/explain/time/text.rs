//! Dates and times as texts, and numbers of seconds as digits.

use std::ops::Range;

use super::civil;
use super::{Found, Spot, When};

/// The longest form, before and after the difference.
const LONGEST_BYTES: usize = 40;
/// Of a long difference, only the beginning is searched.
const SEARCHED_BYTES: usize = 4096;

/// Texts that touch the difference, those that say most first.
pub(super) fn find(spot: &Spot<'_>) -> Vec<Found> {
    let near = touching(spot);
    let from = near.start.saturating_sub(LONGEST_BYTES);
    let mut found = Vec::new();
    for (rank, (form, certain, read)) in FORMS.iter().enumerate() {
        for at in from..near.end {
            if found
                .iter()
                .any(|(_, other): &(usize, Found)| other.certain && other.range.contains(&at))
            {
                continue;
            }
            let mut scan = Scan {
                bytes: spot.bytes,
                at,
            };
            if is_within(spot.bytes, at) {
                continue;
            }
            if let Some(when) = read(&mut scan)
                && scan.at > near.start
                && !is_within(spot.bytes, scan.at)
            {
                let range = at..scan.at;
                found.push((
                    rank,
                    Found {
                        form,
                        range,
                        when,
                        certain: *certain,
                    },
                ));
            }
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, found)| found).collect()
}

/// The difference, or the bytes beside it if it is empty on this side.
fn touching(spot: &Spot<'_>) -> Range<usize> {
    let start = spot.near.start.min(spot.bytes.len());
    let end = spot.near.end.min(start + SEARCHED_BYTES);
    match start < end {
        true => start..end.min(spot.bytes.len()),
        false => start.saturating_sub(1)..(start + 1).min(spot.bytes.len()),
    }
}

/// Whether `at` is in the middle of a number or a word, where none begins and
/// none ends.
fn is_within(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else {
        return false;
    };
    let both = |is: fn(&u8) -> bool| {
        let is = |at: usize| bytes.get(at).is_some_and(is);
        is(before) && is(at)
    };
    both(u8::is_ascii_digit) || both(u8::is_ascii_alphabetic)
}

type Read = fn(&mut Scan<'_>) -> Option<When>;

/// By how much they say: a text is read as the first that fits.
const FORMS: [(&str, bool, Read); 17] = [
    ("ctime text", true, ctime),
    ("RFC 2822 date", true, rfc2822),
    ("ISO 8601 time", true, iso),
    ("date and time in digits", true, compact),
    ("__DATE__ __TIME__", true, c_date_time),
    ("__DATE__", true, c_date),
    ("day month year", true, day_month_year),
    ("time of day", true, time_of_day),
    ("date", true, iso_date),
    ("date in digits", false, compact_date),
    ("hour and minute", false, hour_and_minute),
    ("seconds in decimal", false, decimal),
    ("seconds in octal", false, octal),
    ("seconds in hexadecimal", false, hexadecimal),
    ("milliseconds in decimal", false, |scan| scaled(scan, 13)),
    ("microseconds in decimal", false, |scan| scaled(scan, 16)),
    ("nanoseconds in decimal", false, |scan| scaled(scan, 19)),
];

/// Reads from a place on; `at` is past what was read.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }

    fn byte(&mut self, wanted: &[u8]) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        wanted.contains(&byte).then(|| {
            self.at += 1;
            byte
        })
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let text = self.take(count)?;
        text.iter().try_fold(0_i64, |number, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            number.checked_mul(10)?.checked_add(i64::from(digit))
        })
    }

    /// One or two digits, the first perhaps a blank.
    fn day(&mut self) -> Option<i64> {
        let padded = self.byte(b" ").is_some();
        let start = self.at;
        if !padded && let Some(day) = self.digits(2) {
            return Some(day);
        }
        self.at = start;
        self.digits(1)
    }

    /// `15:30:01`, as seconds of the day.
    fn clock(&mut self) -> Option<i64> {
        let minutes = self.minutes()?;
        self.byte(b":")?;
        let seconds = self.digits(2)?;
        // A leap second is 60.
        (seconds <= 60).then_some(minutes * 60 + seconds)
    }

    /// `15:30`, as minutes of the day.
    fn minutes(&mut self) -> Option<i64> {
        let hours = self.digits(2)?;
        self.byte(b":")?;
        let minutes = self.digits(2)?;
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    }

    /// `Z`, `UTC`, `GMT`, `+01:00`, `-0230`, as seconds east; nothing is taken
    /// if none of them is there.
    fn zone(&mut self) -> Option<i64> {
        let start = self.at;
        let zone = self.some_zone();
        if zone.is_none() {
            self.at = start;
        }
        zone
    }

    fn some_zone(&mut self) -> Option<i64> {
        for name in [&b"UTC"[..], b"GMT", b"Z"] {
            if self.bytes[self.at..].starts_with(name) {
                self.at += name.len();
                return Some(0);
            }
        }
        let sign = match self.byte(b"+-")? {
            b'+' => 1,
            _ => -1,
        };
        let hours = self.digits(2)?;
        self.byte(b":");
        let minutes = self.digits(2)?;
        (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
    }
}

fn at(days: i64, of_day: i64, zone: Option<i64>) -> When {
    let second = days * super::DAY_S + of_day;
    match zone {
        Some(zone) => When::Second(second - zone),
        None => When::Wall(second),
    }
}

/// `Sat Nov 21 15:30:01 2026`, perhaps with a zone's name before the year.
fn ctime(scan: &mut Scan<'_>) -> Option<When> {
    civil::is_weekday(scan.take(3)?).then_some(())?;
    scan.byte(b" ")?;
    let month = civil::month(scan.take(3)?)?;
    scan.byte(b" ")?;
    let day = scan.day()?;
    scan.byte(b" ")?;
    let of_day = scan.clock()?;
    scan.byte(b" ")?;
    let zone = scan.zone();
    let named = zone.is_none() && skip_zone_name(scan);
    if zone.is_some() || named {
        scan.byte(b" ")?;
    }
    let year = scan.digits(4)?;
    Some(at(civil::days(year, month, day)?, of_day, zone))
}

/// A zone's name that says nothing to kiln, such as `CET`.
fn skip_zone_name(scan: &mut Scan<'_>) -> bool {
    let rest = &scan.bytes[scan.at..];
    let letters = rest
        .iter()
        .take(6)
        .take_while(|b| b.is_ascii_uppercase())
        .count();
    let is_name = (2..=5).contains(&letters);
    if is_name {
        scan.at += letters;
    }
    is_name
}

/// `Sat, 21 Nov 2026 15:30:01 +0000`, the day's name left out or not.
fn rfc2822(scan: &mut Scan<'_>) -> Option<When> {
    let start = scan.at;
    if !(scan.take(3).is_some_and(civil::is_weekday) && scan.byte(b",").is_some()) {
        scan.at = start;
    } else {
        scan.byte(b" ")?;
    }
    let When::Day(days) = day_month_year(scan)? else {
        return None;
    };
    scan.byte(b" ")?;
    let of_day = scan.clock()?;
    let end = scan.at;
    let zone = scan.byte(b" ").and_then(|_| scan.zone());
    if zone.is_none() {
        scan.at = end;
    }
    Some(at(days, of_day, zone))
}

/// `21 Nov 2026`.
fn day_month_year(scan: &mut Scan<'_>) -> Option<When> {
    let day = scan.day()?;
    scan.byte(b" -")?;
    let month = civil::month(scan.take(3)?)?;
    scan.byte(b" -")?;
    let year = scan.digits(4)?;
    Some(When::Day(civil::days(year, month, day)?))
}

/// `2026-11-21T15:30:01Z`, with a blank for the `T`, with or without seconds,
/// fraction and zone.
fn iso(scan: &mut Scan<'_>) -> Option<When> {
    let When::Day(days) = iso_date(scan)? else {
        return None;
    };
    scan.byte(b"T _")?;
    let start = scan.at;
    let of_day = match scan.clock() {
        Some(of_day) => of_day,
        None => {
            scan.at = start;
            scan.minutes()? * 60
        }
    };
    if scan.byte(b".,").is_some() {
        while scan.byte(b"0123456789").is_some() {}
    }
    let end = scan.at;
    scan.byte(b" ");
    let zone = scan.zone();
    if zone.is_none() {
        scan.at = end;
    }
    Some(at(days, of_day, zone))
}

/// `2026-11-21`, also with dots or slashes.
fn iso_date(scan: &mut Scan<'_>) -> Option<When> {
    let year = scan.digits(4)?;
    let mark = scan.byte(b"-./")?;
    let month = scan.digits(2)?;
    scan.byte(&[mark])?;
    let day = scan.digits(2)?;
    Some(When::Day(civil::days(year, month, day)?))
}

/// `20261121`.
fn compact_date(scan: &mut Scan<'_>) -> Option<When> {
    let (year, month, day) = (scan.digits(4)?, scan.digits(2)?, scan.digits(2)?);
    Some(When::Day(civil::days(year, month, day)?))
}

/// `20261121153001`, or with `T`, `-` or `_` between, perhaps without seconds
/// and with a `Z`.
fn compact(scan: &mut Scan<'_>) -> Option<When> {
    let When::Day(days) = compact_date(scan)? else {
        return None;
    };
    scan.byte(b"T-_.");
    let (hours, minutes) = (scan.digits(2)?, scan.digits(2)?);
    let end = scan.at;
    let seconds = scan.digits(2).unwrap_or_else(|| {
        scan.at = end;
        0
    });
    if hours >= 24 || minutes >= 60 || seconds > 60 {
        return None;
    }
    let zone = scan.byte(b"Z").map(|_| 0);
    Some(at(days, hours * 3600 + minutes * 60 + seconds, zone))
}

/// `Nov 21 2026`, the day padded with a blank.
fn c_date(scan: &mut Scan<'_>) -> Option<When> {
    let month = civil::month(scan.take(3)?)?;
    scan.byte(b" ")?;
    let day = scan.day()?;
    scan.byte(b",");
    scan.byte(b" ")?;
    let year = scan.digits(4)?;
    Some(When::Day(civil::days(year, month, day)?))
}

/// `Nov 21 2026 15:30:01`, with something short between, such as a NUL.
fn c_date_time(scan: &mut Scan<'_>) -> Option<When> {
    let When::Day(days) = c_date(scan)? else {
        return None;
    };
    while scan.byte(b" ,\0").is_some() {}
    Some(at(days, scan.clock()?, None))
}

/// `15:30:01`.
fn time_of_day(scan: &mut Scan<'_>) -> Option<When> {
    Some(When::SecondOfDay(scan.clock()?))
}

/// `15:30`.
fn hour_and_minute(scan: &mut Scan<'_>) -> Option<When> {
    Some(When::MinuteOfDay(scan.minutes()?))
}

/// Nine to eleven digits, perhaps with a fraction.
fn decimal(scan: &mut Scan<'_>) -> Option<When> {
    Some(When::Second(scan_number(scan, 10, 9..=11)?))
}

/// Eleven or twelve octal digits, as in the header of a tar.
fn octal(scan: &mut Scan<'_>) -> Option<When> {
    Some(When::Second(scan_number(scan, 8, 11..=12)?))
}

/// Eight hexadecimal digits, as in the header of a cpio entry.
fn hexadecimal(scan: &mut Scan<'_>) -> Option<When> {
    Some(When::Second(scan_number(scan, 16, 8..=8)?))
}

/// That many digits, of which the first ten are seconds.
fn scaled(scan: &mut Scan<'_>, digits: usize) -> Option<When> {
    let number = scan_number(scan, 10, digits..=digits)?;
    Some(When::Second(number / 10_i64.pow(digits as u32 - 10)))
}

fn scan_number(
    scan: &mut Scan<'_>,
    radix: u32,
    count: std::ops::RangeInclusive<usize>,
) -> Option<i64> {
    let rest = scan.bytes.get(scan.at..)?;
    let is_digit = |b: &&u8| char::from(**b).is_digit(radix);
    let before = scan.at.checked_sub(1).and_then(|at| scan.bytes.get(at));
    if before.as_ref().is_some_and(is_digit) {
        return None;
    }
    let length = rest
        .iter()
        .take(count.end() + 1)
        .take_while(is_digit)
        .count();
    if !count.contains(&length) {
        return None;
    }
    let text = std::str::from_utf8(scan.take(length)?).ok()?;
    i64::from_str_radix(text, radix).ok()
}
