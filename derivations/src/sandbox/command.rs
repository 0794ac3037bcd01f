//! The contract as bubblewrap's options: a pure function from a request.
//!
//! ```text
//! /            build root, read-only
//! ├── build    writable, the request's          ├── tmp   tmpfs, sized
//! ├── out      writable, the request's          ├── dev   bubblewrap's minimal one, read-only
//! ├── src sysroot toolchain   inputs, read-only │   └── shm   tmpfs, sized
//! └── in       tmpfs, read-only; /in/NAME       └── proc  fresh, read-only as a whole
//! ```
//!
//! All of `/proc` is read-only, not only `/proc/sys`: bubblewrap's pid 1 runs
//! without the seccomp filter and as the builder's uid, and could otherwise be
//! taken over through `/proc/1/mem`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::request::SandboxRequest;

/// The host name inside.
pub const HOST_NAME: &str = "kiln";

/// Every option that kiln uses: a bubblewrap that lacks one is not used.
pub const OPTIONS: &[&str] = &[
    "--args",
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup",
    "--unshare-net",
    "--disable-userns",
    "--uid",
    "--gid",
    "--hostname",
    "--cap-drop",
    "--clearenv",
    "--setenv",
    "--new-session",
    "--as-pid-1",
    "--die-with-parent",
    "--ro-bind",
    "--bind",
    "--proc",
    "--dev",
    "--tmpfs",
    "--perms",
    "--size",
    "--remount-ro",
    "--chdir",
    "--seccomp",
    "--json-status-fd",
    "--block-fd",
];

/// The descriptors that bubblewrap is started with.
pub(super) mod fd {
    use std::os::fd::RawFd;

    /// [`super::options`], each ended by NUL.
    pub(crate) const ARGUMENTS: RawFd = 3;
    /// The seccomp program.
    pub(crate) const FILTER: RawFd = 4;
    /// Where bubblewrap reports pid 1 and the exit status.
    pub(crate) const STATUS: RawFd = 5;
    /// What bubblewrap waits for before it starts the builder.
    pub(crate) const GO: RawFd = 6;
}

#[derive(Default)]
struct Options(Vec<OsString>);

impl Options {
    fn add(&mut self, option: &str, values: &[&dyn ToOsString]) {
        debug_assert!(OPTIONS.contains(&option), "{option} is not probed for");
        self.0.push(option.into());
        self.0
            .extend(values.iter().map(|value| value.to_os_string()));
    }

    fn tmpfs(&mut self, place: &str, mode: &str, size_bytes: u64) {
        self.add("--perms", &[&mode]);
        self.add("--size", &[&size_bytes.to_string()]);
        self.add("--tmpfs", &[&place]);
    }
}

trait ToOsString {
    fn to_os_string(&self) -> OsString;
}

impl<T: AsRef<std::ffi::OsStr>> ToOsString for T {
    fn to_os_string(&self) -> OsString {
        self.as_ref().into()
    }
}

/// The options that make the namespaces and take the privileges away.
fn isolation(options: &mut Options, id: u32, host_name: &str) {
    for namespace in ["user", "pid", "ipc", "uts", "cgroup", "net"] {
        options.add(&format!("--unshare-{namespace}"), &[]);
    }
    let id = id.to_string();
    options.add("--uid", &[&id]);
    options.add("--gid", &[&id]);
    options.add("--disable-userns", &[]);
    options.add("--cap-drop", &[&"ALL"]);
    options.add("--die-with-parent", &[]);
    options.add("--hostname", &[&host_name]);
    options.add("--clearenv", &[]);
}

/// Where random bytes are read from.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// All options for `request`; the descriptors are those of [`fd`].
pub(super) fn options(request: &SandboxRequest) -> Vec<OsString> {
    let mut options = Options::default();
    let variation = &request.variation;
    let id = variation.id.unwrap_or_else(|| request.identity.id());
    let host_name = variation.host_name.as_deref().unwrap_or(HOST_NAME);
    isolation(&mut options, id, host_name);
    options.add("--new-session", &[]);
    if request.terminal.is_some() {
        options.add("--as-pid-1", &[]);
    }
    for (name, value) in &request.env {
        options.add("--setenv", &[name, value]);
    }
    filesystem(&mut options, request);
    options.add("--chdir", &[&work_dir(request)]);
    options.add("--seccomp", &[&fd::FILTER.to_string()]);
    options.add("--json-status-fd", &[&fd::STATUS.to_string()]);
    options.add("--block-fd", &[&fd::GO.to_string()]);
    options.0
}

fn work_dir(request: &SandboxRequest) -> String {
    match &request.variation.work_dir {
        Some(name) => format!("/build/{name}"),
        None => "/build".to_owned(),
    }
}

fn filesystem(options: &mut Options, request: &SandboxRequest) {
    let scratch_bytes = request.limits.memory_bytes / 2;
    options.add("--ro-bind", &[&request.root, &"/"]);
    options.add("--proc", &[&"/proc"]);
    options.add("--dev", &[&"/dev"]);
    options.tmpfs("/dev/shm", "1777", scratch_bytes);
    options.tmpfs("/tmp", "1777", scratch_bytes);
    options.add("--bind", &[&request.build_dir, &"/build"]);
    options.add("--bind", &[&request.out_dir, &"/out"]);
    // Always there, so that the mounts do not tell whether an input is.
    options.tmpfs("/in", "0755", 1 << 20);
    let mut mounts: Vec<_> = request.mounts.iter().collect();
    mounts.sort_by(|a, b| a.at.cmp(&b.at));
    for mount in mounts {
        options.add("--ro-bind", &[&mount.source, &mount.at.to_string()]);
    }
    for (source, at) in &request.variation.mounts {
        options.add("--ro-bind", &[source, &at.to_string()]);
    }
    if let Some(random) = &request.variation.random {
        for place in RANDOM {
            options.add("--ro-bind", &[random, &place]);
        }
    }
    for place in ["/in", "/dev", "/proc"] {
        options.add("--remount-ro", &[&place]);
    }
}

/// What bubblewrap starts.
///
/// With a terminal a shell goes between. Only the leader of a session can make
/// a terminal the session's, and with `--as-pid-1` that is what bubblewrap
/// starts: it does so by opening its input once more. The keys for interrupt
/// and stop then reach what is in the sandbox and nothing else; the shell traps
/// them, so that it is the program that answers.
pub(super) fn words(request: &SandboxRequest) -> Vec<OsString> {
    if request.variation.processes_before > 0 {
        return after_others(request);
    }
    if request.terminal.is_none() {
        return request.argv.clone();
    }
    let take = "trap : INT QUIT; exec 0<>/dev/stdin 1>&0 2>&0; \"$@\"; exit $?";
    let shell = ["/bin/sh", "-c", take, "session"].map(OsString::from);
    shell
        .into_iter()
        .chain(request.argv.iter().cloned())
        .collect()
}

/// A shell that starts and ends other processes, and then the builder. It stays
/// until the builder ends: the program of pid 2 is what bubblewrap waits for.
fn after_others(request: &SandboxRequest) -> Vec<OsString> {
    let count = request.variation.processes_before;
    let others =
        format!("i=0; while [ $i -lt {count} ]; do (:); i=$((i+1)); done; \"$@\"; exit $?");
    let shell = [
        "/bin/sh".into(),
        "-c".into(),
        others.into(),
        "before".into(),
    ];
    shell
        .into_iter()
        .chain(request.argv.iter().cloned())
        .collect()
}

/// A sandbox around the host's own files that starts `program`: shows that
/// this bubblewrap and this kernel can do what the contract needs.
pub(super) fn trial_options() -> Vec<OsString> {
    let mut options = Options::default();
    isolation(&mut options, 1000, HOST_NAME);
    options.add("--new-session", &[]);
    options.add("--ro-bind", &[&"/", &"/"]);
    options.add("--proc", &[&"/proc"]);
    options.add("--dev", &[&"/dev"]);
    options.tmpfs("/dev/shm", "1777", 1 << 20);
    options.add("--remount-ro", &[&"/dev"]);
    options.add("--remount-ro", &[&"/proc"]);
    options.add("--chdir", &[&"/"]);
    options.add("--seccomp", &[&fd::FILTER.to_string()]);
    options.add("--json-status-fd", &[&fd::STATUS.to_string()]);
    options.add("--block-fd", &[&fd::GO.to_string()]);
    options.0
}

/// Options as `--args` reads them.
pub(super) fn nul_terminated(options: Vec<OsString>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in options {
        bytes.extend(option.into_vec());
        bytes.push(0);
    }
    bytes
}
