//! The link check: whether what a tree refers to is in the tree.
//!
//! Outputs hold no store paths, so there are no references to scan for. What
//! can be missing at run time is named in four places, and each is looked at:
//! the interpreter of an ELF program, the libraries that an ELF file needs, the
//! interpreter of a script, the target of a symlink.

use std::fmt;
use std::io::Read;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use kiln_store::hash::{ContentId, TreeId};
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::tree::Node;

use super::paths;

/// Directories that exist only once a system runs; links into them may dangle.
const RUN_TIME: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/// Where a dynamic loader looks when nobody tells it, musl's and glibc's.
const LIBRARY_PATH: [&str; 8] = [
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// Something that a file refers to and the tree does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The file, from the root.
    pub path: String,
    /// What it refers to.
    pub wants: String,
    /// In which way.
    pub how: How,
}

/// In which way a file refers to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// The program interpreter of an ELF file.
    Loader,
    /// A library that an ELF file needs.
    Library,
    /// The `#!` line of a script.
    Shebang,
    /// The target of a symlink.
    Symlink,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, wants, how } = self;
        match how {
            How::Loader => write!(f, "`{path}` is loaded by `{wants}`, which is not there"),
            How::Library => write!(
                f,
                "`{path}` needs the library `{wants}`, which is not there"
            ),
            How::Shebang => write!(f, "`{path}` is run by `{wants}`, which is not there"),
            How::Symlink => write!(f, "`{path}` links to `{wants}`, which is not there"),
        }
    }
}

/// Everything below `root` that refers to something missing, by path.
pub fn check(objects: &dyn Objects, root: &TreeId) -> Result<Vec<Broken>, ObjectError> {
    let mut check = Check {
        objects,
        root: *root,
        broken: Vec::new(),
    };
    check.directory("", root)?;
    Ok(check.broken)
}

struct Check<'a> {
    objects: &'a dyn Objects,
    root: TreeId,
    broken: Vec<Broken>,
}

impl Check<'_> {
    fn directory(&mut self, path: &str, tree: &TreeId) -> Result<(), ObjectError> {
        for entry in self.objects.directory(tree)?.entries() {
            let path = format!("{path}/{}", entry.name);
            match &entry.node {
                Node::Directory { tree } => self.directory(&path, tree)?,
                Node::Symlink { target } => self.symlink(path, target)?,
                Node::File {
                    content,
                    executable,
                    ..
                } if *executable || path.contains(".so") => self.file(path, content)?,
                Node::File { .. } => {}
            }
        }
        Ok(())
    }

    fn symlink(&mut self, path: String, target: &[u8]) -> Result<(), ObjectError> {
        let parent = path.rfind('/').map_or("", |slash| &path[..slash]);
        let wants = String::from_utf8_lossy(target).into_owned();
        // Not normalised: what `..` means depends on the links before it.
        let leads_to = match wants.starts_with('/') {
            true => wants.clone(),
            false => format!("{parent}/{wants}"),
        };
        self.require(path, &leads_to, wants, How::Symlink)
    }

    fn file(&mut self, path: String, content: &ContentId) -> Result<(), ObjectError> {
        let mut reader = self.objects.open_file(content)?;
        let mut bytes = Vec::new();
        read(&mut reader, 256, &mut bytes, &path)?;
        if let Some(interpreter) = shebang(&bytes) {
            return self.require(path, &interpreter, interpreter.clone(), How::Shebang);
        }
        if bytes.starts_with(b"\x7fELF") {
            read(&mut reader, u64::MAX, &mut bytes, &path)?;
            if let Some(links) = elf_links(&bytes) {
                self.elf(&path, &links)?;
            }
        }
        Ok(())
    }

    fn elf(&mut self, path: &str, links: &ElfLinks) -> Result<(), ObjectError> {
        if let Some(loader) = &links.loader {
            self.require(path.to_owned(), loader, loader.clone(), How::Loader)?;
        }
        let origin = path.rfind('/').map_or("", |slash| &path[..slash]);
        let own = links
            .run_path
            .iter()
            .map(|dir| dir.replace("$ORIGIN", origin));
        let directories: Vec<String> = own
            .chain(LIBRARY_PATH.iter().map(|&dir| dir.to_owned()))
            .collect();
        for library in &links.needed {
            if !self.has_library(&directories, library)? {
                self.broken.push(Broken {
                    path: path.to_owned(),
                    wants: library.clone(),
                    how: How::Library,
                });
            }
        }
        Ok(())
    }

    fn has_library(&self, directories: &[String], library: &str) -> Result<bool, ObjectError> {
        for directory in directories {
            if self.exists(&format!("{directory}/{library}"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn require(
        &mut self,
        path: String,
        leads_to: &str,
        wants: String,
        how: How,
    ) -> Result<(), ObjectError> {
        let place = paths::normalise(leads_to);
        let at_run_time = RUN_TIME
            .iter()
            .any(|dir| place == *dir || place.starts_with(&format!("{dir}/")));
        if !at_run_time && !self.exists(leads_to)? {
            self.broken.push(Broken { path, wants, how });
        }
        Ok(())
    }

    fn exists(&self, path: &str) -> Result<bool, ObjectError> {
        Ok(paths::follow(self.objects, &self.root, path)?.is_some())
    }
}

fn read(
    reader: &mut dyn Read,
    limit: u64,
    bytes: &mut Vec<u8>,
    path: &str,
) -> Result<(), ObjectError> {
    let result = reader.take(limit).read_to_end(bytes);
    result.map(drop).map_err(|source| ObjectError::Io {
        what: format!("reading `{path}` for the link check"),
        source,
    })
}

/// The interpreter that the first line of a script names.
pub fn shebang(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}

/// What an ELF file refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ElfLinks {
    /// The program interpreter.
    pub loader: Option<String>,
    /// The libraries it needs, by name.
    pub needed: Vec<String>,
    /// Where it wants them looked for, DT_RUNPATH and DT_RPATH.
    pub run_path: Vec<String>,
}

/// Reads what a 64-bit little-endian ELF file refers to; `None` if it is none,
/// or damaged: whether it runs is then not a question of links.
pub fn elf_links(bytes: &[u8]) -> Option<ElfLinks> {
    let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let mut links = ElfLinks::default();
    for segment in segments {
        if let Ok(Some(loader)) = segment.interpreter(endian, bytes) {
            links.loader = Some(String::from_utf8_lossy(loader).into_owned());
        }
        if let Ok(Some(dynamic)) = segment.dynamic(endian, bytes) {
            read_dynamic(&mut links, header, bytes, dynamic)?;
        }
    }
    Some(links)
}

fn read_dynamic(
    links: &mut ElfLinks,
    header: &FileHeader64<LittleEndian>,
    bytes: &[u8],
    dynamic: &[elf::Dyn64<LittleEndian>],
) -> Option<()> {
    let endian = LittleEndian;
    let value = |tag: elf::DynamicTag| {
        let found = dynamic.iter().find(|entry| entry.tag(endian) == tag);
        found.map(|entry| entry.d_val(endian))
    };
    let (address, size) = (value(elf::DT_STRTAB)?, value(elf::DT_STRSZ)?);
    let segments = header.program_headers(endian, bytes).ok()?;
    let strings = segments
        .iter()
        .find_map(|segment| segment.data_range(endian, bytes, address, size).ok()?)?;
    let text = |offset: u64| {
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|&b| b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    for entry in dynamic {
        let value = text(entry.d_val(endian));
        match (entry.tag(endian), value) {
            (elf::DT_NEEDED, Some(name)) => links.needed.push(name),
            (elf::DT_RUNPATH | elf::DT_RPATH, Some(list)) => {
                links.run_path.extend(list.split(':').map(str::to_owned));
            }
            (elf::DT_NULL, _) => break,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use kiln_store::mutable::{MutableDirectory, MutableNode};
    use kiln_store::objects::Memory;
    use kiln_store::tree::Name;

    use super::super::fixture::{file, tree};
    use super::*;

    /// The smallest ELF file with these links: a header, three segments, a
    /// dynamic section and its strings.
    fn elf(loader: &str, needed: &[&str], run_path: &str) -> Vec<u8> {
        const HEADERS: u64 = 64 + 3 * 56;
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let at = strings.len() as u64;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let loader_at = string(loader);
        let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|name| (1, string(name))).collect();
        if !run_path.is_empty() {
            dynamic.push((29, string(run_path)));
        }
        let dynamic_at = HEADERS + strings.len().next_multiple_of(8) as u64;
        dynamic.extend([(5, HEADERS), (10, strings.len() as u64), (0, 0)]);
        let end = dynamic_at + 16 * dynamic.len() as u64;

        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        let half = |bytes: &mut Vec<u8>, value: u16| bytes.extend(value.to_le_bytes());
        half(&mut bytes, 3);
        half(&mut bytes, 62);
        bytes.extend(1_u32.to_le_bytes());
        for value in [0, 64, 0_u64] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for value in [64, 56, 3, 64, 0, 0] {
            half(&mut bytes, value);
        }
        let loader_size = match loader {
            "" => 0,
            loader => loader.len() as u64 + 1,
        };
        for (kind, at, size) in [
            (1_u32, 0, end),
            (
                if loader.is_empty() { 0 } else { 3 },
                HEADERS + loader_at,
                loader_size,
            ),
            (2, dynamic_at, end - dynamic_at),
        ] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(4_u32.to_le_bytes());
            for value in [at, at, at, size, size, 8_u64] {
                bytes.extend(value.to_le_bytes());
            }
        }
        bytes.extend(&strings);
        bytes.resize(dynamic_at as usize, 0);
        for (tag, value) in dynamic {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    /// Checks a tree of these lines, and of these binary files beside them.
    fn check(lines: &[&str], files: &[(&str, Vec<u8>)], expected: &[&str]) {
        let objects = Memory::default();
        let tree = tree(&objects, lines);
        let mut root = MutableDirectory::open(&objects, &tree).expect("memory");
        for (path, content) in files {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let directory = paths::directory(&objects, &mut root, parent).expect("a directory");
            let node = MutableNode::Leaf(file(&objects, content, true));
            directory
                .entries
                .insert(Name::new(name).expect("a name"), node);
        }
        let tree = root.freeze(&objects).expect("memory");
        let broken = super::check(&objects, &tree).expect("memory");
        let got: Vec<_> = broken.iter().map(ToString::to_string).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn reads_what_an_elf_file_refers_to() {
        let links = elf_links(&elf("/lib/ld.so", &["a.so", "b.so"], "$ORIGIN/../lib:/opt"));
        let expected = ElfLinks {
            loader: Some("/lib/ld.so".to_owned()),
            needed: texts(&["a.so", "b.so"]),
            run_path: texts(&["$ORIGIN/../lib", "/opt"]),
        };
        assert_eq!(links, Some(expected));
        assert_eq!(elf_links(b"\x7fELF"), None);
        let whole = elf("/lib/ld.so", &["a.so"], "");
        for length in 0..whole.len() {
            // Whatever is cut off, it ends.
            let _ = elf_links(&whole[..length]);
        }
    }

    #[test]
    fn reads_this_very_program() {
        let this = std::fs::read("/proc/self/exe").expect("it runs");
        let links = elf_links(&this).expect("it is an ELF file");
        assert!(
            links.needed.iter().any(|name| name.starts_with("libc.")),
            "{links:?}"
        );
        assert!(links.loader.is_some_and(|loader| loader.starts_with('/')));
    }

    #[test]
    fn names_loaders_and_libraries_that_are_missing() {
        let program = elf("/lib/ld.so", &["a.so", "b.so"], "$ORIGIN/../priv");
        check(
            &["usr/lib/a.so = 1", "priv/b.so = 1"],
            &[("bin/x", program.clone())],
            &["`/bin/x` is loaded by `/lib/ld.so`, which is not there"],
        );
        check(
            &[
                "lib -> usr/lib",
                "usr/lib/ld.so -> real.so",
                "usr/lib/real.so = 1",
            ],
            &[("bin/x", program)],
            &[
                "`/bin/x` needs the library `a.so`, which is not there",
                "`/bin/x` needs the library `b.so`, which is not there",
            ],
        );
        check(&[], &[("bin/static", elf("", &[], ""))], &[]);
    }

    #[test]
    fn names_interpreters_that_are_missing() {
        check(
            &[
                "a* = #! /bin/sh -e\nx",
                "b = #!/bin/sh\n",
                "c* = #!/usr/bin/env x",
            ],
            &[],
            &[
                "`/a` is run by `/bin/sh`, which is not there",
                "`/c` is run by `/usr/bin/env`, which is not there",
            ],
        );
        check(
            &["a* = #!/bin/sh", "bin -> usr/bin", "usr/bin/sh* = s"],
            &[],
            &[],
        );
        // No interpreter is named.
        check(&["a* = #!\n", "b* = # !/bin/sh", "c* = "], &[], &[]);
    }

    #[test]
    fn names_links_that_lead_nowhere() {
        check(
            &[
                "a -> b",
                "b -> a",
                "c -> ../../d/e",
                "d/e = 1",
                "f -> /nowhere",
                "g -> /run/x",
                "h -> proc/../dev/x",
                "i -> ./running",
            ],
            &[],
            &[
                "`/a` links to `b`, which is not there",
                "`/b` links to `a`, which is not there",
                "`/f` links to `/nowhere`, which is not there",
                "`/i` links to `./running`, which is not there",
            ],
        );
        // `..` is where the link before it led, as the kernel sees it.
        check(
            &[
                "x -> deep/down",
                "deep/down/z = 1",
                "deep/y = 1",
                "l -> x/../y",
                "m -> x/../z",
            ],
            &[],
            &["`/m` links to `x/../z`, which is not there"],
        );
    }
}
