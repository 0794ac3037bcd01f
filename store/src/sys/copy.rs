//! Copies file content: shared blocks where the file system can, holes for
//! long runs of zeros, plain bytes otherwise.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::fs::ioctl_ficlone;

/// The unit in which runs of zeros become holes. Smaller ones would cost more
/// extents than they save blocks.
const HOLE_BYTES: usize = 64 << 10;

/// Fills the empty file `to` with the content of `from`.
pub(crate) fn copy_content(from: &mut File, to: &mut File) -> io::Result<()> {
    if ioctl_ficlone(&*to, &*from).is_ok() {
        return Ok(());
    }
    let size_bytes = from.metadata()?.len();
    if size_bytes <= HOLE_BYTES as u64 {
        let mut bytes = Vec::with_capacity(size_bytes as usize);
        from.read_to_end(&mut bytes)?;
        return to.write_all(&bytes);
    }
    let mut buffer = vec![0; 1 << 20];
    let mut total_bytes = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return to.set_len(total_bytes);
        }
        write_sparse(to, &buffer[..count])?;
        total_bytes += count as u64;
    }
}

/// Writes `bytes` at the file's offset but skips blocks of zeros. The caller
/// sets the length at the end, or a hole there would be lost.
pub(crate) fn write_sparse(to: &mut File, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let zeros = leading(rest, true);
        to.seek(SeekFrom::Current(zeros as i64))?;
        rest = &rest[zeros..];
        let data = leading(rest, false);
        to.write_all(&rest[..data])?;
        rest = &rest[data..];
    }
    Ok(())
}

/// How many bytes at the start are blocks that are all zeros (or are not).
fn leading(bytes: &[u8], zeros: bool) -> usize {
    let run = bytes.chunks(HOLE_BYTES);
    run.take_while(|block| is_hole(block) == zeros)
        .map(<[u8]>::len)
        .sum()
}

fn is_hole(block: &[u8]) -> bool {
    block.len() == HOLE_BYTES && block.iter().all(|&byte| byte == 0)
}
