//! Debian binary packages: an [`ar`](super::ar) archive of `debian-binary`,
//! `control.tar.*` and `data.tar.*`, in this order.
//!
//! Names are kept as the package has them, `bin/` beside `usr/bin/`: merging
//! the two is a matter of composing. Maintainer scripts are never run, nor kept.

use std::io::{self, Read};

use kiln_store::objects::Objects;

use super::ar::{Ar, Member};
use super::compression::Compression;
use super::source::Selection;
use super::tar::{self, Owners};
use super::{ArchiveError, Limits, Unpacked};

const MAX_CONTROL_BYTES: u64 = 1 << 20;
const MAX_CONTROL_TAR_BYTES: u64 = 64 << 20;

/// A decoded package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    /// Its control fields, in deb822 syntax.
    pub control: String,
    /// Its files.
    pub data: Unpacked,
}

/// Decodes a package.
pub fn unpack(
    package: impl Read,
    limits: &Limits,
    objects: &dyn Objects,
) -> Result<Deb, ArchiveError> {
    let mut ar = Ar::new(package).map_err(|e| not_deb(&e.to_string()))?;
    let first = ar.next_member().map_err(container)?;
    check_version(first, &mut ar)?;

    expect(&mut ar, "control.tar")?;
    let control = read_control(ar.content())?;

    expect(&mut ar, "data.tar")?;
    let everything = Selection::everything();
    let data = tar::unpack(ar.content(), &everything, Owners::Record, limits, objects)?;

    match next(&mut ar)? {
        None => Ok(Deb { control, data }),
        Some(_) => Err(ArchiveError::TrailingGarbage),
    }
}

fn check_version(first: Option<Member>, ar: &mut Ar<impl Read>) -> Result<(), ArchiveError> {
    if first.is_none_or(|member| member.name != "debian-binary") {
        return Err(not_deb("its first member is not `debian-binary`"));
    }
    let mut version = String::new();
    let mut content = ar.content().take(64);
    content.read_to_string(&mut version).map_err(container)?;
    if version.starts_with("2.") {
        Ok(())
    } else {
        Err(not_deb("its format is not version 2"))
    }
}

/// The next member that matters: names with `_` are others' extensions.
fn next(ar: &mut Ar<impl Read>) -> Result<Option<Member>, ArchiveError> {
    loop {
        match ar.next_member().map_err(container)? {
            Some(member) if member.name.starts_with('_') => {}
            other => return Ok(other),
        }
    }
}

/// Goes to the member called `stem` and a suffix that says how it is
/// compressed. The suffix is not trusted, but an unknown one is refused here,
/// where it has a name.
fn expect(ar: &mut Ar<impl Read>, stem: &str) -> Result<(), ArchiveError> {
    let Some(member) = next(ar)? else {
        return Err(not_deb(&format!("it has no `{stem}`")));
    };
    match member.name.strip_prefix(stem) {
        Some("" | ".gz" | ".bz2" | ".xz" | ".zst") => Ok(()),
        Some(suffix) => Err(not_deb(&format!("`{stem}` is compressed as `{suffix}`"))),
        None => Err(not_deb(&format!(
            "member `{}` stands where `{stem}` was expected",
            member.name
        ))),
    }
}

fn read_control(content: impl Read) -> Result<String, ArchiveError> {
    let (compression, plain) = Compression::open(content).map_err(container)?;
    let broken = |source| ArchiveError::Stream {
        compression,
        source,
    };
    let mut archive = ::tar::Archive::new(plain.take(MAX_CONTROL_TAR_BYTES));
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        if !matches!(&*entry.path_bytes(), b"./control" | b"control") {
            continue;
        }
        let mut control = String::new();
        let mut content = entry.take(MAX_CONTROL_BYTES);
        content.read_to_string(&mut control).map_err(broken)?;
        return Ok(control);
    }
    Err(not_deb("it has no control file"))
}

fn not_deb(reason: &str) -> ArchiveError {
    ArchiveError::NotDeb {
        reason: reason.to_owned(),
    }
}

fn container(source: io::Error) -> ArchiveError {
    not_deb(&source.to_string())
}
