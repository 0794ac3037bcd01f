//! The walk over a directory that is captured.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use super::error::{Reading, source_error};
use super::{ImportError, Imported, Refused, Rules, content};
use crate::hash::{ContentId, TreeId};
use crate::objects::{ObjectError, Objects};
use crate::parallel::{Step, Walk, walk};
use crate::sources::SourceCache;
use crate::store::Store;
use crate::sys;
use crate::tree::{Directory, Entry, MAX_DEPTH, Name, Node};

/// Files that one task reads.
const FILES_PER_TASK: usize = 64;

/// One capture under way.
pub(super) struct Import<'a> {
    store: &'a Store,
    rules: &'a Rules<'a>,
    cache: Option<&'a SourceCache>,
    bytes: AtomicU64,
    entries: AtomicU64,
}

/// A directory that is being read.
pub(super) struct Place {
    fd: OwnedFd,
    /// Relative to the root.
    path: PathBuf,
    /// Directories on the way here, the root included.
    depth: usize,
}

/// What leads to a part of the tree.
pub(super) enum Job {
    Root(OwnedFd),
    Directory(Arc<Place>, Name),
    Files(Arc<Place>, Vec<Name>),
}

/// What a part of the tree came to.
pub(super) enum Found {
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

impl<'a> Import<'a> {
    pub(super) fn new(
        store: &'a Store,
        rules: &'a Rules<'a>,
        cache: Option<&'a SourceCache>,
    ) -> Self {
        Self {
            store,
            rules,
            cache,
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
        }
    }

    /// Captures the directory `root`.
    pub(super) fn run(self, root: OwnedFd) -> Result<Imported, ImportError> {
        let Found::Tree { tree, .. } = walk(&self, Job::Root(root))? else {
            unreachable!("the root of the walk is a directory");
        };
        Ok(Imported {
            tree,
            bytes: self.bytes.into_inner(),
            entries: self.entries.into_inner(),
        })
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
        let size = size_bytes(&stat);
        let (content, read_bytes) =
            content::put(self.store, &mut file, size, is_executable(&stat), path)?;
        self.count_bytes(read_bytes.saturating_sub(size))?;
        if let Some(cache) = self.cache {
            cache.note(&file, &stat, content);
        }
        Ok(file_node(content, read_bytes, &stat))
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
