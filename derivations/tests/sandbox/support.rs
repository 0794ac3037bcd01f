//! A build root made of the host's own shell, and requests for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use kiln_derivations::derivation::Target;
use kiln_derivations::sandbox::seccomp::Architecture;
use kiln_derivations::sandbox::{
    self, Bwrap, CancelToken, Emulator, Exit, HostUser, Identity, Limits, Mount, Outcome,
    SandboxError, SandboxRequest, Variation,
};

/// An id that no user of a host has.
pub(crate) const UNUSED_ID: u32 = 61_235;

const PROGRAMS: &[&str] = &[
    "cat", "chmod", "cp", "dd", "env", "head", "id", "kill", "ln", "ls", "mkdir", "mkfifo", "mv",
    "printf", "readlink", "rm", "sed", "sh", "sleep", "sort", "stat", "stty", "tail", "touch",
    "tr", "true", "uname", "wc",
];

/// What the contract's skeleton holds, as far as these tests need it.
const SKELETON: &[&str] = &[
    "src",
    "sysroot",
    "toolchain",
    "build",
    "out",
    "tmp",
    "proc",
    "dev",
    "in",
    "etc",
    "bin",
];

/// One sandbox to be: a root, `/build`, `/out`, and a request for them.
pub(crate) struct Kiln {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) request: SandboxRequest,
}

/// What a run gave.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) log: String,
}

pub(crate) fn is_root() -> bool {
    // SAFETY: takes and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// What `KILN_TEST_BWRAP` names, else the host's, else the pinned one: a program,
/// or a directory that holds a whole root with bubblewrap. A test without fails.
pub(crate) fn bwrap_place() -> PathBuf {
    if let Some(path) = std::env::var_os("KILN_TEST_BWRAP") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match Bwrap::in_path(&path) {
        Some(bwrap) => bwrap.program().into(),
        None => crate::pinned::root().into(),
    }
}

/// The bubblewrap to test with.
pub(crate) fn bwrap() -> Bwrap {
    let place = bwrap_place();
    let found = if place.is_dir() {
        Bwrap::pinned(&place)
    } else {
        Bwrap::host(&place)
    };
    found.expect("bubblewrap is there")
}

/// A root with bubblewrap in it, as composed from a distribution's packages:
/// only files, and links that stay within. It belongs to the builder's uid.
pub(crate) fn pinned_root(kiln: &Kiln) -> PathBuf {
    let (place, root) = (bwrap_place(), kiln.directory.path().join("pinned"));
    if place.is_dir() {
        let copied = Command::new("cp")
            .arg("-a")
            .args([&place, &root])
            .status()
            .unwrap();
        assert!(copied.success());
    } else {
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::copy(&place, root.join("usr/bin/bwrap")).unwrap();
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        fs::create_dir_all(root.join(&libraries)).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        for library in libraries_of(&place) {
            let name = library.file_name().unwrap();
            fs::copy(&library, root.join(&libraries).join(name)).unwrap();
        }
    }
    kiln.hand_over(&root);
    root
}

impl Kiln {
    /// A request that runs `script` with the shell.
    pub(crate) fn script(script: &str) -> Kiln {
        Kiln::new(&["/bin/sh", "-c", script])
    }

    /// A request that runs an attack of [`crate::attacker`].
    pub(crate) fn attack(name: &str) -> Kiln {
        let mut kiln = Kiln::new(&["/bin/attacker"]);
        kiln.request.env.insert("KILN_ATTACK".into(), name.into());
        kiln
    }

    pub(crate) fn new(argv: &[&str]) -> Kiln {
        let directory = tempfile::Builder::new()
            .prefix("kiln-sandbox-")
            .tempdir()
            .unwrap();
        let place = |name: &str| directory.path().join(name);
        for name in ["root", "build", "outputs"] {
            fs::create_dir(place(name)).unwrap();
        }
        fill_root(&place("root"));
        let request = SandboxRequest {
            root: place("root"),
            mounts: Vec::new(),
            build_dir: place("build"),
            out_dir: place("outputs"),
            argv: argv.iter().map(OsString::from).collect(),
            env: BTreeMap::from([("PATH".into(), "/bin".into())]),
            identity: Identity::Builder,
            limits: Limits {
                memory_bytes: 512 << 20,
                processes: 64,
                output_bytes: 64 << 20,
                log_bytes: 1 << 20,
                wall_s: 30,
                silence_s: 20,
                hard: false,
            },
            host_user: is_root().then_some(HostUser {
                uid: UNUSED_ID,
                gid: UNUSED_ID,
            }),
            terminal: None,
            variation: Variation::default(),
            emulator: None,
        };
        let kiln = Kiln { directory, request };
        kiln.hand_over(kiln.directory.path());
        kiln
    }

    /// Lets the sandbox run programs of the other platform as well.
    pub(crate) fn with_emulator(mut self) -> Kiln {
        let foreign = crate::pinned::foreign();
        let program = format!("qemu-user/usr/bin/qemu-{foreign}");
        self.request.emulator = Some(Emulator {
            architecture: match foreign {
                Target::X86_64 => Architecture::X86_64,
                Target::Aarch64 => Architecture::Aarch64,
            },
            interpreter: crate::pinned::emulation().join(program),
            resident: None,
        });
        self
    }

    /// A script of a builder of the other platform, in a build root of that.
    pub(crate) fn emulated(script: &str) -> Kiln {
        let mut kiln = Kiln::script(script).with_emulator();
        let root = kiln.directory.path().join("foreign");
        let copied = Command::new("cp")
            .arg("-a")
            .args([&crate::pinned::emulation().join("base"), &root])
            .status()
            .unwrap();
        assert!(copied.success());
        kiln.hand_over(&root);
        kiln.request.root = root;
        kiln.with("PATH", "/usr/bin")
    }

    /// Mounts a directory with one file in it.
    pub(crate) fn with_input(mut self, at: &str, file: &str, content: &str) -> Kiln {
        let source = self.directory.path().join(at.replace('/', "_"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join(file), content).unwrap();
        self.hand_over(&source);
        self.request.mounts.push(Mount {
            source,
            at: at.parse().unwrap(),
        });
        self
    }

    /// As root, gives a tree to the uid that the sandbox runs as.
    pub(crate) fn hand_over(&self, path: &Path) {
        if path.is_dir() && !path.is_symlink() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            for entry in fs::read_dir(path).unwrap() {
                self.hand_over(&entry.unwrap().path());
            }
        }
        if is_root() && !path.is_symlink() {
            chown(path, Some(UNUSED_ID), Some(UNUSED_ID)).unwrap();
        }
    }

    pub(crate) fn run(&self) -> Run {
        self.try_run(&CancelToken::new().unwrap()).unwrap()
    }

    pub(crate) fn try_run(&self, cancel: &CancelToken) -> Result<Run, SandboxError> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        let mut output = move |bytes: &[u8]| {
            sink.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        };
        let outcome = sandbox::run(&bwrap(), &self.request, &mut output, cancel)?;
        let log = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
        Ok(Run { outcome, log })
    }

    /// Runs and gives the log of a success.
    pub(crate) fn succeed(&self) -> String {
        let run = self.run();
        assert_eq!(run.outcome.exit, Exit::Success, "{}", run.log);
        run.log
    }

    /// Adds a variable, by which a test tells an attacker its target.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Kiln {
        self.request.env.insert(name.into(), value.into());
        self
    }
}

fn fill_root(root: &Path) {
    for name in SKELETON {
        fs::create_dir(root.join(name)).unwrap();
    }
    let passwd = "root:x:0:0::/build:/bin/sh\nbuilder:x:1000:1000::/build:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nbuilder:x:1000:\n").unwrap();
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    for name in PROGRAMS {
        let on_host = ["/usr/bin", "/bin"]
            .iter()
            .map(|bin| Path::new(bin).join(name));
        let program = on_host.into_iter().find(|path| path.exists());
        let program = program.unwrap_or_else(|| panic!("the tests need {name} in /usr/bin"));
        install(
            root,
            &fs::canonicalize(program).unwrap(),
            &format!("bin/{name}"),
        );
    }
    install(root, &std::env::current_exe().unwrap(), "bin/attacker");
}

/// Copies a program and its libraries.
fn install(root: &Path, program: &Path, name: &str) {
    fs::copy(program, root.join(name)).unwrap();
    fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o555)).unwrap();
    for library in libraries_of(program) {
        let copy = root.join(library.strip_prefix("/").unwrap());
        if !copy.exists() {
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(library, copy).unwrap();
        }
    }
}

/// The loader and the libraries that `ldd` names.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let ldd = Command::new("ldd")
        .arg(program)
        .output()
        .expect("the tests need ldd (libc-bin)");
    let text = String::from_utf8(ldd.stdout).unwrap();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths
        .map(|path| PathBuf::from(path.trim_end_matches(':')))
        .filter(|path| path.is_file())
        .collect()
}
