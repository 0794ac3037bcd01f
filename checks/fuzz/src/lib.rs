//! What is fuzzed: everything that reads bytes which somebody else wrote, as
//! one function a parser. It may refuse; it must neither panic, nor hang, nor
//! take what it would not write.
//!
//! `cargo fuzz run NAME corpus/NAME seeds/NAME` in `checks/fuzz` runs one for as
//! long as one likes; `checks/tests/fuzz_smoke.rs` runs all of them for a moment
//! without cargo-fuzz. A new target is a line in [`TARGETS`], a file in
//! `fuzz_targets/` and some in `seeds/`.

mod answers;

use std::io::{self, Read};
use std::path::PathBuf;

use kiln_derivations::archive::source::Selection;
use kiln_derivations::archive::{Limits, ar, deb as packages, source};
use kiln_derivations::compose::link_check;
use kiln_derivations::debian::keyring::Keyring;
use kiln_derivations::debian::packages::Index;
use kiln_derivations::debian::release::Release;
use kiln_derivations::debian::{relation as relations, sources};
use kiln_derivations::explain as explanation;
use kiln_derivations::image::meta as metadata;
use kiln_derivations::manifest::assemble::Assembly;
use kiln_derivations::manifest::{Lock, parse};
use kiln_store::cache::catalogue::Catalogue;
use kiln_store::cache::description::Description;
use kiln_store::cache::id::IndexId;
use kiln_store::cache::index::{Index as CacheIndex, MAX_PACK_BYTES};
use kiln_store::cache::sweep::Note;
use kiln_store::cache::version;
use kiln_store::hash::{Digest, TreeId};
use kiln_store::objects::{Memory, Objects};
use kiln_store::realisation::SignedRealisation;
use kiln_store::tree::{Directory, Entry, Name, Node};
use kiln_store::trust::key::SecretKey;
use kiln_store::trust::statement::{Statement, Statements};

pub use answers::{answer, bucket, hint, login, registry, request};

/// Gives bytes to one parser.
pub type Target = fn(&[u8]);

/// All of them by name.
pub const TARGETS: [(&str, Target); 22] = [
    ("answer", answer),
    ("ar", ar_archive),
    ("bucket", bucket),
    ("cache", cache),
    ("deb", deb),
    ("directory", directory),
    ("elf", elf),
    ("explain", explain),
    ("hint", hint),
    ("index", index),
    ("keyfile", keyfile),
    ("lock", lock),
    ("login", login),
    ("manifest", manifest),
    ("meta", meta),
    ("realisation", realisation),
    ("registry", registry),
    ("relation", relation),
    ("request", request),
    ("signed", signed),
    ("statement", statement),
    ("tar", tar),
];

/// So little that a fuzzer meets them.
const LIMITS: Limits = Limits {
    max_unpacked_bytes: 1 << 20,
    max_entries: 100,
    max_ratio: 100,
};

/// The `ar` container, with all contents.
pub fn ar_archive(bytes: &[u8]) {
    let Ok(mut archive) = ar::Ar::new(bytes) else {
        return;
    };
    let mut read = 0;
    while let Ok(Some(member)) = archive.next_member() {
        // Every other content is skipped, which is another path.
        read += 1;
        if read % 2 == 0 {
            let content = io::copy(&mut archive.content(), &mut io::sink());
            assert!(content.is_err() || content.is_ok_and(|length| length == member.size));
        }
    }
}

/// What a cache says: an index, packed or not, what is looked up in it, the
/// description of a tree, the note of a sweep, and the cache's version.
pub fn cache(bytes: &[u8]) {
    let unpacked = CacheIndex::unpack(bytes).map(|(index, _)| index);
    for index in [CacheIndex::decode(bytes), unpacked].into_iter().flatten() {
        let mut catalogue = Catalogue::default();
        catalogue.add(IndexId(Digest::of(bytes)), 1, index.clone());
        for file in &index.files {
            // Every size is asked for that the file may have.
            let chunks = index.chunks.iter().map(|chunk| u64::from(chunk.length));
            for (_, spans) in catalogue.content(&file.content, chunks.sum()) {
                let split = spans.iter().flat_map(|span| catalogue.split(span));
                let lengths = split.map(|(_, part)| catalogue.span_bytes(&part));
                assert_eq!(Some(lengths.sum()), catalogue.size_bytes(&spans));
            }
        }
        assert!(index.pack_ends().all(|(_, end)| end <= MAX_PACK_BYTES));
        assert_eq!(CacheIndex::decode(&index.encode()).expect("its own"), index);
    }
    if let Some((tree, _)) = bytes.get(1..).and_then(|rest| rest.split_first_chunk()) {
        let tree = TreeId(Digest::from_bytes(*tree));
        if let Ok(description) = Description::decode(&tree, bytes) {
            assert_eq!(description.encode(), bytes);
        }
    }
    if let Ok(note) = Note::decode(bytes) {
        assert_eq!(note.encode(), bytes);
    }
    if version::decode(bytes) == Some(version::VERSION) {
        assert_eq!(version::encode(version::VERSION), bytes);
    }
}

/// A Debian package.
pub fn deb(bytes: &[u8]) {
    let _ = packages::unpack(bytes, &LIMITS, &Memory::default());
}

/// The file of a secret key.
pub fn keyfile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = SecretKey::parse(text) {
        assert!(text.contains(&key.public().to_string()));
    }
}

/// What a key says of itself: canonical or refused, and learnt only if signed.
pub fn statement(bytes: &[u8]) {
    if let Ok(statement) = Statement::decode(bytes) {
        assert_eq!(statement.encode(), bytes);
        let mut statements = Statements::default();
        let learnt = statements.learn(&statement).is_ok();
        assert_eq!(statements.iter().count(), usize::from(learnt));
    }
}

/// A directory object: canonical or refused.
pub fn directory(bytes: &[u8]) {
    if let Ok(directory) = Directory::decode(bytes) {
        assert_eq!(directory.encode(), bytes);
        assert_eq!(directory.id(), Directory::id_of(bytes));
    }
}

/// What an ELF file or a script refers to.
pub fn elf(bytes: &[u8]) {
    let _ = link_check::shebang(bytes);
    let _ = link_check::elf_links(bytes);
}

/// Two trees of a file each: the second file is the first with two bytes
/// changed, at places and in ways that the first eight bytes say.
pub fn explain(bytes: &[u8]) {
    let Some((edits, expected)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let mut got = expected.to_vec();
    for edit in edits.chunks(4) {
        let at = usize::from(edit[0]) | usize::from(edit[1]) << 8 | usize::from(edit[2]) << 16;
        if let Some(byte) = got.get_mut(at) {
            *byte ^= edit[3];
        }
    }
    let objects = Memory::default();
    let (a, b) = (single(&objects, expected), single(&objects, &got));
    let limits = explanation::Limits {
        max_unpacked_bytes: 1 << 20,
        max_entries: 1000,
        ..explanation::Limits::default()
    };
    let windows = explanation::Windows::default();
    let found = explanation::compare(&objects, &a, &b, &windows, &limits).expect("memory");
    assert_eq!(found.differences.is_empty(), expected == got);
    let _ = found.to_string();
}

/// A tree of one file.
fn single(objects: &Memory, mut content: &[u8]) -> TreeId {
    let (content, size) = objects.put_file(&mut content, false).expect("memory");
    let node = Node::File {
        content,
        size,
        executable: false,
    };
    let name = Name::new("file").expect("a name");
    let directory = Directory::new(vec![Entry { name, node }]).expect("one entry");
    objects.put_directory(&directory).expect("memory")
}

/// A package list, and the same bytes as a source list.
pub fn index(bytes: &[u8]) {
    let mut index = Index::default();
    if index.add(bytes).is_ok() {
        for name in ["a", "bash"] {
            if let Some(package) = index.latest(name) {
                let _ = package.dependencies();
                let _ = package.conflicts();
            }
            let _ = index.nearest(name);
        }
    }
    let _ = sources::beside(bytes, "pool/main/b/bash/bash_5.2.orig.tar.xz");
}

/// A lock: what is read is written, and read again as the same.
pub fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(lock) = Lock::parse("flake-like.lock", text) {
        let written = lock.write();
        let again = Lock::parse("flake-like.lock", &written);
        let again = again.unwrap_or_else(|error| panic!("{error:?} in {written}"));
        assert_eq!(again.write(), written);
    }
}

/// A manifest: its text, and what it is put together to.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = parse("flake-like.toml", text);
    let assembly = Assembly::new(PathBuf::from("/nowhere"), "flake-like.toml", text);
    let _ = assembly.finish();
}

/// The metadata of a root file system: canonical or refused.
pub fn meta(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(meta) = metadata::parse(text) {
        assert_eq!(metadata::write(&meta), text);
    }
}

/// A realisation: canonical or refused.
pub fn realisation(bytes: &[u8]) {
    if let Ok(signed) = SignedRealisation::decode(bytes) {
        assert_eq!(signed.encode(), bytes);
    }
}

/// A field of dependencies.
pub fn relation(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = relations::parse(text);
    }
}

/// A signed release file, and one whose signature was good.
pub fn signed(bytes: &[u8]) {
    thread_local! {
        static KEYRING: Keyring = Keyring::pinned().expect("the pinned keys are good");
    }
    // Nobody signs what a fuzzer makes up.
    KEYRING.with(|keyring| assert!(keyring.verify(bytes).is_err()));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Release::parse(text);
    }
}

/// A source archive, compressed in any way; the first byte chooses what is
/// kept of it.
pub fn tar(bytes: &[u8]) {
    let Some((&choice, archive)) = bytes.split_first() else {
        return;
    };
    let keep: &[String] = match choice & 2 {
        0 => &[],
        _ => &["lib/**".to_owned(), "*.c".to_owned()],
    };
    let selection = Selection::new(usize::from(choice & 1), keep).expect("globs");
    let _ = source::unpack(
        archive.take(1 << 20),
        &selection,
        &LIMITS,
        &Memory::default(),
    );
}
