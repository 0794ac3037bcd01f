//! What a sandbox is asked for, and what it answers: plain data.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::error::BadRequest;
use super::seccomp::Architecture;
use super::variation::Variation;

/// One build, as the sandbox sees it.
#[derive(Debug, Clone)]
pub struct SandboxRequest {
    /// The materialised build root. MUST hold real, empty directories `/src
    /// /sysroot /toolchain /build /out /tmp /proc /dev /in`, and MUST be
    /// reachable by the uid under which bubblewrap runs. Mounted read-only at `/`.
    pub root: PathBuf,
    /// The inputs. Every place MUST appear once. Mounted read-only.
    pub mounts: Vec<Mount>,
    /// A directory that the running uid MUST own; mounted writable at `/build`.
    pub build_dir: PathBuf,
    /// A directory that the running uid MUST own; mounted writable at `/out`.
    pub out_dir: PathBuf,
    /// What runs. The first word MUST be an absolute path inside the sandbox.
    pub argv: Vec<OsString>,
    /// The whole environment: nothing is added to it but `PWD=/build`, which
    /// MUST NOT be given another value.
    pub env: BTreeMap<String, String>,
    /// The uid and gid seen inside.
    pub identity: Identity,
    /// What the build may use up on its own platform's machine; see
    /// [`SandboxRequest::limits_in_force`].
    pub limits: Limits,
    /// The uid and gid bubblewrap is started as. MUST be given, non-zero and
    /// used by nothing else when the caller is root; MUST be `None` otherwise.
    pub host_user: Option<HostUser>,
    /// A terminal to run on (`kiln shell`); `None` for a build.
    pub terminal: Option<Terminal>,
    /// What is not as the contract has it; nothing, for a build.
    pub variation: Variation,
    /// What programs of another architecture than the machine's run in. MUST be
    /// given if `argv` or what it starts is such a program.
    pub emulator: Option<Emulator>,
}

/// A user-mode emulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulator {
    /// What it runs programs of. MUST NOT be the machine's own.
    pub architecture: Architecture,
    /// A static program of the machine's own architecture; MUST be an absolute
    /// path. It takes the program to be run as binfmt_misc's flags `O` and `P`
    /// give it, as QEMU does since 6.0.
    pub interpreter: PathBuf,
    /// Programs that stay in memory from one use to the next.
    pub resident: Option<Resident>,
}

impl Emulator {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let resident = self.resident.iter();
        let resident = resident.flat_map(|it| [&it.client, &it.server]);
        std::iter::once(&self.interpreter).chain(resident)
    }
}

/// Programs that an emulator need not start, and translate, anew for each use:
/// a server of each runs in the sandbox, and a client takes the program's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// A static program of the machine's own architecture; MUST be an absolute
    /// path, and of the same build as `server`.
    pub client: PathBuf,
    /// A library of the emulator's architecture, which makes a server of the
    /// program that it is loaded into; MUST be an absolute path.
    pub server: PathBuf,
    /// Their names in `bin` of the root or a mount; MUST be linked dynamically.
    pub programs: Vec<String>,
}

/// An unused, non-zero uid and gid of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostUser {
    /// MUST NOT be 0.
    pub uid: u32,
    /// MUST NOT be 0.
    pub gid: u32,
}

/// The uid and gid as seen inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// 1000:1000.
    #[default]
    Builder,
    /// 0:0, without a single capability: for tools that copy the uid they see.
    Root,
}

impl Identity {
    /// The number that stands for both uid and gid.
    pub fn id(self) -> u32 {
        match self {
            Identity::Builder => 1000,
            Identity::Root => 0,
        }
    }
}

/// An input and where it is seen.
#[derive(Debug, Clone)]
pub struct Mount {
    /// A materialised tree or file of the host; MUST be an absolute path.
    pub source: PathBuf,
    /// Where it is mounted.
    pub at: MountPoint,
}

/// A place that the contract keeps for inputs: no other path can be mounted on,
/// so no input's symlink is ever a mount target and no mount lies in another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountPoint {
    /// `/src`
    Src,
    /// `/sysroot`
    Sysroot,
    /// `/toolchain`
    Toolchain,
    /// `/in/NAME`
    In(InputName),
}

/// The NAME of `/in/NAME`: one path component of letters, digits and `._+-`,
/// not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputName(String);

impl InputName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, BadRequest> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let good =
            (1..=255).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits);
        good.then(|| InputName(name.into()))
            .ok_or_else(|| BadRequest::MountPoint(format!("/in/{name}")))
    }
}

impl FromStr for MountPoint {
    type Err = BadRequest;

    fn from_str(path: &str) -> Result<Self, BadRequest> {
        match path {
            "/src" => Ok(MountPoint::Src),
            "/sysroot" => Ok(MountPoint::Sysroot),
            "/toolchain" => Ok(MountPoint::Toolchain),
            _ => match path.strip_prefix("/in/") {
                Some(name) => Ok(MountPoint::In(InputName::new(name)?)),
                None => Err(BadRequest::MountPoint(path.into())),
            },
        }
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountPoint::Src => f.write_str("/src"),
            MountPoint::Sysroot => f.write_str("/sysroot"),
            MountPoint::Toolchain => f.write_str("/toolchain"),
            MountPoint::In(name) => write!(f, "/in/{}", name.0),
        }
    }
}

/// What a build may use up. Passing one ends the build with [`Exit::Limit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all processes together; `/tmp` and `/dev/shm` count and are
    /// each at most half of it.
    pub memory_bytes: u64,
    /// Processes and threads alive at one time, bubblewrap's own one included.
    pub processes: u32,
    /// Disk space of `/build` and `/out` together.
    pub output_bytes: u64,
    /// Bytes of standard output and error; the log is cut there.
    pub log_bytes: u64,
    /// Wall time.
    pub wall_s: u64,
    /// Time without a byte of output; 0 turns it off.
    pub silence_s: u64,
    /// Refuse to run where memory and processes can only be polled.
    pub hard: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 8 << 30,
            processes: 2048,
            output_bytes: 32 << 30,
            log_bytes: 64 << 20,
            wall_s: 6 * 3600,
            silence_s: 3600,
            hard: false,
        }
    }
}

/// The limit that ended a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::memory_bytes`]
    Memory,
    /// [`Limits::processes`]
    Processes,
    /// [`Limits::output_bytes`]
    Output,
    /// [`Limits::log_bytes`]
    Log,
    /// [`Limits::wall_s`]
    Wall,
    /// [`Limits::silence_s`]
    Silence,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Memory => "memory",
            Limit::Processes => "processes",
            Limit::Output => "output size",
            Limit::Log => "log size",
            Limit::Wall => "wall time",
            Limit::Silence => "silence",
        })
    }
}

/// How memory and processes are held within their limits on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitTier {
    /// A delegated cgroup v2: the kernel refuses what is over the limit.
    Cgroup,
    /// `/proc` is polled and the sandbox killed: a burst may pass the limit
    /// for some milliseconds. The number of processes is still the kernel's.
    Polling,
}

impl fmt::Display for LimitTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitTier::Cgroup => "cgroup v2",
            LimitTier::Polling => "polling",
        })
    }
}

/// The user's terminal, for a sandbox that is worked in by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Where keys come from; MUST stay open for the whole run.
    pub input: std::os::fd::RawFd,
    /// Where output goes; MUST stay open for the whole run.
    pub output: std::os::fd::RawFd,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Status 0.
    Success,
    /// Another exit status.
    Code(i32),
    /// Ended by a signal, or with the status by which a shell reports one
    /// (128 + n): bubblewrap does not tell the two apart.
    Signal(i32),
    /// A limit was passed and the sandbox killed.
    Limit(Limit),
    /// [`super::CancelToken::cancel`] was called and the sandbox killed.
    Cancelled,
    /// The sandbox could not be set up or the program not be started; nothing
    /// of the builder ran. The text is bubblewrap's.
    Setup(String),
}

/// What a run was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub exit: Exit,
    /// From the start of bubblewrap until the last process was gone.
    pub wall: Duration,
    /// User and system time of all processes that were waited for, setup included,
    /// and of those that lived until they were killed.
    pub cpu: Duration,
    /// Largest resident set of any one process.
    pub peak_rss_bytes: u64,
    /// Bytes written to the log.
    pub log_bytes: u64,
    /// What held memory and processes.
    pub tier: LimitTier,
}

/// How much longer than on its own machine a builder may take in an emulator:
/// compilers were seen to take up to 33 times the CPU.
const EMULATED_TIMES: u64 = 40;
/// A resident clang was seen to take 350 MB, half of it for what was translated, and
/// for each job that runs at a time there is one or two.
const EMULATED_MEMORY_TIMES: u64 = 4;

impl SandboxRequest {
    /// What the build may use up here. The limits are those of the builder on
    /// its own platform's machine: an emulator adds a thread to each process,
    /// which the kernel counts, keeps what it translated beside each program, and
    /// takes its time.
    pub fn limits_in_force(&self) -> Limits {
        let limits = self.limits.clone();
        if self.emulator.is_none() {
            return limits;
        }
        Limits {
            memory_bytes: limits.memory_bytes.saturating_mul(EMULATED_MEMORY_TIMES),
            processes: limits.processes.saturating_mul(2),
            wall_s: limits.wall_s.saturating_mul(EMULATED_TIMES),
            silence_s: limits.silence_s.saturating_mul(EMULATED_TIMES),
            ..limits
        }
    }

    /// Checks what the fields MUST be, as far as it can be seen from the data.
    pub(super) fn check(&self, own_uid: u32) -> Result<(), BadRequest> {
        self.check_user(own_uid)?;
        self.check_program()?;
        self.check_paths()?;
        if let Some(emulator) = &self.emulator
            && Architecture::NATIVE == Some(emulator.architecture)
        {
            return Err(BadRequest::EmulatedNatively);
        }
        let limits = &self.limits;
        let zero = limits.memory_bytes == 0 || limits.processes == 0 || limits.wall_s == 0;
        if zero {
            Err(BadRequest::ZeroLimit)
        } else {
            Ok(())
        }
    }

    fn check_user(&self, own_uid: u32) -> Result<(), BadRequest> {
        match self.host_user {
            None if own_uid == 0 => Err(BadRequest::RootWithoutUser),
            Some(user) if user.uid == 0 || user.gid == 0 => Err(BadRequest::RootWithoutUser),
            Some(_) if own_uid != 0 => Err(BadRequest::UserWithoutRoot),
            _ => Ok(()),
        }
    }

    fn check_program(&self) -> Result<(), BadRequest> {
        use std::os::unix::ffi::OsStrExt;
        let Some(program) = self.argv.first() else {
            return Err(BadRequest::Program(OsString::new()));
        };
        if !Path::new(program).is_absolute() {
            return Err(BadRequest::Program(program.clone()));
        }
        if let Some(word) = self.argv.iter().find(|word| word.as_bytes().contains(&0)) {
            return Err(BadRequest::Program(word.clone()));
        }
        for (name, value) in &self.env {
            let bad_name = name.is_empty() || name.contains(['=', '\0']);
            let other_pwd = name == "PWD" && value != "/build";
            if bad_name || value.contains('\0') || other_pwd {
                return Err(BadRequest::Variable(name.clone()));
            }
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), BadRequest> {
        let fixed = [&self.root, &self.build_dir, &self.out_dir];
        let sources = self.mounts.iter().map(|mount| &mount.source);
        let emulator = self.emulator.iter().flat_map(Emulator::paths);
        for path in fixed.into_iter().chain(sources).chain(emulator) {
            if !path.is_absolute() {
                return Err(BadRequest::RelativePath(path.clone()));
            }
        }
        let mut places: Vec<_> = self.mounts.iter().map(|mount| &mount.at).collect();
        places.sort();
        match places.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(BadRequest::MountedTwice(pair[0].clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_the_contracts_own() {
        for good in [
            "/src",
            "/sysroot",
            "/toolchain",
            "/in/linux-6.1",
            "/in/a+b_c",
        ] {
            assert_eq!(good.parse::<MountPoint>().unwrap().to_string(), good);
        }
        let long = format!("/in/{}", "x".repeat(256));
        for bad in [
            "/", "/out", "/in", "/in/", "/in/.", "/in/..", "/in/a/b", "/in/a b", "src", &long,
        ] {
            assert!(bad.parse::<MountPoint>().is_err(), "{bad}");
        }
    }
}
