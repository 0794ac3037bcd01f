//! Pushing and pulling beside the least that the same work can cost, measured in
//! one run:
//!
//! ```text
//! cargo bench --package kiln-store --bench caches -- PLACE TREE [CHANGED…]
//! ```
//!
//! PLACE, on the disk that matters, is emptied. TREE is a directory that is
//! pushed to an empty cache, each CHANGED one that is pushed after it. The floor
//! of a pull is `zstd -d | tar x`; of a push, what `tar c | zstd -3` makes, which
//! is what Nix does to a tree but for hashing it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kiln_store::cache::backend::{Backend, BackendError, Body, ByteRange, Kind, Listed, Source};
use kiln_store::cache::name::Name;
use kiln_store::cache::pull::Pull;
use kiln_store::cache::push::Push;
use kiln_store::cache::remembered::Remembered;
use kiln_store::hash::TreeId;
use kiln_store::import::{Limits, Rules};
use kiln_store::store::{OpenOptions, Store};

fn main() {
    let words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let words: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let [place, tree, changed @ ..] = words.as_slice() else {
        panic!("usage: cargo bench … -- PLACE TREE [CHANGED…]");
    };
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).expect("the place can be made");
    println!("| work | CPU s | wall s | MB | requests |\n|---|--:|--:|--:|--:|");
    let archive = floor(place, tree);
    let cache = Directory::new(place.join("cache"));
    let store = open(&place.join("store"));
    let first = import(&store, tree);
    push(&cache, &store, &first, &[], "first push");
    pull(&cache, place, &[], &first, "pull into an empty store");
    unpack(place, &archive);
    for path in changed {
        let id = import(&store, path);
        let what = format!("push of {}", path.display());
        push(&cache, &store, &id, &[first], &what);
        let what = format!("pull of {}", path.display());
        pull(&cache, place, &[first], &id, &what);
    }
}

fn row(work: &str, cpu_s: f64, wall_s: f64, bytes: u64, requests: u64) {
    let megabytes = bytes as f64 / 1e6;
    println!("| {work} | {cpu_s:.2} | {wall_s:.2} | {megabytes:.3} | {requests} |");
}

fn open(path: &Path) -> Store {
    Store::open(path, &OpenOptions::default()).expect("a new store")
}

fn import(store: &Store, path: &Path) -> TreeId {
    let directory = File::open(path).expect("a directory");
    let rules = Rules::output(Limits::default());
    let imported = store.import(directory.as_fd(), &rules);
    imported.expect("it can be imported").tree
}

fn push(cache: &Directory, store: &Store, tree: &TreeId, base: &[TreeId], what: &str) {
    cache.reset();
    let (start, before) = (Instant::now(), cpu_s(libc::RUSAGE_SELF));
    let push = Push {
        backend: cache,
        objects: store,
        base,
        remembered: &Remembered::nowhere(),
        watch: &(),
    };
    let pushed = push.run(&[*tree]).expect("a push");
    let (cpu, wall) = (cpu_s(libc::RUSAGE_SELF) - before, start.elapsed());
    let requests = cache.requests.load(Ordering::Relaxed);
    row(what, cpu, wall.as_secs_f64(), pushed.bytes, requests);
}

fn pull(cache: &Directory, place: &Path, have: &[TreeId], tree: &TreeId, what: &str) {
    let path = place.join("pulled");
    let store = open(&path);
    let run = |trees: &[TreeId]| {
        let pull = Pull {
            backend: cache,
            store: &store,
            remembered: &Remembered::nowhere(),
            watch: &(),
        };
        let leases = pull.run(trees).expect("a pull");
        store.flush().expect("a sync");
        leases
    };
    let _kept = run(have);
    cache.reset();
    let (start, before) = (Instant::now(), cpu_s(libc::RUSAGE_SELF));
    let _leases = run(&[*tree]);
    let (cpu, wall) = (cpu_s(libc::RUSAGE_SELF) - before, start.elapsed());
    let bytes = cache.read_bytes.load(Ordering::Relaxed);
    let requests = cache.requests.load(Ordering::Relaxed);
    row(what, cpu, wall.as_secs_f64(), bytes, requests);
    drop((_kept, _leases, store));
    fs::remove_dir_all(&path).expect("it can be removed");
}

/// Packs a tree as Nix would; returns the archive.
fn floor(place: &Path, tree: &Path) -> PathBuf {
    let archive = place.join("floor.tar.zst");
    let (cpu, wall) = shell(&format!(
        "tar -C '{}' -cf - . | zstd -q -3 -T1 -o '{}'",
        tree.display(),
        archive.display()
    ));
    let size = fs::metadata(&archive).expect("it was made").len();
    row("floor of a push: `tar c \\| zstd -3`", cpu, wall, size, 0);
    archive
}

fn unpack(place: &Path, archive: &Path) {
    let to = place.join("unpacked");
    fs::create_dir(&to).expect("a new directory");
    let (cpu, wall) = shell(&format!(
        "zstd -q -dc '{}' | tar -C '{}' -xf - && sync -f '{}'",
        archive.display(),
        to.display(),
        to.display()
    ));
    row("floor of a pull: `zstd -d \\| tar x`", cpu, wall, 0, 0);
    fs::remove_dir_all(&to).expect("it can be removed");
}

fn shell(script: &str) -> (f64, f64) {
    let (start, before) = (Instant::now(), cpu_s(libc::RUSAGE_CHILDREN));
    let status = Command::new("sh").args(["-c", script]).status();
    assert!(status.expect("a shell").success(), "{script}");
    let cpu = cpu_s(libc::RUSAGE_CHILDREN) - before;
    (cpu, start.elapsed().as_secs_f64())
}

/// CPU time of this process, or of its children that have ended.
fn cpu_s(who: libc::c_int) -> f64 {
    // SAFETY: all zeros is a value of this type.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: it points to a live value.
    let done = unsafe { libc::getrusage(who, &raw mut usage) };
    assert_eq!(done, 0, "every Linux can tell");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// A cache in a directory, with counters. No more than a bench needs.
struct Directory {
    path: PathBuf,
    requests: AtomicU64,
    read_bytes: AtomicU64,
}

impl Directory {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            requests: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
        }
    }

    fn reset(&self) {
        self.requests.store(0, Ordering::Relaxed);
        self.read_bytes.store(0, Ordering::Relaxed);
    }

    fn open_file(&self, name: &Name) -> Result<Option<File>, BackendError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match File::open(self.path.join(name.as_str())) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(name, error)),
        }
    }

    fn error(&self, name: &Name, error: io::Error) -> BackendError {
        BackendError {
            place: self.place(),
            operation: "read",
            name: name.to_string(),
            kind: Kind::Unreachable(error),
        }
    }
}

impl Backend for Directory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError> {
        let Some(mut file) = self.open_file(name)? else {
            return Ok(None);
        };
        let metadata = file.metadata().map_err(|error| self.error(name, error))?;
        let range = range.unwrap_or(ByteRange {
            start: 0,
            length: metadata.len(),
        });
        let sought = file.seek(SeekFrom::Start(range.start));
        sought.map_err(|error| self.error(name, error))?;
        self.read_bytes.fetch_add(range.length, Ordering::Relaxed);
        Ok(Some(Body {
            length: Some(range.length),
            content: Box::new(file.take(range.length)),
        }))
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
        let Some(file) = self.open_file(name)? else {
            return Ok(None);
        };
        let metadata = file.metadata().map_err(|error| self.error(name, error))?;
        Ok(Some(metadata.len()))
    }

    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        _size_bytes: u64,
    ) -> Result<(), BackendError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(name.as_str());
        let write = || {
            fs::create_dir_all(path.parent().expect("names have two parts"))?;
            io::copy(content, &mut File::create(&path)?)
        };
        let mut write = write;
        write().map(drop).map_err(|error| self.error(name, error))
    }

    fn list(&self, _prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
        Ok(None)
    }

    fn remove(&self, name: &Name) -> Result<(), BackendError> {
        let removed = fs::remove_file(self.path.join(name.as_str()));
        removed.map_err(|error| self.error(name, error))
    }
}
