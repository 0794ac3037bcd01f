//! What a kind of place does; [`Backend`] is the same with errors that say where.

use std::time::Duration;

use super::backend::{Backend, BackendError, Body, ByteRange, Kind, Listed, Source};
use super::name::Name;

/// A place for files. Each method is the one of [`Backend`] that has its name.
pub(super) trait Files: Send + Sync {
    fn place(&self) -> String;

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, Kind>;

    fn size(&self, name: &Name) -> Result<Option<u64>, Kind>;

    fn sends_parts(&self, name: &Name) -> Result<Option<bool>, Kind> {
        Ok(self.size(name)?.map(|_| true))
    }

    fn put(&self, name: &Name, content: &mut dyn Source, size_bytes: u64) -> Result<(), Kind>;

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, Kind>;

    fn remove(&self, name: &Name) -> Result<(), Kind>;

    fn sweep(&self, age: Duration) -> Result<u64, Kind> {
        let _ = age;
        Ok(0)
    }
}

impl<T: Files> Backend for T {
    fn place(&self) -> String {
        Files::place(self)
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError> {
        let opened = Files::open(self, name, range);
        opened.map_err(|kind| error(self, "read", name.as_str(), kind))
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
        let size = Files::size(self, name);
        size.map_err(|kind| error(self, "read", name.as_str(), kind))
    }

    fn sends_parts(&self, name: &Name) -> Result<Option<bool>, BackendError> {
        let sends = Files::sends_parts(self, name);
        sends.map_err(|kind| error(self, "read", name.as_str(), kind))
    }

    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), BackendError> {
        let written = Files::put(self, name, content, size_bytes);
        written.map_err(|kind| error(self, "write", name.as_str(), kind))
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
        let listed = Files::list(self, prefix);
        listed.map_err(|kind| error(self, "list", prefix, kind))
    }

    fn remove(&self, name: &Name) -> Result<(), BackendError> {
        let removed = Files::remove(self, name);
        removed.map_err(|kind| error(self, "remove", name.as_str(), kind))
    }

    fn sweep(&self, age: Duration) -> Result<u64, BackendError> {
        let swept = Files::sweep(self, age);
        swept.map_err(|kind| error(self, "remove", "what is half-written", kind))
    }
}

fn error(files: &impl Files, operation: &'static str, name: &str, kind: Kind) -> BackendError {
    BackendError {
        place: files.place(),
        operation,
        name: name.to_owned(),
        kind,
    }
}
