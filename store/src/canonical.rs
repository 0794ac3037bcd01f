//! The one binary encoding of everything that is hashed or signed.
//!
//! bincode 2.0.1 in its standard configuration (little endian, variable-length
//! integers). That crate version is final, which is what a hash format wants.
//! It is not canonical by itself: it accepts integers in more bytes than they
//! need and ignores trailing bytes. So the decoder here encodes what it read
//! once more and requires the same bytes.
//!
//! Grammar: `docs/formats.md`.

use bincode::{Decode, Encode, config};

/// The largest object that is decoded, in bytes. A directory of a million
/// entries with names of twenty bytes is half of it.
pub const MAX_OBJECT_BYTES: usize = 128 << 20;

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The bytes do not decode to the expected type.
    #[error("malformed object: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
    /// The bytes decode, but not to what the encoder would have written.
    #[error("object is not in canonical form ({consumed} of {len} bytes used)")]
    NotCanonical {
        /// How many bytes the decoder used.
        consumed: usize,
        /// How many there were.
        len: usize,
    },
    /// Larger than [`MAX_OBJECT_BYTES`].
    #[error("object of {len} bytes is larger than the {MAX_OBJECT_BYTES} that kiln reads")]
    TooLarge {
        /// The size in bytes.
        len: usize,
    },
}

/// Encodes `value` canonically.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    match bincode::encode_to_vec(value, config::standard()) {
        Ok(bytes) => bytes,
        // Encoding into memory has no error left: no type of ours holds a
        // RefCell, a Mutex or a path, the only values bincode refuses.
        Err(error) => unreachable!("bincode refused to encode: {error}"),
    }
}

/// Decodes `bytes` and refuses anything that [`encode`] would have written
/// differently.
pub fn decode<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<T, CanonicalError> {
    if bytes.len() > MAX_OBJECT_BYTES {
        return Err(CanonicalError::TooLarge { len: bytes.len() });
    }
    let limited = config::standard().with_limit::<MAX_OBJECT_BYTES>();
    let (value, consumed) = bincode::decode_from_slice::<T, _>(bytes, limited)?;
    if consumed != bytes.len() || encode(&value) != bytes {
        return Err(CanonicalError::NotCanonical {
            consumed,
            len: bytes.len(),
        });
    }
    Ok(value)
}
