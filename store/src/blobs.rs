//! Objects on disk: how files and directories get in and out of the store.
//!
//! A file's content lies in at most two inodes, one for each mode under which
//! it was wanted. Either serves for reading. Content is hashed before anything
//! is written where its size allows, so that what is here already costs no
//! write; finding it here refreshes its ctime, which keeps gc from it.

use std::fs::File;
use std::io::Read;

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{During, StoreError};
use crate::hash::{ContentId, Digest, TreeId};
use crate::layout::{self, Layout};
use crate::objects::{ObjectError, Objects};
use crate::session::Temporary;
use crate::store::Store;
use crate::sys;
use crate::tree::Directory;

/// Content up to this size is hashed in memory before anything is written.
pub(crate) const WHOLE_BYTES: usize = 1 << 20;

/// An encoded directory up to this size is within what a reader decodes. That
/// is limited by the memory it takes, of which one byte may cost twenty.
const SURELY_READABLE_BYTES: usize = crate::canonical::MAX_OBJECT_BYTES / 32;

/// The mode of plain and of executable content.
pub(crate) const fn mode(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

impl Objects for Store {
    fn directory(&self, id: &TreeId) -> Result<Directory, ObjectError> {
        read_directory(&self.layout, id)
    }

    fn open_file(&self, id: &ContentId) -> Result<Box<dyn Read + Send>, ObjectError> {
        Ok(Box::new(self.open_content(id)?))
    }

    fn put_directory(&self, directory: &Directory) -> Result<TreeId, ObjectError> {
        let encoded = directory.encode();
        if encoded.len() > SURELY_READABLE_BYTES {
            Directory::decode(&encoded)?;
        }
        let id = Directory::id_of(&encoded);
        self.put_object(&layout::tree(&id), &encoded, mode(false))?;
        Ok(id)
    }

    fn put_file(
        &self,
        content: &mut dyn Read,
        executable: bool,
    ) -> Result<(ContentId, u64), ObjectError> {
        let mut start = Vec::new();
        content
            .take(WHOLE_BYTES as u64)
            .read_to_end(&mut start)
            .during("read", "content")?;
        if start.len() < WHOLE_BYTES {
            let id = self.put_bytes(&start, executable)?;
            return Ok((id, start.len() as u64));
        }
        Ok(self.put_stream(&mut start.as_slice().chain(content), executable)?)
    }
}

impl Store {
    /// Opens a file's content, under whichever mode it is here.
    pub(crate) fn open_content(&self, id: &ContentId) -> Result<File, ObjectError> {
        open_content(&self.layout, id)
    }

    /// Stores content that is at hand as a whole.
    pub(crate) fn put_bytes(
        &self,
        bytes: &[u8],
        executable: bool,
    ) -> Result<ContentId, StoreError> {
        let id = ContentId(Digest::of(bytes));
        let _in_use = self.share()?;
        if !self.keep_content(&id, executable)? {
            let path = layout::blob(&id, executable);
            self.write_object(&path, bytes, mode(executable))?;
        }
        Ok(id)
    }

    /// Stores content that is at hand as a whole and was not here, if it is
    /// `id`. `false` if it is something else, and then nothing is stored.
    pub(crate) fn put_known(
        &self,
        id: &ContentId,
        bytes: &[u8],
        executable: bool,
    ) -> Result<bool, StoreError> {
        if ContentId(Digest::of(bytes)) != *id {
            return Ok(false);
        }
        let _in_use = self.share()?;
        let mut temporary = self.temporary()?;
        temporary.write(bytes)?;
        self.publish(temporary, id, executable)?;
        Ok(true)
    }

    /// Stores the content of a temporary file, if it is `id`.
    pub(crate) fn publish_known<'a>(
        &'a self,
        mut temporary: Temporary<'a>,
        id: &ContentId,
        executable: bool,
    ) -> Result<Published<'a>, StoreError> {
        let path = temporary.path().to_owned();
        let got = hash_from_start(temporary.file()).during("read", path)?;
        if got != id.0 {
            return Ok(Published::No { got, temporary });
        }
        let _in_use = self.share()?;
        self.publish(temporary, id, executable)?;
        Ok(Published::Yes)
    }

    /// Names content. What came here meanwhile stays, and is kept.
    fn publish(
        &self,
        temporary: Temporary<'_>,
        id: &ContentId,
        executable: bool,
    ) -> Result<(), StoreError> {
        let path = layout::blob(id, executable);
        match temporary.publish(&path, mode(executable), self.owner)? {
            true => Ok(()),
            false => self.keep(&path).map(drop),
        }
    }

    /// Stores content of any size in bounded memory.
    pub(crate) fn put_stream(
        &self,
        content: &mut dyn Read,
        executable: bool,
    ) -> Result<(ContentId, u64), StoreError> {
        let _in_use = self.share()?;
        let mut temporary = self.temporary()?;
        let (id, size_bytes) = fill(&mut temporary, content)?;
        if !self.keep_content(&id, executable)? {
            let path = layout::blob(&id, executable);
            temporary.publish(&path, mode(executable), self.owner)?;
        }
        Ok((id, size_bytes))
    }

    /// Makes sure that content which is here has the inode of this mode.
    pub(crate) fn ensure_mode(&self, id: &ContentId, executable: bool) -> Result<(), StoreError> {
        let path = layout::blob(id, executable);
        if self.keep(&path)? {
            return Ok(());
        }
        let mut from = self.open_content(id)?;
        let mut temporary = self.temporary()?;
        sys::copy_content(&mut from, temporary.file()).during("copy to", temporary.path())?;
        temporary
            .publish(&path, mode(executable), self.owner)
            .map(drop)
    }

    /// Whether content is here; if so it stays as long as this session lives.
    pub(crate) fn keep_content(
        &self,
        id: &ContentId,
        executable: bool,
    ) -> Result<bool, StoreError> {
        let present = self.keep(&layout::blob(id, executable))?;
        Ok(present || self.keep(&layout::blob(id, !executable))?)
    }

    /// The size in bytes of content that is here; if it is, it stays as long as
    /// this session lives.
    pub(crate) fn keep_sized(
        &self,
        id: &ContentId,
        executable: bool,
    ) -> Result<Option<u64>, StoreError> {
        for executable in [executable, !executable] {
            let path = layout::blob(id, executable);
            if self.keep(&path)? {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let stat = fs::statat(self.layout.fd(), &path, flags).during("stat", &path)?;
                return Ok(u64::try_from(stat.st_size).ok());
            }
        }
        Ok(None)
    }

    /// Returns when every object that was written before is on the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.session()?.sync()
    }

    /// Whether an object is here; if so its ctime is refreshed. The caller
    /// keeps gc out.
    fn keep(&self, path: &str) -> Result<bool, StoreError> {
        // The lease has to be older than the ctime for gc to see that.
        self.session()?;
        match sys::fix_time(self.layout.fd(), path.as_bytes()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).during("refresh", path),
        }
    }

    fn put_object(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
        let _in_use = self.share()?;
        if self.keep(path)? {
            return Ok(());
        }
        self.write_object(path, bytes, mode)
    }

    fn write_object(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
        let mut temporary = self.temporary()?;
        temporary.write(bytes)?;
        temporary.publish(path, mode, self.owner).map(drop)
    }

    /// A file that will become an object.
    pub(crate) fn temporary(&self) -> Result<Temporary<'_>, StoreError> {
        let session = self.session()?;
        session.announce_write()?;
        Temporary::create(session)
    }
}

/// What became of content that was to be stored if it was right.
pub(crate) enum Published<'a> {
    /// It is in the store.
    Yes,
    /// It is something else, and as it was before.
    No {
        /// What it is.
        got: Digest,
        /// The file that holds it.
        temporary: Temporary<'a>,
    },
}

/// Hashes all of a file.
fn hash_from_start(file: &mut File) -> std::io::Result<Digest> {
    std::io::Seek::rewind(file)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match read_some(file, &mut buffer)? {
            0 => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            count => hasher.update(&buffer[..count]),
        };
    }
}

/// Copies all of `content` to a temporary file and hashes it on the way.
fn fill(
    temporary: &mut Temporary<'_>,
    content: &mut dyn Read,
) -> Result<(ContentId, u64), StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; WHOLE_BYTES];
    let mut size_bytes = 0;
    loop {
        let count = read_some(content, &mut buffer).during("read", "content")?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        let written = sys::write_sparse(temporary.file(), &buffer[..count]);
        written.during("write", temporary.path())?;
        size_bytes += count as u64;
    }
    let sized = temporary.file().set_len(size_bytes);
    sized.during("truncate", temporary.path())?;
    let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
    Ok((ContentId(digest), size_bytes))
}

/// Fills `buffer` as far as the content reaches, so that runs of zeros are
/// seen whatever pieces a pipe hands out.
fn read_some(content: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Opens a file's content, under whichever mode it is here.
pub(crate) fn open_content(layout: &Layout, id: &ContentId) -> Result<File, ObjectError> {
    for executable in [false, true] {
        if let Some(file) = open_object(layout, &layout::blob(id, executable))? {
            return Ok(file);
        }
    }
    Err(ObjectError::Missing {
        kind: "file",
        digest: id.0,
    })
}

/// Reads a directory and checks that it is what its address says.
pub(crate) fn read_directory(layout: &Layout, id: &TreeId) -> Result<Directory, ObjectError> {
    let path = layout::tree(id);
    let Some(mut file) = open_object(layout, &path)? else {
        return Err(ObjectError::Missing {
            kind: "directory",
            digest: id.0,
        });
    };
    let mut encoded = Vec::new();
    file.read_to_end(&mut encoded).during("read", &path)?;
    if Directory::id_of(&encoded) != *id {
        return Err(ObjectError::Damaged {
            kind: "directory",
            digest: id.0,
        });
    }
    Ok(Directory::decode(&encoded)?)
}

fn open_object(layout: &Layout, path: &str) -> Result<Option<File>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match fs::openat(layout.fd(), path, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).during("open", path),
    }
}
