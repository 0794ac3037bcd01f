//! Reads the content of one file, which may be changing meanwhile.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use super::error::{ImportError, Reading};
use crate::blobs::WHOLE_BYTES;
use crate::hash::{ContentId, Digest};
use crate::store::Store;

/// Stores a file's content, of which `size_bytes` are expected, and says how
/// much was read.
pub(super) fn put(
    store: &Store,
    file: &mut File,
    size_bytes: u64,
    executable: bool,
    path: impl Fn() -> PathBuf,
) -> Result<(ContentId, u64), ImportError> {
    if size_bytes < WHOLE_BYTES as u64 {
        return with_content(file, size_bytes as usize, |bytes| {
            let bytes = bytes.reading_at("read", &path)?;
            Ok((store.put_bytes(bytes, executable)?, bytes.len() as u64))
        });
    }
    // Not further than its size was: a file that grows would never end.
    let known = hash(file.take(size_bytes)).reading_at("read", &path)?;
    if store.keep_content(&known.0, executable)? {
        return Ok(known);
    }
    file.rewind().reading_at("rewind", &path)?;
    Ok(store.put_stream(&mut file.take(size_bytes), executable)?)
}

thread_local! {
    /// Small files are read into this, so that none costs an allocation.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hands out a file's content, of which about `size_bytes` are expected; more
/// than [`WHOLE_BYTES`] are not read.
fn with_content<T>(
    file: &mut File,
    size_bytes: usize,
    use_it: impl FnOnce(io::Result<&[u8]>) -> T,
) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        // One more than expected, so that the end shows without another read.
        buffer.resize(size_bytes + 1, 0);
        match file.read(buffer) {
            Ok(count) if count == size_bytes => use_it(Ok(&buffer[..count])),
            // It is being changed, or the file system reads in pieces.
            Ok(count) => {
                buffer.truncate(count);
                let rest = file.take((WHOLE_BYTES - count) as u64).read_to_end(buffer);
                use_it(rest.map(|_| buffer.as_slice()))
            }
            Err(error) => use_it(Err(error)),
        }
    })
}

fn hash(mut content: impl Read) -> io::Result<(ContentId, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        };
    }
    let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
    Ok((ContentId(digest), hasher.count()))
}
