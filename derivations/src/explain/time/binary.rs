//! Seconds as numbers in binary.

use super::{Found, Spot, When};

/// Of a long difference, only the beginning is searched.
const SEARCHED_BYTES: usize = 256;

/// Every number that touches the difference and could be a time. There are
/// many, and hardly one of them is: only windows tell.
pub(super) fn find(spot: &Spot<'_>) -> Vec<Found> {
    let near = &spot.near;
    let end = near
        .end
        .min(near.start + SEARCHED_BYTES)
        .min(spot.bytes.len());
    let mut found = Vec::new();
    for at in near.start.saturating_sub(7)..end {
        for (form, length, read) in FORMS {
            let Some(bytes) = spot.bytes.get(at..at + length) else {
                continue;
            };
            if at + length <= near.start {
                continue;
            }
            if let Some(second) = read(bytes) {
                found.push(Found {
                    form,
                    range: at..at + length,
                    when: When::Second(second),
                    certain: false,
                });
            }
        }
    }
    found
}

type Read = fn(&[u8]) -> Option<i64>;

/// Numbers of 64 bits are read as 32 if their upper half is zero, so here they
/// are finer than seconds.
const FORMS: [(&str, usize, Read); 6] = [
    ("32-bit little endian", 4, |b| {
        Some(i64::from(u32::from_le_bytes(b.try_into().ok()?)))
    }),
    ("32-bit big endian", 4, |b| {
        Some(i64::from(u32::from_be_bytes(b.try_into().ok()?)))
    }),
    ("64-bit little endian nanoseconds", 8, |b| {
        nanoseconds(u64::from_le_bytes(b.try_into().ok()?))
    }),
    ("64-bit big endian nanoseconds", 8, |b| {
        nanoseconds(u64::from_be_bytes(b.try_into().ok()?))
    }),
    ("64-bit little endian microseconds", 8, |b| {
        microseconds(u64::from_le_bytes(b.try_into().ok()?))
    }),
    ("64-bit little endian milliseconds", 8, |b| {
        milliseconds(u64::from_le_bytes(b.try_into().ok()?))
    }),
];

fn nanoseconds(number: u64) -> Option<i64> {
    i64::try_from(number / 1_000_000_000).ok()
}

fn microseconds(number: u64) -> Option<i64> {
    i64::try_from(number / 1_000_000).ok()
}

fn milliseconds(number: u64) -> Option<i64> {
    i64::try_from(number / 1000).ok()
}
