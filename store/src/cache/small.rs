//! Small files of a cache, read and written as a whole.

use std::io::{Cursor, Read};

use super::backend::{Backend, BackendError, Kind};
use super::name::Name;

/// Reads a file that should have at most `limit_bytes`. `None` if there is no
/// such file; a larger one is an error, and not read to its end.
pub fn read(
    backend: &dyn Backend,
    name: &Name,
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, BackendError> {
    let Some(body) = backend.open(name, None)? else {
        return Ok(None);
    };
    let failed = |kind| BackendError {
        place: backend.place(),
        operation: "read",
        name: name.to_string(),
        kind,
    };
    let mut bytes = Vec::new();
    let read = body.content.take(limit_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(error.into()))?;
    if bytes.len() as u64 > limit_bytes {
        let why = format!("more than the {limit_bytes} bytes that such a file can have");
        return Err(failed(Kind::Protocol(why)));
    }
    Ok(Some(bytes))
}

/// Writes a file.
pub fn write(backend: &dyn Backend, name: &Name, bytes: &[u8]) -> Result<(), BackendError> {
    backend.put(name, &mut Cursor::new(bytes), bytes.len() as u64)
}
