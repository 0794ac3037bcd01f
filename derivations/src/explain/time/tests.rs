use super::*;

/// 2026-11-21 15:30:01 UTC.
const FIRST_S: i64 = 1_795_275_001;
/// 16:42:37 on the next day.
const SECOND_S: i64 = FIRST_S + DAY_S + 4356;

fn windows() -> Windows {
    let around = |second| Window {
        start_s: second - 2,
        end_s: second + 3,
    };
    Windows {
        expected: Some(around(FIRST_S)),
        got: Some(around(SECOND_S)),
    }
}

/// The spots of two texts that differ, as the parts that compare cut them.
fn spots<'a>(expected: &'a [u8], got: &'a [u8]) -> (Spot<'a>, Spot<'a>) {
    let [left, right] = super::super::order::differing(expected, got);
    (
        Spot {
            bytes: expected,
            near: left,
        },
        Spot {
            bytes: got,
            near: right,
        },
    )
}

fn clue_of(expected: &[u8], got: &[u8], windows: &Windows) -> Option<Clue> {
    let (left, right) = spots(expected, got);
    clue(&left, &right, windows).map(|mark| mark.clue)
}

#[track_caller]
fn check(form: &str, expected: &[u8], got: &[u8]) {
    match clue_of(expected, got, &windows()) {
        Some(Clue::TimeOfBuild { form: found, .. }) => assert_eq!(found, form),
        other => panic!("{form}: {other:?}"),
    }
    // The first build's window may be unknown.
    let half = Windows {
        expected: None,
        ..windows()
    };
    let clue = clue_of(expected, got, &half);
    assert!(
        matches!(clue, Some(Clue::TimeOfBuild { .. })),
        "{form}: {clue:?}"
    );
    // Neither is a mark of builds at other times.
    let late = Windows {
        expected: Some(Window {
            start_s: 5,
            end_s: 9,
        }),
        got: Some(Window {
            start_s: 5,
            end_s: 9,
        }),
    };
    let clue = clue_of(expected, got, &late);
    assert!(
        !matches!(clue, Some(Clue::TimeOfBuild { .. })),
        "{form}: {clue:?}"
    );
}

#[test]
fn finds_dates_as_texts() {
    check(
        "ctime text",
        b"built Sat Nov 21 15:30:01 2026\n",
        b"built Sun Nov 22 16:42:37 2026\n",
    );
    check(
        "ctime text",
        b"#1 SMP Sat Nov 21 15:30:01 UTC 2026",
        b"#1 SMP Sun Nov 22 16:42:37 UTC 2026",
    );
    // Half an hour off, in a zone that only its name tells.
    check(
        "ctime text",
        b"Sat Nov 21 21:00:01 IST 2026",
        b"Sun Nov 22 22:12:37 IST 2026",
    );
    check(
        "RFC 2822 date",
        b"Date: Sat, 21 Nov 2026 15:30:01 +0000",
        b"Date: Sun, 22 Nov 2026 16:42:37 +0000",
    );
    check(
        "RFC 2822 date",
        b"Date: Sat, 21 Nov 2026 16:30:01 +0100",
        b"Date: Sun, 22 Nov 2026 17:42:37 +0100",
    );
    check(
        "ISO 8601 time",
        b"at 2026-11-21T15:30:01Z.",
        b"at 2026-11-22T16:42:37Z.",
    );
    check(
        "ISO 8601 time",
        b"2026-11-21 15:30:01.123456789 +0000",
        b"2026-11-22 16:42:37.5 +0000",
    );
    check(
        "date and time in digits",
        b"v20261121153001",
        b"v20261122164237",
    );
    check(
        "__DATE__ __TIME__",
        b"Nov 21 2026\x0015:30:01",
        b"Nov 22 2026\x0016:42:37",
    );
    check("__DATE__", b"on Nov 21 2026", b"on Nov 22 2026");
    check("time of day", b"at 15:30:01", b"at 16:42:37");
    check("hour and minute", b"at 15:30", b"at 16:42");
    check("date", b"v 2026-11-21", b"v 2026-11-22");
    check("date in digits", b"v 20261121 ", b"v 20261122 ");
}

#[test]
fn finds_seconds_as_digits() {
    let check = |form: &str, write: fn(i64) -> String| {
        check(form, write(FIRST_S).as_bytes(), write(SECOND_S).as_bytes());
    };
    check("seconds in decimal", |s| format!("t={s};"));
    check("seconds in decimal", |s| format!("{s}.123"));
    check("seconds in octal", |s| format!("{s:011o}\0"));
    check("seconds in hexadecimal", |s| format!("{s:08x}"));
    check("milliseconds in decimal", |s| format!("{s}123"));
    check("nanoseconds in decimal", |s| format!("{s}000000123"));
}

#[test]
fn finds_seconds_as_numbers() {
    let check = |form: &str, write: fn(i64) -> Vec<u8>| {
        let (mut first, mut second) = (write(FIRST_S), write(SECOND_S));
        first.splice(0..0, [7; 9]);
        second.splice(0..0, [7; 9]);
        first.extend([9; 9]);
        second.extend([9; 9]);
        check(form, &first, &second);
    };
    check("32-bit little endian", |s| {
        (s as u32).to_le_bytes().to_vec()
    });
    check("32-bit little endian", |s| s.to_le_bytes().to_vec());
    check("32-bit big endian", |s| s.to_be_bytes().to_vec());
    check("64-bit little endian nanoseconds", |s| {
        (s * 1_000_000_000 + 5).to_le_bytes().to_vec()
    });
}

#[test]
fn does_not_take_numbers_for_times() {
    let clue = |a: &[u8], b: &[u8]| clue_of(a, b, &windows());
    assert_eq!(clue(b"jobs 2", b"jobs 3"), None);
    // Seconds of the other build, or digits within longer ones.
    let (first, second) = (FIRST_S.to_string(), SECOND_S.to_string());
    assert_eq!(clue(second.as_bytes(), first.as_bytes()), None);
    let within = |second: &str| format!("77{second}77").into_bytes();
    assert_eq!(clue(&within(&first), &within(&second)), None);
    // A date that does not differ says nothing of what does.
    assert_eq!(
        clue(
            b"2026-11-21T15:30:01Z and then, much later in the same text: a",
            b"2026-11-21T15:30:01Z and then, much later in the same text: b"
        ),
        None
    );
    // Impossible ones.
    assert_eq!(clue(b"99:99:99", b"88:88:88"), None);
}

#[test]
fn dates_of_unknown_builds_are_only_times() {
    let unknown = Windows::default();
    let clue = clue_of(b"2026-11-21T15:30:01Z", b"2026-11-22T16:42:37Z", &unknown);
    assert!(matches!(clue, Some(Clue::Times { .. })), "{clue:?}");
}

#[test]
fn long_windows_do_not_hold_every_time_of_day() {
    let long = Window {
        start_s: FIRST_S,
        end_s: FIRST_S + 1800,
    };
    assert!(long.holds(When::SecondOfDay(15 * 3600 + 45 * 60)));
    assert!(!long.holds(When::SecondOfDay(3 * 3600 + 45 * 60)));
    assert!(long.holds(When::MinuteOfDay(15 * 60 + 30)));
    assert!(!long.holds(When::MinuteOfDay(15 * 60 + 29)));
}
