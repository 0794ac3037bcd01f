//! Compressed streams, told apart by their first bytes.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

use super::xz::XzStreams;

const GZIP: &[u8] = &[0x1f, 0x8b];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0x00];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const LONGEST_MAGIC: u64 = 6;
const BUFFER_BYTES: usize = 256 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or in a way that kiln does not know.
    None,
    /// gzip, one member or several.
    Gzip,
    /// bzip2, one stream or several.
    Bzip2,
    /// xz, one stream or several.
    Xz,
    /// Zstandard, one frame or several.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not compressed",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

impl Compression {
    /// The compression that a stream with these first bytes has.
    pub fn of(magic: &[u8]) -> Self {
        let formats = [
            (GZIP, Self::Gzip),
            (BZIP2, Self::Bzip2),
            (XZ, Self::Xz),
            (ZSTD, Self::Zstd),
        ];
        let found = formats.iter().find(|(bytes, _)| magic.starts_with(bytes));
        found.map_or(Self::None, |(_, compression)| *compression)
    }

    /// Looks at the first bytes of `stream` and decompresses it accordingly.
    /// The whole stream is decoded: one that ends early, or goes on with bytes
    /// of another kind, is an error of the returned reader.
    pub fn open<'a>(mut stream: impl Read + 'a) -> io::Result<(Self, Box<dyn Read + 'a>)> {
        let mut magic = Vec::new();
        stream
            .by_ref()
            .take(LONGEST_MAGIC)
            .read_to_end(&mut magic)?;
        let compression = Self::of(&magic);
        let stream = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(magic).chain(stream));
        Ok((compression, compression.decoder(stream)?))
    }

    fn decoder<'a>(self, stream: BufReader<impl Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(stream),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
            Self::Xz => Box::new(XzStreams::new(stream)?),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(stream)?),
        })
    }
}
