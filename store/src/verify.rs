//! Rehashes what is stored. Whether a build would give the same again is not
//! asked here.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use crate::blobs::{mode, read_directory};
use crate::error::{During, StoreError};
use crate::gc::mark_readable;
use crate::hash::{ContentId, Digest, RealisationId, TreeId};
use crate::inventory::{self, Object};
use crate::layout::{self, Layout, REALISATIONS};
use crate::objects::ObjectError;
use crate::register::read_realisation;
use crate::store::Store;
use crate::tree::{Directory, MTIME_S, Node};
use crate::{heal, lock, sys};

/// What is wrong with something stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its bytes are not what its address says.
    Content,
    /// It cannot be read.
    Unreadable(String),
    /// It is not in a form that kiln writes.
    Malformed(String),
    /// Something that it names is not here.
    Lacks(Digest),
    /// A file in it has another size than it says.
    Size(Digest),
    /// Its mode or time is not what a builder may rely on.
    Metadata,
    /// It is not here.
    Missing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => f.write_str("its bytes are not what its address says"),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::Malformed(error) => write!(f, "it is malformed: {error}"),
            Self::Lacks(digest) => write!(f, "it names {digest}, which is not here"),
            Self::Size(digest) => write!(f, "it gives {digest} a wrong size"),
            Self::Metadata => f.write_str("its mode or time was changed"),
            Self::Missing => f.write_str("it is not here"),
        }
    }
}

/// Something stored that is damaged.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// `file`, `directory` or `realisation`.
    pub kind: &'static str,
    /// Its address.
    pub digest: Digest,
    /// Where it lies.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
    subject: Subject,
}

/// What can be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Object(Object),
    Realisation(RealisationId),
}

/// What was checked, and what was found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Inodes of files.
    pub files: u64,
    /// Directory objects.
    pub directories: u64,
    /// Realisations.
    pub realisations: u64,
    /// Everything that is damaged, sorted by path.
    pub damage: Vec<Damage>,
}

impl Store {
    /// Rehashes everything stored.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        let _in_use = self.share()?;
        let trees = inventory::trees(&self.layout)?;
        let blobs = inventory::blobs(&self.layout)?;
        let names = sys::names(self.layout.fd(), REALISATIONS).during("list", REALISATIONS)?;
        let ids: Vec<RealisationId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let objects: Vec<_> = trees.iter().chain(&blobs).map(|s| s.object).collect();
        let mut damage = check_objects(&self.layout, &objects);
        damage.extend(
            ids.iter()
                .filter_map(|id| check_realisation(&self.layout, id)),
        );
        Ok(report(&objects, ids.len(), damage))
    }

    /// Rehashes one tree, which has to be here as a whole.
    pub fn verify_tree(&self, tree: &TreeId) -> Result<VerifyReport, StoreError> {
        let _in_use = self.share()?;
        let mut objects = reachable(&self.layout, tree);
        objects.retain(|object| *object == Object::Tree(*tree) || is_here(&self.layout, object));
        let damage = check_objects(&self.layout, &objects);
        Ok(report(&objects, 0, damage))
    }

    /// Removes what is damaged and whatever reaches it, so that the next build
    /// or download brings it back; returns the trees that are gone.
    pub fn remove_damaged(&self, damage: &[Damage]) -> Result<Vec<TreeId>, StoreError> {
        let _alone = lock::exclude(&self.layout)?;
        let mut objects = Vec::new();
        for damaged in damage {
            match damaged.subject {
                Subject::Object(object) => objects.push(object),
                Subject::Realisation(id) => remove_realisation(&self.layout, &id)?,
            }
        }
        if objects.len() < damage.len() {
            self.index().fill_from_files(&self.layout)?;
        }
        heal::remove(&self.layout, &objects)
    }
}

fn remove_realisation(layout: &Layout, id: &RealisationId) -> Result<(), StoreError> {
    let path = layout::realisation(id);
    fs::unlinkat(layout.fd(), &path, AtFlags::empty()).during("remove", path)
}

fn report(objects: &[Object], realisations: usize, mut damage: Vec<Damage>) -> VerifyReport {
    damage.sort_by(|a, b| a.path.cmp(&b.path));
    let is_tree = |object: &&Object| matches!(object, Object::Tree(_));
    let directories = objects.iter().filter(is_tree).count();
    VerifyReport {
        files: (objects.len() - directories) as u64,
        directories: directories as u64,
        realisations: realisations as u64,
        damage,
    }
}

/// A tree and all that it reaches, as far as that can be read.
fn reachable(layout: &Layout, tree: &TreeId) -> Vec<Object> {
    let marked = mark_readable(layout, HashSet::from([*tree]));
    let contents = marked.contents.into_iter();
    let inodes = contents.flat_map(|c| [Object::Blob(c, false), Object::Blob(c, true)]);
    let trees = marked.trees.into_iter().map(Object::Tree);
    trees.chain(inodes).collect()
}

fn is_here(layout: &Layout, object: &Object) -> bool {
    size_of(layout, object).is_some_and(|size| size.is_ok())
}

/// Rehashes objects; returns those that are damaged.
pub(crate) fn check_objects(layout: &Layout, objects: &[Object]) -> Vec<Damage> {
    let check = |object: &Object| {
        let problem = match object {
            Object::Blob(content, executable) => check_blob(layout, content, *executable),
            Object::Tree(tree) => check_tree(layout, tree),
        };
        problem
            .err()
            .map(|problem| Damage::new(layout, *object, problem))
    };
    objects.par_iter().filter_map(check).collect()
}

impl Damage {
    /// The object that is damaged, if it is one.
    pub(crate) fn object(&self) -> Option<Object> {
        match self.subject {
            Subject::Object(object) => Some(object),
            Subject::Realisation(_) => None,
        }
    }

    fn new(layout: &Layout, object: Object, problem: Problem) -> Self {
        let (kind, digest) = match object {
            Object::Blob(content, _) => ("file", content.0),
            Object::Tree(tree) => ("directory", tree.0),
        };
        Self {
            kind,
            digest,
            path: layout.path().join(object.path()),
            problem,
            subject: Subject::Object(object),
        }
    }
}

fn check_blob(layout: &Layout, content: &ContentId, executable: bool) -> Result<(), Problem> {
    let unreadable = |error: io::Error| Problem::Unreadable(error.to_string());
    let path = layout.path().join(layout::blob(content, executable));
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if hash(&mut file).map_err(unreadable)? != content.0 {
        return Err(Problem::Content);
    }
    if metadata.mode() & 0o7777 != mode(executable) || metadata.mtime() != MTIME_S {
        return Err(Problem::Metadata);
    }
    Ok(())
}

fn hash(file: &mut File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            count => hasher.update(&buffer[..count]),
        };
    }
}

fn check_tree(layout: &Layout, tree: &TreeId) -> Result<(), Problem> {
    let directory = read_directory(layout, tree).map_err(|error| match error {
        ObjectError::Damaged { .. } => Problem::Content,
        ObjectError::Missing { .. } => Problem::Missing,
        ObjectError::Tree(error) => Problem::Malformed(error.to_string()),
        ObjectError::Io { .. } => Problem::Unreadable(error.to_string()),
    })?;
    check_children(layout, &directory)
}

fn check_children(layout: &Layout, directory: &Directory) -> Result<(), Problem> {
    for entry in directory.entries() {
        match &entry.node {
            Node::File { content, size, .. } => check_file(layout, content, *size)?,
            Node::Directory { tree } if !is_here(layout, &Object::Tree(*tree)) => {
                return Err(Problem::Lacks(tree.0));
            }
            Node::Directory { .. } | Node::Symlink { .. } => {}
        }
    }
    Ok(())
}

/// Whether content is here, of this size. What its bytes are, is asked once an
/// inode and not once an entry.
fn check_file(layout: &Layout, content: &ContentId, size: u64) -> Result<(), Problem> {
    let inodes = [Object::Blob(*content, false), Object::Blob(*content, true)];
    let mut sizes = inodes.iter().filter_map(|object| size_of(layout, object));
    match sizes.next() {
        None => Err(Problem::Lacks(content.0)),
        Some(Ok(found)) if found != size => Err(Problem::Size(content.0)),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(Problem::Unreadable(io::Error::from(error).to_string())),
    }
}

/// The size of an object that is here.
fn size_of(layout: &Layout, object: &Object) -> Option<Result<u64, Errno>> {
    match fs::statat(layout.fd(), object.path(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(Ok(u64::try_from(stat.st_size).unwrap_or(0))),
        Err(Errno::NOENT) => None,
        Err(error) => Some(Err(error)),
    }
}

fn check_realisation(layout: &Layout, id: &RealisationId) -> Option<Damage> {
    let problem = match read_realisation(layout, id) {
        Ok(_) => return None,
        Err(StoreError::Object(ObjectError::Damaged { .. })) => Problem::Content,
        Err(StoreError::Realisation { source, .. }) => Problem::Malformed(source.to_string()),
        Err(error) => Problem::Unreadable(error.to_string()),
    };
    Some(Damage {
        kind: "realisation",
        digest: id.0,
        path: layout.path().join(layout::realisation(id)),
        problem,
        subject: Subject::Realisation(*id),
    })
}
