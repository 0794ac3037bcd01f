//! Source lists: what the archive vouches for of source archives.

use std::io::BufRead;

use super::packages::{PackagesError, each_paragraph};
use super::release::IndexFile;

/// A file of a source package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it lies below the archive's root.
    pub path: String,
    /// Its hash and size.
    pub file: IndexFile,
}

/// The files of all versions of the source package that has `path`, or that
/// lies in the same directory: if the wanted file has left the archive, the
/// others are what is there now.
pub fn beside(list: impl BufRead, path: &str) -> Result<Vec<SourceFile>, PackagesError> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut found = Vec::new();
    each_paragraph(list, |paragraph| {
        if paragraph.get_single("Directory").map(str::trim) != Some(directory) {
            return Ok(());
        }
        for line in paragraph.get("Checksums-Sha256").unwrap_or_default() {
            found.extend(file(line, directory));
        }
        Ok(())
    })?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    Ok(found)
}

/// A line such as `<sha256> <size> musl_1.2.5.orig.tar.gz`.
fn file(line: &str, directory: &str) -> Option<SourceFile> {
    let mut words = line.split_whitespace();
    let sha256 = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    Some(SourceFile {
        path: format!("{directory}/{}", words.next()?),
        file: IndexFile { sha256, size },
    })
}
