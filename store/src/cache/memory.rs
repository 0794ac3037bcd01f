//! A cache in memory, for tests.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::backend::{Body, ByteRange, Kind, Listed, Source};
use super::name::Name;

/// Files by name, with the time of writing.
type Files = BTreeMap<Name, (Vec<u8>, SystemTime)>;

/// A cache that is gone with its process.
#[derive(Debug, Default)]
pub struct Memory {
    files: Mutex<Files>,
}

impl Memory {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl super::files::Files for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, Kind> {
        let Some((bytes, _)) = self.files().get(name).cloned() else {
            return Ok(None);
        };
        let part = match range {
            None => bytes,
            Some(ByteRange { start, length }) => {
                let size = bytes.len() as u64;
                if start >= size || length == 0 {
                    let why = format!("it has {size} bytes, none from {start} on");
                    return Err(Kind::Refused(why));
                }
                let end = start.saturating_add(length).min(size);
                bytes[start as usize..end as usize].to_vec()
            }
        };
        Ok(Some(Body {
            length: Some(part.len() as u64),
            content: Box::new(Cursor::new(part)),
        }))
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, Kind> {
        let files = self.files();
        Ok(files.get(name).map(|(bytes, _)| bytes.len() as u64))
    }

    fn put(&self, name: &Name, content: &mut dyn Source, size_bytes: u64) -> Result<(), Kind> {
        let mut bytes = Vec::new();
        content.rewind()?;
        content.take(size_bytes + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size_bytes {
            let why = format!("expected {size_bytes} bytes, got {}", bytes.len());
            return Err(Kind::Refused(why));
        }
        self.files()
            .insert(name.clone(), (bytes, SystemTime::now()));
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, Kind> {
        let files = self.files();
        let found = files
            .iter()
            .filter(|(name, _)| name.as_str().starts_with(prefix));
        let listed = found.map(|(name, (bytes, modified))| Listed {
            name: name.clone(),
            size_bytes: bytes.len() as u64,
            modified: *modified,
        });
        Ok(Some(listed.collect()))
    }

    fn remove(&self, name: &Name) -> Result<(), Kind> {
        self.files().remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::contract;

    #[test]
    fn it_keeps_the_contract() {
        contract::check(&Memory::default());
    }
}
