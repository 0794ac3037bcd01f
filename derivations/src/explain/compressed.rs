//! Compressed streams: the header of a gzip, and what the stream holds.

use std::io::{self, Read};

use crate::archive::Compression;

use super::clue::Clue;
use super::difference::What;
use super::look::{Finding, Look, Pair, Place};
use super::members::{self, Field, Value};
use super::opaque;

/// What an xz decoder may hold; the largest preset needs 65 MiB.
const MAX_XZ_MEMORY_BYTES: u64 = 256 << 20;
/// The largest window of a zstd stream, as a power of two: 128 MiB.
const MAX_ZSTD_WINDOW: u32 = 27;

/// Compares two streams of one compression; `None` if they are none, are
/// damaged, or hold more than may be unpacked.
pub(super) fn compare(look: &mut Look<'_>, pair: Pair<'_>) -> Option<()> {
    let compression = Compression::of(pair.expected);
    if compression == Compression::None || compression != Compression::of(pair.got) {
        return None;
    }
    let expected = unpack(look, compression, pair.expected)?;
    let got = unpack(look, compression, pair.got)?;
    let before = look.reported();
    if compression == Compression::Gzip
        && let Some((expected, got)) = pair.both(gzip_fields)
    {
        look.within(Place::part("gzip header"), |look| {
            members::fields(look, &expected, &got);
        });
    }
    let content = Pair {
        expected: &expected,
        got: &got,
    };
    look.within(Place::part(format!("in the {compression}")), |look| {
        look.content(content);
    });
    if look.reported() == before {
        other_compressor(look, pair, compression);
    }
    Some(())
}

/// The content is the same, and the stream is not.
fn other_compressor(look: &mut Look<'_>, pair: Pair<'_>, compression: Compression) {
    let [expected, got] = super::order::differing(pair.expected, pair.got);
    let finding = Finding {
        differing_bytes: expected.len().max(got.len()) as u64,
        ..Finding::new(
            What::Content {
                offset_bytes: expected.start as u64,
            },
            opaque::excerpt(pair.expected, &expected),
            opaque::excerpt(pair.got, &got),
        )
    };
    look.within(Place::part(format!("{compression} stream")), |look| {
        look.report(finding.clue(Clue::Compressor));
    });
}

/// Decompresses all of it.
fn unpack(look: &mut Look<'_>, compression: Compression, bytes: &[u8]) -> Option<Vec<u8>> {
    let limit = look.bytes_left().min(look.limits.max_file_bytes);
    let mut content = Vec::new();
    let reader = decoder(compression, bytes).ok()?;
    let result = reader.take(limit + 1).read_to_end(&mut content);
    if content.len() as u64 > limit {
        look.cut("more is packed in it than kiln unpacks to compare");
        return None;
    }
    // What was unpacked counts even if the stream breaks off.
    let enough = look.take_bytes(content.len() as u64);
    (result.is_ok() && enough).then_some(content)
}

fn decoder<'a>(compression: Compression, bytes: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(bytes)),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY_BYTES, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(bytes, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Compression::None => Box::new(bytes),
    })
}

/// The fields of a gzip header (RFC 1952): id[2] method flags mtime[4] extra
/// os, then what the flags name.
fn gzip_fields(bytes: &[u8]) -> Option<Vec<Field>> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let header: &[u8; 10] = bytes.first_chunk()?;
    let [_, _, _, flags, m0, m1, m2, m3, extra_flags, system] = *header;
    let mut fields = vec![
        Field::new("flags", Value::Number(u64::from(flags))),
        Field::new(
            "mtime",
            Value::Time(i64::from(u32::from_le_bytes([m0, m1, m2, m3]))),
        ),
        Field::new("level", Value::Number(u64::from(extra_flags))),
        Field::new("operating system", Value::Number(u64::from(system))),
    ];
    let mut rest = &bytes[header.len()..];
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (extra, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        fields.push(Field::new("extra field", Value::Text(extra.to_vec())));
        rest = after;
    }
    for (flag, name) in [(NAME, "name"), (COMMENT, "comment")] {
        if flags & flag != 0 {
            let end = rest.iter().position(|&b| b == 0)?;
            fields.push(Field::new(name, Value::Text(rest[..end].to_vec())));
            rest = &rest[end + 1..];
        }
    }
    Some(fields)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::GzBuilder;

    use super::super::fixture::{EXPECTED_S, Found, GOT_S, contents, contents_with};
    use super::super::{Explanation, Limits};
    use super::*;

    pub fn gzip(content: &[u8], level: u32, change: impl Fn(GzBuilder) -> GzBuilder) -> Vec<u8> {
        let builder = change(GzBuilder::new());
        let mut encoder = builder.write(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(content).expect("memory");
        encoder.finish().expect("memory")
    }

    fn field(found: &Explanation) -> &str {
        assert_eq!(found.only().inside, ["gzip header"]);
        match &found.only().what {
            What::Field { name } => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_fields_of_gzip_headers() {
        let stamped = |second: i64| gzip(b"x", 6, |b| b.mtime(second as u32));
        let found = contents(&stamped(EXPECTED_S + 1), &stamped(GOT_S + 2));
        assert_eq!(field(&found), "mtime");
        assert!(matches!(found.only().clues[0], Clue::TimeOfBuild { .. }));

        let named = |name: &str| gzip(b"x", 6, |b| b.filename(name));
        let found = contents(&named("/tmp/ccA1b2C3.s"), &named("/tmp/ccQ8w7E6.s"));
        assert_eq!(field(&found), "name");
        assert!(matches!(found.only().clues[0], Clue::TemporaryName { .. }));

        let system = |number| gzip(b"x", 6, |b| b.operating_system(number));
        assert_eq!(
            field(&contents(&system(3), &system(255))),
            "operating system"
        );
    }

    #[test]
    fn looks_into_every_compression() {
        let (one, two) = (b"the first line\none\n", b"the first line\ntwo\n");
        let check = |name: &str, pack: &dyn Fn(&[u8]) -> Vec<u8>| {
            let found = contents(&pack(one), &pack(two));
            assert_eq!(
                found.only().inside,
                [format!("in the {name}"), "line 2".to_owned()]
            );
        };
        check("gzip", &|text| gzip(text, 6, |b| b));
        check("zstd", &|text| zstd::encode_all(text, 3).expect("memory"));
        check("xz", &|text| {
            let mut bytes = Vec::new();
            let mut encoder = liblzma::read::XzEncoder::new(text, 1);
            encoder.read_to_end(&mut bytes).expect("memory");
            bytes
        });
        check("bzip2", &|text| {
            let mut bytes = Vec::new();
            let mut encoder = bzip2::read::BzEncoder::new(text, bzip2::Compression::fast());
            encoder.read_to_end(&mut bytes).expect("memory");
            bytes
        });
    }

    #[test]
    fn sees_that_only_the_compressor_differs() {
        let text: Vec<u8> = (0..5000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let level = |level| zstd::encode_all(&text[..], level).expect("memory");
        let found = contents(&level(1), &level(19));
        assert_eq!(found.only().clues, [Clue::Compressor]);
        assert_eq!(found.only().inside, ["zstd stream"]);
    }

    #[test]
    fn does_not_unpack_bombs() {
        let bomb = |last: u8| {
            let mut content = vec![0; 4 << 20];
            content.push(last);
            gzip(&content, 9, |b| b)
        };
        let limits = Limits {
            max_unpacked_bytes: 1 << 20,
            ..Limits::default()
        };
        let found = contents_with(&bomb(1), &bomb(2), &limits);
        assert_eq!(found.cut.len(), 1, "{found:?}");
        assert!(found.differences.iter().all(|d| d.inside.is_empty()));
    }

    #[test]
    fn opens_only_so_many_within_each_other() {
        let deep =
            |content: &[u8]| (0..20).fold(content.to_vec(), |inner, _| gzip(&inner, 6, |b| b));
        let found = contents(&deep(b"one\n"), &deep(b"two\n"));
        assert_eq!(found.cut.len(), 1, "{found:?}");
        assert_eq!(
            found.differences[0].inside.len(),
            Limits::default().max_depth
        );
        let few = |content: &[u8]| (0..9).fold(content.to_vec(), |inner, _| gzip(&inner, 6, |b| b));
        let found = contents(&few(b"one\n"), &few(b"two\n"));
        assert_eq!(
            found.only().inside.last().map(String::as_str),
            Some("line 1")
        );
    }

    #[test]
    fn shows_what_is_damaged_as_bytes() {
        let whole = gzip(b"some text to compress", 6, |b| b.filename("name"));
        for length in 0..whole.len() {
            contents(&whole, &whole[..length]);
        }
    }
}
