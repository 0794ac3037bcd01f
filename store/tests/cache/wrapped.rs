//! A cache in memory that counts what is asked of it, and does what it is told.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use kiln_store::cache::backend::{Backend, BackendError, Body, ByteRange, Kind, Listed, Source};
use kiln_store::cache::memory::Memory;
use kiln_store::cache::name::Name;

/// What was asked for: how, and the name.
pub(crate) type Request = (&'static str, String);

/// A cache in memory.
#[derive(Default)]
pub(crate) struct Wrapped {
    memory: Memory,
    requests: Mutex<Vec<Request>>,
    read_bytes: AtomicI64,
    /// Requests of this kind …
    pub(crate) failing: &'static str,
    /// … fail after so many.
    pub(crate) left: AtomicI64,
    /// Bodies end after so many bytes, and the connection breaks.
    pub(crate) body_limit: Option<u64>,
    /// Bodies never end.
    pub(crate) endless: bool,
}

impl Wrapped {
    /// Fails `kind` after `count` of them.
    pub(crate) fn failing(mut self, kind: &'static str, count: i64) -> Self {
        self.failing = kind;
        self.left = AtomicI64::new(count);
        self
    }

    /// Forgets what was asked.
    pub(crate) fn reset(&self) {
        self.requests.lock().expect("no panic").clear();
        self.read_bytes.store(0, Ordering::Relaxed);
    }

    /// What was asked, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    pub(crate) fn read_bytes(&self) -> i64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// All files below a directory.
    pub(crate) fn files(&self, directory: &str) -> Vec<Name> {
        let listed = self.memory.list(&format!("{directory}/"));
        let listed = listed.expect("memory").expect("it can tell");
        listed.into_iter().map(|listed| listed.name).collect()
    }

    pub(crate) fn get(&self, name: &Name) -> Vec<u8> {
        let body = self.memory.open(name, None).expect("memory");
        let mut bytes = Vec::new();
        let mut content = body.expect("it is there").content;
        content.read_to_end(&mut bytes).expect("memory");
        bytes
    }

    pub(crate) fn set(&self, name: &Name, bytes: &[u8]) {
        let size = bytes.len() as u64;
        let put = self.memory.put(name, &mut io::Cursor::new(bytes), size);
        put.expect("memory");
    }

    pub(crate) fn delete(&self, name: &Name) {
        self.memory.remove(name).expect("memory");
    }

    fn note(&self, kind: &'static str, name: &Name) -> Result<(), BackendError> {
        let mut requests = self.requests.lock().expect("no panic");
        requests.push((kind, name.to_string()));
        if self.failing == kind && self.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(BackendError {
                place: self.place(),
                operation: kind,
                name: name.to_string(),
                kind: Kind::Unreachable(io::ErrorKind::ConnectionReset.into()),
            });
        }
        Ok(())
    }
}

/// A body whose connection breaks.
struct Breaking(Box<dyn Read + Send>, u64);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let length = buffer.len().min(self.1 as usize);
        let count = self.0.read(&mut buffer[..length])?;
        self.1 -= count as u64;
        Ok(count)
    }
}

impl Backend for Wrapped {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError> {
        self.note("read", name)?;
        let Some(mut body) = self.memory.open(name, range)? else {
            return Ok(None);
        };
        let length = body.length.unwrap_or(0);
        self.read_bytes.fetch_add(length as i64, Ordering::Relaxed);
        if let Some(limit) = self.body_limit {
            body.content = Box::new(Breaking(body.content, limit));
        }
        if self.endless {
            body.content = Box::new(io::repeat(0x2a));
        }
        Ok(Some(body))
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
        self.note("size", name)?;
        self.memory.size(name)
    }

    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), BackendError> {
        self.note("write", name)?;
        self.memory.put(name, content, size_bytes)
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
        self.memory.list(prefix)
    }

    fn remove(&self, name: &Name) -> Result<(), BackendError> {
        self.note("remove", name)?;
        self.memory.remove(name)
    }
}
