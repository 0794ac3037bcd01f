//! Why an archive was refused.

use std::io;

use kiln_store::objects::ObjectError;

use super::compression::Compression;

/// Why an archive could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The stream ended early, is damaged, or could not be read.
    #[error("the archive ({compression}) is damaged or cut short: {source}")]
    Stream {
        /// How it is compressed.
        compression: Compression,
        /// The decoder's word.
        source: io::Error,
    },
    /// The tar ends without the block of zeros that ends every tar.
    #[error("the archive is cut short: it has no end mark")]
    NoEnd,
    /// Something other than padding follows the end of the archive.
    #[error("something follows the end of the archive")]
    TrailingGarbage,
    /// A member that is never unpacked.
    #[error("member `{path}`: {refusal}")]
    Member {
        /// Its name as it stands in the archive.
        path: String,
        /// Why it is refused.
        refusal: Refusal,
    },
    /// The archive has no single top directory to strip.
    #[error(
        "member `{other}` is not below `{top}`, so the top directory cannot be stripped; say `strip = 0` to keep all names as they are"
    )]
    NoCommonTop {
        /// The top directory of the first member.
        top: String,
        /// The first member outside it.
        other: String,
    },
    /// A `keep` pattern that is no glob.
    #[error("`{pattern}` is not a pattern: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `keep` pattern that kept nothing is most likely misspelt.
    #[error("nothing in the archive matches `{pattern}`")]
    NothingKept {
        /// The pattern.
        pattern: String,
    },
    /// The archive unpacks to more than it may.
    #[error("the archive unpacks to more than {limit} {unit}")]
    TooLarge {
        /// The limit that was passed.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The container of a Debian package is wrong.
    #[error("this is not a Debian package: {reason}")]
    NotDeb {
        /// What is wrong.
        reason: String,
    },
    /// The store refused an object.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// Why one member is never unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `..` in its name.
    #[error("its name has `..` in it")]
    Parent,
    /// A component that no file system accepts.
    #[error("its name is not a file name")]
    BadName,
    /// A name that is only the root, for something other than a directory.
    #[error("it would replace the root of the tree")]
    Root,
    /// Deeper than a tree may be.
    #[error("it lies deeper than a tree may be")]
    TooDeep,
    /// Below a symlink of the same archive.
    #[error("its path goes through a symlink of the same archive")]
    ThroughSymlink,
    /// Below a file of the same archive.
    #[error("its path goes through a file of the same archive")]
    ThroughFile,
    /// In place of a directory that has entries.
    #[error("it would replace a directory that is not empty")]
    OverDirectory,
    /// A device, fifo or socket.
    #[error("it is a device, a fifo or a socket")]
    Device,
    /// A member type that kiln does not know.
    #[error("it is of a type that kiln does not know")]
    UnknownType,
    /// A sparse file in the format of PAX.
    #[error("it is a sparse file in PAX format, which kiln does not read")]
    PaxSparse,
    /// A hard link without a target.
    #[error("it is a link to nothing")]
    NoTarget,
    /// A symlink target that no file system accepts.
    #[error("its target is empty, too long, or holds a NUL")]
    BadTarget,
    /// A hard link to something that is not there.
    #[error("it is a hard link to something that is not before it in the archive, or was not kept")]
    DanglingLink,
    /// A hard link to a directory.
    #[error("it is a hard link to a directory")]
    LinkToDirectory,
    /// An extended header that cannot be read.
    #[error("its extended header is damaged")]
    BadPax,
    /// A number of its header that cannot be read.
    #[error("its header is damaged")]
    BadHeader,
}

impl Refusal {
    /// The error about the member called `path`.
    pub(super) fn of(self, path: &[u8]) -> ArchiveError {
        ArchiveError::Member {
            path: String::from_utf8_lossy(path).into_owned(),
            refusal: self,
        }
    }
}
