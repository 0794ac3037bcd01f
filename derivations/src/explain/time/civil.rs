//! The calendar, as far as dates in bytes need it.

/// Days from 1970-01-01 to this date of the Gregorian calendar; `None` if
/// there is none, or if no file is of that year.
pub(super) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..2200).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let month = month as usize - 1;
    if !(1..=lengths[month]).contains(&day) {
        return None;
    }
    let before: i64 = lengths[..month].iter().sum();
    let past = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    Some((year - 1970) * 365 + leaps(past) - leaps(1969) + before + day - 1)
}

/// `2026-11-21 15:30:01` in UTC; `None` beyond the years of [`days`].
pub(super) fn date_of(second: i64) -> Option<String> {
    let day = second.div_euclid(86_400);
    let of_day = second.rem_euclid(86_400);
    let first = |year| days(year, 1, 1);
    // A year is never shorter than 365 days, so the guess is not too early.
    let guess = 1970 + day.checked_div(365)?;
    let year = (1970..=guess.min(2199))
        .rev()
        .take(4)
        .find(|&year| first(year).is_some_and(|start| start <= day))?;
    let (month, start) = (1..=12)
        .rev()
        .filter_map(|month| Some((month, days(year, month, 1)?)))
        .find(|(_, start)| *start <= day)?;
    let date = day - start + 1;
    // A day past the last year's end.
    days(year, month, date)?;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Some(format!(
        "{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}"
    ))
}

/// 1 to 12 for `Jan` to `Dec`.
pub(super) fn month(name: &[u8]) -> Option<i64> {
    const NAMES: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let found = NAMES.chunks_exact(3).position(|known| known == name)?;
    Some(found as i64 + 1)
}

/// Whether it is one of `Mon` to `Sun`.
pub(super) fn is_weekday(name: &[u8]) -> bool {
    b"MonTueWedThuFriSatSun"
        .chunks_exact(3)
        .any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_calendar() {
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(2026, 11, 21), Some(20_778));
        assert_eq!(days(2100, 2, 29), None);
        assert_eq!(days(2026, 13, 1), None);
        assert_eq!(days(1969, 1, 1), None);
        assert_eq!(date_of(0).as_deref(), Some("1970-01-01 00:00:00"));
        assert_eq!(
            date_of(1_795_275_001).as_deref(),
            Some("2026-11-21 15:30:01")
        );
        assert_eq!(date_of(i64::MAX), None);
        assert_eq!(date_of(-1), None);
    }

    #[test]
    fn every_day_is_written_as_it_is_read() {
        for day in 0..84_000 {
            let Some(text) = date_of(day * 86_400) else {
                panic!("day {day}")
            };
            let number =
                |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("digits");
            assert_eq!(days(number(0..4), number(5..7), number(8..10)), Some(day));
        }
    }
}
