//! The `ar` container, as far as Debian packages use it.
//!
//! ```text
//! archive = "!<arch>\n" member*
//! member  = name[16] mtime[12] uid[6] gid[6] mode[8] size[10] "`\n"
//!           content[size] pad          ; to an even offset
//! ```
//!
//! Numbers are decimal ASCII, padded with blanks. Names longer than 16 bytes
//! and symbol tables do not occur in packages and are not understood.

use std::io::{self, Read};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;
const HEADER_END: &[u8] = b"`\n";

/// The header of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, without padding.
    pub name: String,
    /// The length of its content in bytes.
    pub size: u64,
}

/// Reads an `ar` archive from front to back.
pub struct Ar<R> {
    stream: R,
    left: u64,
    padded: bool,
}

impl<R: Read> Ar<R> {
    /// Reads the magic.
    pub fn new(mut stream: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        stream.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(invalid("it does not begin with the magic of `ar`"));
        }
        Ok(Self {
            stream,
            left: 0,
            padded: false,
        })
    }

    /// Skips what is left of the current member and reads the next header.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        self.skip()?;
        let mut header = Vec::new();
        self.stream
            .by_ref()
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(None);
        }
        let member = parse(&header)?;
        self.left = member.size;
        self.padded = member.size % 2 == 1;
        Ok(Some(member))
    }

    /// The content of the current member.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    fn skip(&mut self) -> io::Result<()> {
        let length = self.left + u64::from(self.padded);
        let mut rest = self.stream.by_ref().take(length);
        let skipped = io::copy(&mut rest, &mut io::sink())?;
        // The last member's padding is missing in some old packages.
        if skipped < self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.left, self.padded) = (0, false);
        Ok(())
    }
}

/// The content of one member of an [`Ar`].
pub struct Content<'a, R>(&'a mut Ar<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Ar { stream, left, .. } = &mut *self.0;
        let length = stream.by_ref().take(*left).read(into)?;
        if length == 0 && *left > 0 && !into.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= length as u64;
        Ok(length)
    }
}

fn parse(header: &[u8]) -> io::Result<Member> {
    if header.len() < HEADER_BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if &header[58..] != HEADER_END {
        return Err(invalid("a member's header is damaged"));
    }
    let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).ok();
    let name = text(0..16).map(|name| name.trim_end());
    let size = text(48..58).and_then(|size| size.trim_end().parse().ok());
    match (name, size) {
        (Some(name), Some(size)) => Ok(Member {
            // GNU ar ends names with `/`, dpkg does not.
            name: name.strip_suffix('/').unwrap_or(name).to_owned(),
            size,
        }),
        _ => Err(invalid("a member's header is damaged")),
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
