//! Lists of one kind of thing in one small file: a version, then the list,
//! compressed. What is in it, and what it is called, is others' business.

use bincode::{Decode, Encode};

use super::backend::{Backend, BackendError, Kind};
use super::name::Name;
use super::small;
use crate::canonical;

/// The version of every such format.
pub(super) const VERSION: u32 = 1;
/// The largest file that is read, in bytes as sent.
const MAX_SENT_BYTES: u64 = 16 << 20;
/// The same unpacked.
pub(super) const MAX_BYTES: usize = 64 << 20;

#[derive(Encode, Decode)]
pub(super) struct List<T> {
    pub(super) version: u32,
    pub(super) items: Vec<T>,
}

/// Encodes a list, compressed at this level of zstd's.
pub(super) fn encode<T: Encode>(items: Vec<T>, level: i32) -> Vec<u8> {
    let list = List {
        version: VERSION,
        items,
    };
    match zstd::bulk::compress(&canonical::encode(&list), level) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("zstd in memory with a valid level: {error}"),
    }
}

/// Decodes a list. Nothing in it is checked or believed.
pub(super) fn decode<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<Vec<T>, String> {
    let encoded = zstd::bulk::decompress(bytes, MAX_BYTES).map_err(|error| error.to_string())?;
    let list: List<T> = canonical::decode(&encoded).map_err(|error| error.to_string())?;
    match list.version {
        VERSION => Ok(list.items),
        other => Err(format!("version {other}, this kiln reads {VERSION}")),
    }
}

/// Reads a list; empty if there is no such file.
pub(super) fn read<T: Encode + Decode<()>>(
    backend: &dyn Backend,
    name: &Name,
) -> Result<Vec<T>, BackendError> {
    let Some(bytes) = small::read(backend, name, MAX_SENT_BYTES)? else {
        return Ok(Vec::new());
    };
    decode(&bytes).map_err(|why| BackendError {
        place: backend.place(),
        operation: "read",
        name: name.to_string(),
        kind: Kind::Protocol(why),
    })
}
