//! Captures a directory as a tree.
//!
//! The directory may be what a hostile builder left, or be changing while it
//! is read. So everything goes through directory descriptors: no symlink is
//! followed, no path is walked twice, and what a thing is is asked of the open
//! file, not of its name. Content is always copied: a file that were taken
//! over could still be open for writing elsewhere.
//!
//! This module knows nothing of builders; what is allowed, its caller says in
//! [`Rules`].

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::blobs::WHOLE_BYTES;
use crate::error::StoreError;
use crate::hash::{ContentId, Digest, TreeId};
use crate::objects::{ObjectError, Objects};
use crate::parallel::{Step, Walk, walk};
use crate::sources::SourceCache;
use crate::store::Store;
use crate::sys;
use crate::tree::{Directory, Entry, MAX_DEPTH, Name, Node};

/// Files that one task reads.
const FILES_PER_TASK: usize = 64;

/// How much a tree may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of content, all files together.
    pub bytes: u64,
    /// Entries of all directories together.
    pub entries: u64,
    /// Directories on the way to the deepest, the root included. Never more
    /// than [`MAX_DEPTH`].
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: u64::MAX,
            entries: u64::MAX,
            depth: MAX_DEPTH,
        }
    }
}

/// Says of a path relative to the root, and whether it is a directory, whether
/// it is left out.
pub type Ignore<'a> = dyn Fn(&Path, bool) -> bool + Sync + 'a;

/// What is taken, and what is refused.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// How much there may be.
    pub limits: Limits,
    /// What is left out.
    pub ignore: Option<&'a Ignore<'a>>,
    /// Whether setuid and setgid bits are an error, or dropped as other mode
    /// bits are.
    pub refuse_special_bits: bool,
    /// Whether files and directories that deny reading to their owner are read
    /// all the same. Directories are left with mode 0700.
    pub force_readable: bool,
}

impl Rules<'_> {
    /// For what a builder left: its own files, and nothing doubtful.
    pub fn output(limits: Limits) -> Self {
        Self {
            limits,
            ignore: None,
            refuse_special_bits: true,
            force_readable: true,
        }
    }

    /// For a directory of the user's: nothing there is changed, and where it
    /// lies may give its directories bits that say nothing about them.
    pub fn source() -> Self {
        Self {
            limits: Limits::default(),
            ignore: None,
            refuse_special_bits: false,
            force_readable: false,
        }
    }
}

/// What was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The root's address.
    pub tree: TreeId,
    /// Bytes of content, all files together.
    pub bytes: u64,
    /// Entries of all directories together.
    pub entries: u64,
}

/// What no tree can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A file with the setuid or setgid bit, or a directory with either.
    SpecialBits,
    /// A block or character device.
    Device,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SpecialBits => "has the setuid or setgid bit",
            Self::Device => "is a device",
            Self::Fifo => "is a fifo",
            Self::Socket => "is a socket",
        })
    }
}

/// Why a directory was not captured.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is something that no tree can hold.
    #[error("`{}` {what}, which no output may hold", .path.display())]
    Refused {
        /// Where, relative to the root.
        path: PathBuf,
        /// What it is.
        what: Refused,
    },
    /// More bytes than [`Limits::bytes`].
    #[error("there are more than {limit} bytes of content")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// More entries than [`Limits::entries`].
    #[error("there are more than {limit} files and directories")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// Deeper than [`Limits::depth`].
    #[error("directories are nested more than {limit} deep below `{}`", shorten(.path))]
    TooDeep {
        /// The directory that is too deep, relative to the root.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The source cannot be read.
    #[error("{operation} `{}`: {source}", shorten(.path))]
    Source {
        /// What was being done, as a verb.
        operation: &'static str,
        /// Where, relative to the root.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ObjectError> for ImportError {
    fn from(error: ObjectError) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Captures the directory that is open as `directory`.
    pub fn import(
        &self,
        directory: BorrowedFd<'_>,
        rules: &Rules<'_>,
    ) -> Result<Imported, ImportError> {
        self.import_with(directory, rules, None)
    }

    pub(crate) fn import_with(
        &self,
        directory: BorrowedFd<'_>,
        rules: &Rules<'_>,
        cache: Option<&SourceCache>,
    ) -> Result<Imported, ImportError> {
        let _in_use = self.share()?;
        let import = Import {
            store: self,
            rules,
            cache,
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
        };
        // Opened anew: the caller's descriptor may have been read from, and a
        // directory is listed from where its descriptor stands.
        let root = sys::open_dir(directory, b".").reading("open", ".")?;
        let Found::Tree { tree, .. } = walk(&import, Job::Root(root))? else {
            unreachable!("the root of the walk is a directory");
        };
        Ok(Imported {
            tree,
            bytes: import.bytes.into_inner(),
            entries: import.entries.into_inner(),
        })
    }
}

struct Import<'a> {
    store: &'a Store,
    rules: &'a Rules<'a>,
    cache: Option<&'a SourceCache>,
    bytes: AtomicU64,
    entries: AtomicU64,
}

/// A directory that is being read.
struct Place {
    fd: OwnedFd,
    /// Relative to the root.
    path: PathBuf,
    /// Directories on the way here, the root included.
    depth: usize,
}

enum Job {
    Root(OwnedFd),
    Directory(Arc<Place>, Name),
    Files(Arc<Place>, Vec<Name>),
}

enum Found {
    Files(Vec<Entry>),
    Tree { name: Option<Name>, tree: TreeId },
}

/// What a directory holds, by kind.
#[derive(Default)]
struct Listing {
    links: Vec<Entry>,
    files: Vec<Name>,
    directories: Vec<Name>,
}

impl Walk for Import<'_> {
    type Job = Job;
    type State = (Option<Name>, Vec<Entry>);
    type Out = Found;
    type Error = ImportError;

    fn enter(&self, job: Job) -> Result<Step<Self>, ImportError> {
        match job {
            Job::Root(fd) => {
                let place = Place {
                    fd,
                    path: PathBuf::new(),
                    depth: 1,
                };
                self.directory(place, None)
            }
            Job::Directory(parent, name) => {
                let place = self.descend(&parent, &name)?;
                self.directory(place, Some(name))
            }
            Job::Files(place, names) => {
                let files = names.into_iter().map(|name| self.file(&place, name));
                Ok(Step::Done(Found::Files(files.collect::<Result<_, _>>()?)))
            }
        }
    }

    fn leave(
        &self,
        (name, mut entries): Self::State,
        children: Vec<Found>,
    ) -> Result<Found, ImportError> {
        for child in children {
            match child {
                Found::Files(files) => entries.extend(files),
                Found::Tree { name, tree } => entries.extend(name.map(|name| Entry {
                    name,
                    node: Node::Directory { tree },
                })),
            }
        }
        let directory = Directory::new(entries).map_err(ObjectError::Tree)?;
        let tree = self.store.put_directory(&directory)?;
        Ok(Found::Tree { name, tree })
    }
}

impl Import<'_> {
    fn descend(&self, parent: &Place, name: &Name) -> Result<Place, ImportError> {
        let path = parent.join(name);
        let limit = self.rules.limits.depth.min(MAX_DEPTH);
        if parent.depth >= limit {
            return Err(ImportError::TooDeep { path, limit });
        }
        let fd = parent.fd.as_fd();
        let opened = if self.rules.force_readable {
            sys::open_dir_forced(fd, name.as_bytes())
        } else {
            sys::open_dir(fd, name.as_bytes())
        };
        Ok(Place {
            fd: opened.reading("open", &path)?,
            path,
            depth: parent.depth + 1,
        })
    }

    fn directory(&self, place: Place, name: Option<Name>) -> Result<Step<Self>, ImportError> {
        if self.rules.refuse_special_bits {
            let stat = fs::fstat(&place.fd).reading("stat", &place.path)?;
            refuse_special_bits(&stat, || place.path.clone())?;
        }
        let listing = self.list(&place)?;
        let place = Arc::new(place);
        let directories = listing.directories.into_iter();
        let mut jobs: Vec<_> = directories
            .map(|name| Job::Directory(Arc::clone(&place), name))
            .collect();
        jobs.extend(
            listing
                .files
                .chunks(FILES_PER_TASK)
                .map(|names| Job::Files(Arc::clone(&place), names.to_vec())),
        );
        Ok(Step::Children((name, listing.links), jobs))
    }

    fn list(&self, place: &Place) -> Result<Listing, ImportError> {
        let mut listing = Listing::default();
        sys::for_each_entry(place.fd.as_fd(), |name, kind| -> Result<(), Stopped> {
            let Ok(name) = Name::new(name) else {
                return Err(Stopped::Read(Errno::INVAL));
            };
            Ok(self.sort_in(&mut listing, place, name, kind)?)
        })
        .map_err(|stopped| match stopped {
            Stopped::Read(errno) => source_error("list", &place.path, errno),
            Stopped::Why(error) => error,
        })?;
        Ok(listing)
    }

    /// Puts an entry where it belongs, or refuses it by name.
    fn sort_in(
        &self,
        listing: &mut Listing,
        place: &Place,
        name: Name,
        kind: FileType,
    ) -> Result<(), ImportError> {
        let kind = match kind {
            FileType::Unknown => self.ask_kind(place, &name)?,
            known => known,
        };
        if self.is_ignored(place, &name, kind == FileType::Directory) {
            return Ok(());
        }
        self.count(&self.entries, 1, self.rules.limits.entries, |limit| {
            ImportError::TooMany { limit }
        })?;
        match kind {
            FileType::RegularFile => listing.files.push(name),
            FileType::Directory => listing.directories.push(name),
            FileType::Symlink => listing.links.push(read_link(place, name)?),
            other => return Err(refuse(place.join(&name), other)),
        }
        Ok(())
    }

    fn ask_kind(&self, place: &Place, name: &Name) -> Result<FileType, ImportError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = fs::statat(&place.fd, name.as_bytes(), flags);
        let stat = stat.reading("stat", place.join(name))?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    fn is_ignored(&self, place: &Place, name: &Name, directory: bool) -> bool {
        self.rules
            .ignore
            .is_some_and(|ignore| ignore(&place.join(name), directory))
    }

    fn file(&self, place: &Place, name: Name) -> Result<Entry, ImportError> {
        let node = match self.cached(place, &name)? {
            Some(node) => node,
            None => self.read_file(place, &name)?,
        };
        Ok(Entry { name, node })
    }

    /// The node of a file that has not changed since it was read last, and
    /// whose content is here.
    fn cached(&self, place: &Place, name: &Name) -> Result<Option<Node>, ImportError> {
        let Some(cache) = self.cache else {
            return Ok(None);
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = fs::statat(&place.fd, name.as_bytes(), flags);
        let stat = stat.reading("stat", place.join(name))?;
        let Some(content) = cache.get(&stat) else {
            return Ok(None);
        };
        let node = file_node(content, size_bytes(&stat), &stat);
        let present = self.store.keep_content(&content, is_executable(&stat))?;
        if present {
            cache.confirm(&stat, content);
            self.count_bytes(size_bytes(&stat))?;
        }
        Ok(present.then_some(node))
    }

    fn read_file(&self, place: &Place, name: &Name) -> Result<Node, ImportError> {
        let path = || place.join(name);
        let fd = place.fd.as_fd();
        let opened = match sys::open_file(fd, name.as_bytes()) {
            Err(Errno::ACCESS) if self.rules.force_readable => {
                sys::open_file_forced(fd, name.as_bytes())
            }
            other => other,
        };
        let mut file = File::from(opened.reading_at("open", path)?);
        let stat = fs::fstat(&file).reading_at("stat", path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Err(refuse(path(), kind));
        }
        if self.rules.refuse_special_bits {
            refuse_special_bits(&stat, path)?;
        }
        // Before reading, so that a file of terabytes is refused at once.
        self.count_bytes(size_bytes(&stat))?;
        let (content, read_bytes) = self.put(&mut file, &stat, path)?;
        self.count_bytes(read_bytes.saturating_sub(size_bytes(&stat)))?;
        if let Some(cache) = self.cache {
            cache.note(&file, &stat, content);
        }
        Ok(file_node(content, read_bytes, &stat))
    }

    /// Stores a file's content, which may be changing, and says how much was
    /// read.
    fn put(
        &self,
        file: &mut File,
        stat: &Stat,
        path: impl Fn() -> PathBuf,
    ) -> Result<(ContentId, u64), ImportError> {
        let executable = is_executable(stat);
        if size_bytes(stat) < WHOLE_BYTES as u64 {
            return with_content(file, size_bytes(stat) as usize, |bytes| {
                let bytes = bytes.reading_at("read", &path)?;
                let content = self.store.put_bytes(bytes, executable)?;
                Ok((content, bytes.len() as u64))
            });
        }
        // Not further than its size was: a file that grows would never end.
        let known = hash(file.take(size_bytes(stat))).reading_at("read", &path)?;
        if self.store.keep_content(&known.0, executable)? {
            return Ok(known);
        }
        file.rewind().reading_at("rewind", &path)?;
        let mut content = file.take(size_bytes(stat));
        Ok(self.store.put_stream(&mut content, executable)?)
    }

    fn count_bytes(&self, more: u64) -> Result<(), ImportError> {
        self.count(&self.bytes, more, self.rules.limits.bytes, |limit| {
            ImportError::TooLarge { limit }
        })
    }

    fn count(
        &self,
        counter: &AtomicU64,
        more: u64,
        limit: u64,
        error: impl Fn(u64) -> ImportError,
    ) -> Result<(), ImportError> {
        let before = counter.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > limit {
            return Err(error(limit));
        }
        Ok(())
    }
}

impl Place {
    fn join(&self, name: &Name) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name.as_bytes()))
    }
}

/// Why a listing ended early.
enum Stopped {
    Read(Errno),
    Why(ImportError),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Read(errno)
    }
}

impl From<ImportError> for Stopped {
    fn from(error: ImportError) -> Self {
        Self::Why(error)
    }
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

fn read_link(place: &Place, name: Name) -> Result<Entry, ImportError> {
    let target = fs::readlinkat(&place.fd, name.as_bytes(), Vec::new());
    let target = target.reading("read link", place.join(&name))?;
    Ok(Entry {
        name,
        node: Node::Symlink {
            target: target.into_bytes(),
        },
    })
}

fn file_node(content: ContentId, size: u64, stat: &Stat) -> Node {
    Node::File {
        content,
        size,
        executable: is_executable(stat),
    }
}

/// The owner's bit decides, as everywhere else that keeps one bit of a mode.
fn is_executable(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR)
}

fn size_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn refuse_special_bits(stat: &Stat, path: impl Fn() -> PathBuf) -> Result<(), ImportError> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::SUID | Mode::SGID) {
        return Err(ImportError::Refused {
            path: path(),
            what: Refused::SpecialBits,
        });
    }
    Ok(())
}

fn refuse(path: PathBuf, kind: FileType) -> ImportError {
    let what = match kind {
        FileType::Fifo => Refused::Fifo,
        FileType::Socket => Refused::Socket,
        FileType::BlockDevice | FileType::CharacterDevice => Refused::Device,
        // It was a file when its directory was listed.
        _ => return source_error("read", &path, Errno::STALE),
    };
    ImportError::Refused { path, what }
}

fn source_error(operation: &'static str, path: &Path, error: impl Into<io::Error>) -> ImportError {
    ImportError::Source {
        operation,
        path: path.to_owned(),
        source: error.into(),
    }
}

/// Adds operation and path to an error of reading the source.
trait Reading<T>: Sized {
    fn reading(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, ImportError>;
    fn reading_at(
        self,
        operation: &'static str,
        path: impl Fn() -> PathBuf,
    ) -> Result<T, ImportError>;
}

impl<T, E: Into<io::Error>> Reading<T> for Result<T, E> {
    fn reading(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, ImportError> {
        self.map_err(|error| source_error(operation, path.as_ref(), error))
    }

    fn reading_at(
        self,
        operation: &'static str,
        path: impl Fn() -> PathBuf,
    ) -> Result<T, ImportError> {
        self.map_err(|error| source_error(operation, &path(), error))
    }
}

/// Names a path that may be far too long to show.
fn shorten(path: &Path) -> String {
    let shown = path.to_string_lossy();
    match shown.char_indices().nth(200) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown.into_owned(),
    }
}

/// Opens a directory outside of the store by its path.
pub(crate) fn open_source(path: &Path) -> Result<OwnedFd, ImportError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).reading("open", path)
}
