//! Makes a place ready to be a cache: tries out on a file of its own what a cache
//! is asked for, removes that, and says in `kiln-cache` that this is one.

use std::io::{self, Read};

use super::backend::{Backend, BackendError, ByteRange};
use super::claims::CLAIMS;
use super::id::{PACKS, TREES};
use super::name::Name;
use super::small;
use super::version::{self, VERSION, VersionError};

/// How large the file is that is tried with, in bytes.
const PROBE_BYTES: usize = 2000;
/// A part of it.
const PART: ByteRange = ByteRange {
    start: 777,
    length: 100,
};

/// Whether something works.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Ability {
    /// It does.
    Yes,
    /// It does not, and why.
    No(String),
    /// It was not tried, since what it needs does not work.
    #[default]
    Untried,
}

impl Ability {
    /// Whether it is known to work.
    pub fn works(&self) -> bool {
        *self == Self::Yes
    }

    fn of(outcome: Result<(), String>) -> Self {
        match outcome {
            Ok(()) => Self::Yes,
            Err(why) => Self::No(why),
        }
    }
}

/// What a place can do of all that a cache is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Abilities {
    /// Writing files.
    pub write: Ability,
    /// Reading what was written.
    pub read: Ability,
    /// Sending a part of a file, and no more.
    pub parts: Ability,
    /// Saying which files there are.
    pub list: Ability,
    /// Removing files.
    pub remove: Ability,
}

impl Abilities {
    /// Whether builds can be shared here at all.
    pub fn serve(&self) -> bool {
        self.write.works() && self.read.works()
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// There is a cache of this version already; nothing was changed.
    There(u32),
    /// It was tried. If it can serve, it is a cache of [`VERSION`] now; if not,
    /// nothing was changed.
    Tried {
        /// What works.
        abilities: Abilities,
        /// A file that could be written and not removed.
        left: Option<Name>,
    },
}

/// Makes a cache, where there is none. An error says that it could not be told
/// whether there is one, or that it could not be written that there is.
pub fn init(backend: &dyn Backend) -> Result<Outcome, VersionError> {
    if let Some(version) = version::read(backend)? {
        return Ok(Outcome::There(version));
    }
    if is_used(backend) {
        return Ok(Outcome::There(VERSION));
    }
    let probe = Probe::new().map_err(|error| BackendError {
        place: backend.place(),
        operation: "write",
        name: "probe".to_owned(),
        kind: error.into(),
    })?;
    let (abilities, left) = probe.try_out(backend);
    if abilities.serve() {
        version::write(backend)?;
    }
    Ok(Outcome::Tried { abilities, left })
}

/// Whether somebody has pushed to it, as far as it can be told.
fn is_used(backend: &dyn Backend) -> bool {
    [TREES, CLAIMS, PACKS].iter().any(|directory| {
        let listed = backend.list(&format!("{directory}/"));
        listed.is_ok_and(|listed| listed.is_some_and(|files| !files.is_empty()))
    })
}

/// A file that nobody else has, and no server can have an answer for yet.
struct Probe {
    name: Name,
    content: Vec<u8>,
}

impl Probe {
    fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while filled < seed.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut seed[filled..], flags)?;
        }
        Ok(Self::of_seed(&seed))
    }

    fn of_seed(seed: &[u8; 32]) -> Self {
        let mut content = vec![0; PROBE_BYTES];
        let mut hasher = blake3::Hasher::new();
        hasher.update(seed).finalize_xof().fill(&mut content);
        let text = format!("probe-{}", hasher.update(b"name").finalize().to_hex());
        match Name::new(text) {
            Ok(name) => Self { name, content },
            Err(error) => unreachable!("digits and a word of ours: {error}"),
        }
    }

    fn try_out(&self, backend: &dyn Backend) -> (Abilities, Option<Name>) {
        let mut abilities = Abilities {
            write: Ability::of(told(small::write(backend, &self.name, &self.content))),
            ..Abilities::default()
        };
        if abilities.write.works() {
            abilities.read = Ability::of(self.read(backend));
        }
        if abilities.read.works() {
            abilities.parts = Ability::of(self.part(backend));
            abilities.list = Ability::of(self.listed(backend));
        }
        // Also what could not be written: it may be there for all that.
        let removed = self.remove(backend);
        let left = removed.is_err() && abilities.write.works();
        if abilities.write.works() {
            abilities.remove = Ability::of(removed);
        }
        (abilities, left.then(|| self.name.clone()))
    }

    fn read(&self, backend: &dyn Backend) -> Result<(), String> {
        let limit_bytes = PROBE_BYTES as u64;
        match told(small::read(backend, &self.name, limit_bytes))? {
            None => Err("what was written is not there".to_owned()),
            Some(bytes) if bytes == self.content => Ok(()),
            Some(_) => Err("something else came than was written".to_owned()),
        }
    }

    fn part(&self, backend: &dyn Backend) -> Result<(), String> {
        let Some(body) = told(backend.open(&self.name, Some(PART)))? else {
            return Err("what was written is not there".to_owned());
        };
        let mut bytes = Vec::new();
        let read = body.content.take(PART.length + 1).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string())?;
        let start = PART.start as usize;
        if bytes != self.content[start..start + PART.length as usize] {
            return Err("another part came than was asked for".to_owned());
        }
        match told(backend.sends_parts(&self.name))? {
            Some(true) => Ok(()),
            _ => Err("it sends the whole file when a part is asked for".to_owned()),
        }
    }

    fn listed(&self, backend: &dyn Backend) -> Result<(), String> {
        match told(backend.list(self.name.as_str()))? {
            None => Err("this kind of server has no listing".to_owned()),
            Some(files) if files.iter().any(|file| file.name == self.name) => Ok(()),
            Some(_) => Err("what was written is not listed".to_owned()),
        }
    }

    fn remove(&self, backend: &dyn Backend) -> Result<(), String> {
        told(backend.remove(&self.name))?;
        match told(backend.size(&self.name))? {
            None => Ok(()),
            Some(_) => Err("what was removed is still there".to_owned()),
        }
    }
}

fn told<T>(outcome: Result<T, BackendError>) -> Result<T, String> {
    outcome.map_err(|error| error.kind.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::backend::{Body, Kind, Listed, Source};
    use crate::cache::memory::Memory;

    /// A server that lacks some of what it should be able to.
    #[derive(Default)]
    struct Lacking {
        memory: Memory,
        lacks: &'static [&'static str],
    }

    impl Lacking {
        fn error(&self, operation: &'static str, name: &str) -> BackendError {
            BackendError {
                place: self.place(),
                operation,
                name: name.to_owned(),
                kind: Kind::Denied(format!("no {operation} here")),
            }
        }

        fn check(&self, operation: &'static str, name: &str) -> Result<(), BackendError> {
            match self.lacks.contains(&operation) {
                true => Err(self.error(operation, name)),
                false => Ok(()),
            }
        }
    }

    impl Backend for Lacking {
        fn place(&self) -> String {
            "here".to_owned()
        }

        fn open(
            &self,
            name: &Name,
            range: Option<ByteRange>,
        ) -> Result<Option<Body>, BackendError> {
            match self.lacks.contains(&"truth") && name.as_str().starts_with("probe") {
                true => Ok(Some(Body {
                    length: None,
                    content: Box::new(&b"welcome"[..]),
                })),
                false => self.memory.open(name, range),
            }
        }

        fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
            self.memory.size(name)
        }

        fn sends_parts(&self, name: &Name) -> Result<Option<bool>, BackendError> {
            let is_there = self.memory.size(name)?;
            Ok(is_there.map(|_| !self.lacks.contains(&"parts")))
        }

        fn put(
            &self,
            name: &Name,
            content: &mut dyn Source,
            size_bytes: u64,
        ) -> Result<(), BackendError> {
            self.check("write", name.as_str())?;
            self.memory.put(name, content, size_bytes)
        }

        fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
            match self.lacks.contains(&"list") {
                true => Ok(None),
                false => self.memory.list(prefix),
            }
        }

        fn remove(&self, name: &Name) -> Result<(), BackendError> {
            self.check("remove", name.as_str())?;
            self.memory.remove(name)
        }
    }

    fn files(cache: &Memory) -> Vec<String> {
        let listed = cache.list("").expect("memory").expect("it lists");
        listed.iter().map(|file| file.name.to_string()).collect()
    }

    fn tried(lacks: &'static [&'static str]) -> (Lacking, Abilities, Option<Name>) {
        let cache = Lacking {
            lacks,
            ..Lacking::default()
        };
        match init(&cache).expect("no error") {
            Outcome::Tried { abilities, left } => (cache, abilities, left),
            there => panic!("{there:?}"),
        }
    }

    #[test]
    fn a_cache_is_made_once_and_only_its_file_stays() {
        let (cache, abilities, left) = tried(&[]);
        let Abilities {
            write,
            read,
            parts,
            list,
            remove,
        } = &abilities;
        assert!(
            [write, read, parts, list, remove]
                .iter()
                .all(|it| it.works())
        );
        assert_eq!(
            (files(&cache.memory), left),
            (vec!["kiln-cache".to_owned()], None)
        );
        assert_eq!(init(&cache).expect("no error"), Outcome::There(VERSION));
    }

    #[test]
    fn what_is_missing_is_told_and_the_rest_serves() {
        let (_, abilities, left) = tried(&["parts", "list"]);
        assert!(abilities.serve() && abilities.remove.works() && left.is_none());
        assert!(!abilities.parts.works() && !abilities.list.works());
        let (cache, abilities, left) = tried(&["remove"]);
        assert_eq!(
            abilities.remove,
            Ability::No("not allowed: no remove here".to_owned())
        );
        let left = left.expect("it stays").to_string();
        assert_eq!(files(&cache.memory), ["kiln-cache", &left]);
    }

    #[test]
    fn what_cannot_serve_becomes_no_cache() {
        let (cache, abilities, left) = tried(&["write"]);
        assert!(!abilities.serve() && abilities.read == Ability::Untried);
        assert_eq!((files(&cache.memory), left), (Vec::new(), None));
        // A page for everything, as captive portals have.
        let (cache, abilities, _) = tried(&["truth"]);
        assert!(!abilities.serve() && abilities.parts == Ability::Untried);
        assert_eq!(files(&cache.memory), [""; 0]);
    }

    #[test]
    fn a_cache_from_before_is_left_as_it_is() {
        let cache = Memory::default();
        let name = Name::new("trees/ab/abcd").expect("a name");
        small::write(&cache, &name, b"x").expect("memory");
        assert_eq!(init(&cache).expect("no error"), Outcome::There(1));
        assert_eq!(files(&cache), ["trees/ab/abcd"]);
    }

    #[test]
    fn no_two_probes_are_the_same() {
        let (one, other) = (Probe::of_seed(&[1; 32]), Probe::of_seed(&[2; 32]));
        assert!(one.name != other.name && one.content != other.content);
        assert!(
            !one.name
                .as_str()
                .contains(&blake3::hash(&[1; 32]).to_hex()[..8])
        );
    }
}
