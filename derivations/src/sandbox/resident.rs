//! Programs that stay in memory while a sandbox with an emulator lasts.
//!
//! An emulator translates a program's code when it first runs, and forgets it when
//! the process ends: of compiling a small file, nine tenths of the time. So a few
//! programs are *resident*. What the kernel starts in place of one is a client,
//! a native program, which hands its arguments, environment, directory and open
//! files to a server: the very program, loaded once in the emulator, with a library
//! that takes `main` for each request back to where it first began.
//! `derivations/recipes/emulation/` has both and says how.
//!
//! What is not known here: how a program is registered, and what it does.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::bwrap::sealed;
use super::request::Resident;

/// Bytes of an ELF header: where its parts lie in the file is all but a
/// fingerprint of a large program. Another one that starts alike is served too,
/// by a server of its own.
pub(super) const HEAD: usize = 64;

/// How a program starts.
pub(super) type Head = [u8; HEAD];

/// What the client looks for at its own end. The three numbers before it: where
/// the emulator, the server and this trailer begin.
const MAGIC: &[u8; 16] = b"kiln resident 1\n";

/// How the resident programs start that `sources` have, a build root or inputs.
pub(super) fn heads<'a>(resident: &Resident, sources: impl Iterator<Item = &'a Path>) -> Vec<Head> {
    let mut heads = Vec::new();
    for source in sources {
        for name in &resident.programs {
            // Most inputs have no such program.
            if let Ok(head) = head(source, name)
                && !heads.contains(&head)
            {
                heads.push(head);
            }
        }
    }
    heads
}

/// How a program in `bin` starts. Links lead where they do in the sandbox: in a build
/// root some are absolute.
fn head(source: &Path, name: &str) -> io::Result<Head> {
    let source = File::open(source)?;
    let path = Path::new("bin").join(name);
    let (how, resolve) = (OFlags::RDONLY | OFlags::CLOEXEC, ResolveFlags::IN_ROOT);
    let mut program = File::from(openat2(source, path, how, Mode::empty(), resolve)?);
    let mut head = [0; HEAD];
    program.read_exact(&mut head)?;
    Ok(head)
}

/// The client, with what it starts a server from behind it: in a sandbox nothing
/// of it has a path.
pub(super) fn client(resident: &Resident, emulator: &Path) -> io::Result<OwnedFd> {
    sealed("resident", |file| {
        let mut ends = [0; 3];
        let parts = [resident.client.as_path(), emulator, &resident.server];
        for (part, end) in parts.into_iter().zip(&mut ends) {
            io::copy(&mut File::open(part)?, file)?;
            *end = file.stream_position()?;
        }
        for end in ends {
            file.write_all(&end.to_le_bytes())?;
        }
        file.write_all(MAGIC)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_program_is_known_by_its_first_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let mounts = ["tools", "sources", "stubs"].map(|name| directory.path().join(name));
        for (mount, bytes) in mounts.iter().zip([100, 0, 63]) {
            fs::create_dir_all(mount.join("bin")).unwrap();
            let program: Vec<u8> = (0..bytes).collect();
            if bytes > 0 {
                fs::write(mount.join("bin/clang"), program).unwrap();
            }
        }
        fs::write(mounts[0].join("bin/lld-1"), [9; HEAD]).unwrap();
        symlink("/bin/lld-1", mounts[0].join("bin/lld")).unwrap();
        let resident = Resident {
            client: "/client".into(),
            server: "/server".into(),
            programs: vec!["clang".to_owned(), "lld".to_owned()],
        };
        let found = heads(&resident, mounts.iter().map(|it| it.as_path()));
        assert_eq!(found, [std::array::from_fn(|index| index as u8), [9; HEAD]]);
    }

    #[test]
    fn the_client_ends_with_where_its_parts_end() {
        let directory = tempfile::tempdir().unwrap();
        let [client_part, emulator, server] = ["one", "two and", "three"].map(|text| {
            let path = directory.path().join(text);
            fs::write(&path, text).unwrap();
            path
        });
        let resident = Resident {
            client: client_part,
            server,
            programs: Vec::new(),
        };
        let mut file = File::from(client(&resident, &emulator).unwrap());
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let ends = [3u64, 10, 15].map(u64::to_le_bytes).concat();
        let expected = [b"onetwo andthree".as_slice(), &ends, MAGIC].concat();
        assert_eq!(bytes, expected);
    }
}
