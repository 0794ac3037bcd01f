//! xz on several threads: the large source archives are xz, made of blocks that
//! can be decoded beside each other.

use std::io::{self, BufRead, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

/// Blocks are decoded beside each other while they fit in this.
const THREADING_BYTES: u64 = 512 << 20;
/// The largest dictionary is far below; a header may claim 4 GiB.
const MAX_MEMORY_BYTES: u64 = 2 << 30;
const MAX_THREADS: usize = 4;

/// Decodes xz streams that follow each other, to the end of `input`.
pub(super) struct XzStreams<R> {
    state: State<R>,
}

enum State<R> {
    Within(XzDecoder<R>),
    /// After the end, or after an error.
    Done,
}

impl<R: BufRead> XzStreams<R> {
    pub(super) fn new(input: R) -> io::Result<Self> {
        Ok(Self {
            state: State::Within(decoder(input)?),
        })
    }
}

fn decoder<R: BufRead>(input: R) -> io::Result<XzDecoder<R>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let stream = MtStreamBuilder::new()
        .threads(threads.min(MAX_THREADS) as u32)
        .memlimit_threading(THREADING_BYTES)
        .memlimit_stop(MAX_MEMORY_BYTES)
        .decoder()?;
    Ok(XzDecoder::new_stream(input, stream))
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let State::Within(stream) = &mut self.state else {
                return Ok(0);
            };
            match stream.read(into) {
                Ok(0) => {}
                other => return other,
            }
            let State::Within(stream) = std::mem::replace(&mut self.state, State::Done) else {
                return Ok(0);
            };
            let mut input = stream.into_inner();
            skip_padding(&mut input)?;
            if input.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.state = State::Within(decoder(input)?);
        }
    }
}

/// Between and after streams there may be zeros, a multiple of four.
fn skip_padding(input: &mut impl BufRead) -> io::Result<()> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        let zeros = buffer.iter().take_while(|&&b| b == 0).count();
        let is_all = zeros == buffer.len() && zeros > 0;
        input.consume(zeros);
        skipped += zeros;
        if is_all {
            continue;
        }
        return match skipped % 4 {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
    }
}
