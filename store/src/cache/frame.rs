//! Frames: chunks packed together by zstd.

use std::io;

/// How hard frames are packed; see `docs/decisions/0012-packs.md`.
const LEVEL: i32 = 3;

/// Packs frames. Each thread keeps one.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(LEVEL).map(Self)
    }

    pub(super) fn pack(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(raw)
    }
}

/// Unpacks frames. Each thread keeps one.
#[derive(Default)]
pub(super) struct Unpacker(Option<zstd::bulk::Decompressor<'static>>);

impl Unpacker {
    /// Unpacks a frame that has to fill `raw` exactly; not a byte more is
    /// written. An error says what came instead.
    pub(super) fn unpack(&mut self, packed: &[u8], raw: &mut [u8]) -> Result<(), String> {
        let unpacked = match &mut self.0 {
            Some(unpacker) => unpacker.decompress_to_buffer(packed, raw),
            none => zstd::bulk::Decompressor::new()
                .and_then(|unpacker| none.insert(unpacker).decompress_to_buffer(packed, raw)),
        };
        match unpacked {
            Ok(count) if count == raw.len() => Ok(()),
            Ok(count) => Err(format!("{count} bytes")),
            Err(error) => Err(error.to_string()),
        }
    }
}
