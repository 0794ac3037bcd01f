//! Copies file content: shared blocks where the file system can, holes for
//! long runs of zeros, plain bytes otherwise.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::fs::ioctl_ficlone;

/// The unit in which runs of zeros become holes. Smaller ones would cost more
/// extents than they save blocks.
const HOLE_BYTES: usize = 64 << 10;
/// What is read at once of a large file.
const COPY_BYTES: u64 = 1 << 20;

/// Fills the empty file `to` with the content of `from`, from its beginning.
pub(crate) fn copy_content(from: &mut File, to: &mut File) -> io::Result<()> {
    // Most files are small, and nothing is gained by sharing their blocks.
    let mut bytes = Vec::with_capacity(HOLE_BYTES + 1);
    from.take(HOLE_BYTES as u64).read_to_end(&mut bytes)?;
    if bytes.len() < HOLE_BYTES {
        return to.write_all(&bytes);
    }
    if ioctl_ficlone(&*to, &*from).is_ok() {
        return Ok(());
    }
    let mut total_bytes = 0;
    while !bytes.is_empty() {
        write_sparse(to, &bytes)?;
        total_bytes += bytes.len() as u64;
        bytes.clear();
        from.take(COPY_BYTES).read_to_end(&mut bytes)?;
    }
    to.set_len(total_bytes)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("to write");
        file.rewind().expect("to rewind");
        file
    }

    fn check(content: &[u8]) -> File {
        let mut copy = file_of(b"");
        copy_content(&mut file_of(content), &mut copy).expect("to copy");
        copy.rewind().expect("to rewind");
        let mut copied = Vec::new();
        copy.read_to_end(&mut copied).expect("to read");
        assert!(copied == content, "{} bytes", content.len());
        copy
    }

    #[test]
    fn copies_are_equal_and_keep_holes() {
        for length in [0, 1, HOLE_BYTES - 1, HOLE_BYTES, HOLE_BYTES + 1, 3_000_001] {
            let content: Vec<u8> = (0..length).map(|n| (n % 253) as u8).collect();
            check(&content);
            check(&vec![0; length]);
        }
        let mut content = vec![0; 10 << 20];
        content[5_000_000] = 1;
        let copy = check(&content);
        let disk_bytes = copy.metadata().expect("metadata").blocks() * 512;
        assert!(disk_bytes < 2 << 20, "{disk_bytes} bytes on the disk");
    }
}
