//! Attacks, judged from outside.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use std::time::Duration;

use kiln_derivations::sandbox::{Bwrap, CancelToken, Exit, Identity, Terminal, run};

use crate::shell::terminal;
use crate::support::{Kiln, bwrap, pinned_root};

/// Lines that say that something went through.
fn gone_through(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.ends_with(": ok")).collect()
}

pub(crate) fn assert_all_refused(log: &str) {
    assert_eq!(gone_through(log), Vec::<&str>::new(), "{log}");
    assert!(!log.is_empty());
}

/// The attack: read a file of the host that everyone may read.
#[test]
fn host_files_are_out_of_reach() {
    let host = tempfile::tempdir().unwrap();
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = host.path().join("secret");
    fs::write(&secret, "the secret").unwrap();
    let log = Kiln::attack("host-files")
        .with("SECRET", secret.to_str().unwrap())
        .succeed();
    assert_all_refused(&log);
    assert!(!log.contains("the secret"), "{log}");
}

/// The attack: end, trace or read a process of the host, by its pid there.
#[test]
fn host_processes_are_out_of_reach() {
    let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
    let log = Kiln::attack("host-processes")
        .with("VICTIM", &victim.id().to_string())
        .succeed();
    let alive = victim.try_wait().unwrap().is_none();
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(alive);
    assert_all_refused(&log);
    assert!(log.contains("processes: 2\n"), "itself and pid 1: {log}");
}

/// The attack: kill whatever can be seen.
#[test]
fn killing_everything_ends_only_the_sandbox() {
    let run = Kiln::attack("kill-all").run();
    assert_eq!(
        (run.outcome.exit, run.log.as_str()),
        (Exit::Signal(9), "before\n")
    );
}

/// The attack: reach servers of the host over every address it has, over
/// abstract sockets and by path.
#[test]
fn the_network_and_host_sockets_are_out_of_reach() {
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let udp = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    udp.set_nonblocking(true).unwrap();
    let name = format!("kiln-test-{}", std::process::id());
    let local = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    local.set_nonblocking(true).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = directory.path().join("socket");
    let by_path = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    by_path.set_nonblocking(true).unwrap();

    let log = Kiln::attack("network")
        .with("ADDRESSES", &host_addresses(port).join(" "))
        .with("ABSTRACT", &name)
        .with("SOCKET", path.to_str().unwrap())
        .succeed();
    assert_all_refused(&log);
    assert!(log.contains("interfaces: lo\n"), "{log}");
    assert!(tcp.accept().is_err() && local.accept().is_err() && by_path.accept().is_err());
    assert!(udp.recv(&mut [0; 8]).is_err());
}

/// Loopback and the address by which this host would reach others.
fn host_addresses(port: u16) -> Vec<String> {
    let mut addresses = vec![format!("127.0.0.1:{port}")];
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    if probe.connect("192.0.2.1:9").is_ok() {
        addresses.push(format!("{}:{port}", probe.local_addr().unwrap().ip()));
    }
    addresses
}

/// The attack: sockets that no network namespace bounds, or that make the
/// kernel load a module.
#[test]
fn foreign_socket_families_do_not_exist() {
    let log = Kiln::attack("sockets").succeed();
    assert_all_refused(&log);
    assert_eq!(log.matches("EAFNOSUPPORT").count(), 10, "{log}");
    assert!(
        log.contains("raw: EPERM\nsctp: EPROTONOSUPPORT\nuevent: EPROTONOSUPPORT\n"),
        "{log}"
    );
}

/// The attack: use a descriptor that kiln or bubblewrap forgot to close.
#[test]
fn three_descriptors_and_no_more() {
    let log = Kiln::attack("descriptors").succeed();
    let expected = "self: 0=/dev/null 1=pipe 2=pipe\n";
    assert!(log.starts_with(expected), "{log}");
    assert!(log.contains("\n1: 0=/dev/null 1=pipe 2=pipe"), "{log}");
    assert!(log.ends_with("0: 0\n1: 1\n2: 1\n"), "{log}");
}

/// The attack: write into the output after the build has ended.
#[test]
fn nothing_writes_after_the_end() {
    for close in [false, true] {
        let mut kiln = Kiln::attack("outlive");
        if close {
            kiln = kiln.with("CLOSE", "1");
        }
        // The race is a matter of microseconds, so not only once.
        for _ in 0..10 {
            assert_eq!(kiln.succeed(), "left\n");
            let kept = kiln.request.out_dir.join("kept");
            let length = fs::metadata(&kept).unwrap().len();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(fs::metadata(&kept).unwrap().len(), length);
            fs::remove_file(kept).unwrap();
        }
    }
}

/// The attack: exchange an output directory for a link while it is looked at.
#[test]
fn nothing_swaps_after_the_end() {
    let kiln = Kiln::attack("swap").with("SECRET", "/etc");
    assert_eq!(kiln.run().outcome.exit, Exit::Success);
    let is_link = || {
        fs::symlink_metadata(kiln.request.out_dir.join("a"))
            .unwrap()
            .is_symlink()
    };
    let first = is_link();
    assert!((0..200).all(|_| is_link() == first));
}

/// The attack: set a kernel parameter of the host, above all `core_pattern`,
/// which runs a program as root; take over pid 1, which has no seccomp filter.
#[test]
fn nothing_of_proc_can_be_written() {
    let pattern = || fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let before = pattern();
    for identity in [Identity::Builder, Identity::Root] {
        let mut kiln = Kiln::attack("proc-writes");
        kiln.request.identity = identity;
        let log = kiln.succeed();
        assert!(log.contains("many were tried: true\nopened: \n"), "{log}");
        assert_all_refused(&log);
    }
    assert_eq!(pattern(), before);
}

/// The attack: take over pid 1, which runs as the same uid.
#[test]
fn pid_one_is_out_of_reach() {
    let log = Kiln::attack("pid-one").succeed();
    let expected = "mem: EROFS\nown mem: EROFS\nptrace: EPERM\nvm: EPERM\ngetfd: EPERM\n";
    assert!(log.starts_with(expected), "{log}");
    assert!(log.ends_with("alive: ok\n"), "{log}");
}

/// The attack: change the bubblewrap that every later build will run
/// (CVE-2019-5736), with one that the builder's uid owns.
#[test]
fn bubblewrap_itself_cannot_be_changed() {
    let kiln = Kiln::attack("program");
    let pinned = Bwrap::pinned(&pinned_root(&kiln)).unwrap();
    let loader = pinned.program().to_path_buf();
    let state = || {
        (
            fs::read(&loader).unwrap(),
            fs::metadata(&loader).unwrap().mode(),
        )
    };
    let before = state();
    for bwrap in [pinned, bwrap()] {
        let mut log = Vec::new();
        let mut output = |bytes: &[u8]| {
            log.extend_from_slice(bytes);
            Ok(())
        };
        let cancel = CancelToken::new().unwrap();
        let outcome = run(&bwrap, &kiln.request, &mut output, &cancel).unwrap();
        let log = String::from_utf8(log).unwrap();
        assert_eq!(outcome.exit, Exit::Success, "{log}");
        let changed = |line: &str| line.starts_with("/proc/1/exe") && line.ends_with("ok");
        assert!(
            !log.lines().any(changed) && !log.contains("again: ok"),
            "{log}"
        );
    }
    assert!(state() == before);
}

/// The attack: devices of the host, by making nodes or changing those there.
#[test]
fn only_harmless_devices() {
    let mode = |name: &str| fs::metadata(format!("/dev/{name}")).unwrap().mode();
    let before = ["null", "full", "zero"].map(mode);
    for identity in [Identity::Builder, Identity::Root] {
        let mut kiln = Kiln::attack("devices");
        kiln.request.identity = identity;
        let log = kiln.succeed();
        assert_all_refused(&log);
        let names = "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
        assert!(log.starts_with(&format!("devices: {names}\n")), "{log}");
    }
    assert_eq!(["null", "full", "zero"].map(mode), before);
}

/// The attack: make the root writable, or mount something over it.
#[test]
fn mounts_stay_as_they_are() {
    let log = Kiln::attack("mounts").succeed();
    assert_all_refused(&log);
    assert_eq!(log.matches("EROFS").count(), 4, "{log}");
}

/// The attack: a further user namespace, in which it would have capabilities.
#[test]
fn no_further_namespaces() {
    assert_all_refused(&Kiln::attack("namespaces").succeed());
}

/// The attack: every system call of the contract's table, keyrings, modules,
/// bpf, io_uring and ptrace among them.
#[test]
fn refused_system_calls_are_refused() {
    let log = Kiln::attack("system-calls").succeed();
    assert_eq!(log, "unknown: ENOSYS\n".repeat(4) + "done\n");
    let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
    assert!(!keys.contains("kiln-attack"));
}

/// The attack: pass the filter by the numbers of another architecture.
#[test]
fn foreign_architectures_do_not_exist() {
    assert_eq!(
        Kiln::attack("foreign").succeed(),
        "x32: ENOSYS\ni386: ENOSYS\n"
    );
}

/// The attack: a set-uid program, and capabilities left over.
#[test]
fn set_uid_programs_give_nothing() {
    for identity in [Identity::Builder, Identity::Root] {
        let mut kiln = Kiln::attack("setuid");
        kiln.request.identity = identity;
        let log = kiln.succeed();
        let id = identity.id();
        assert!(log.starts_with(&format!("chmod: ok\n{id}\n")), "{log}");
        assert_eq!(log.matches(": 0000000000000000").count(), 5, "{log}");
        assert!(log.contains("NoNewPrivs: 1"), "{log}");
    }
}

/// The attack: push a command into the terminal of the user who builds.
#[test]
fn no_terminal_to_push_keys_into() {
    let log = Kiln::attack("terminal").succeed();
    assert_all_refused(&log);
    assert_eq!(log.matches("EPERM").count(), 18, "{log}");
    assert!(log.ends_with("/dev/tty: ENXIO\n"), "{log}");
}

/// The same in `kiln shell`, where there is a terminal.
#[test]
fn the_users_terminal_gets_no_keys_from_inside() {
    let (mut master, slave) = terminal();
    let mut kiln = Kiln::attack("terminal");
    use std::os::fd::AsRawFd;
    kiln.request.terminal = Some(Terminal {
        input: slave.as_raw_fd(),
        output: slave.as_raw_fd(),
    });
    let log = kiln.succeed().replace("\r\n", "\n");
    let pushed = gone_through(&log);
    assert_eq!(pushed, ["/dev/tty: ok"], "{log}");
    let mut screen = [0; 4096];
    let count = master.read(&mut screen).unwrap();
    assert!(String::from_utf8_lossy(&screen[..count]).contains("TIOCSTI: EPERM"));
    // Nothing is waiting to be read as keys.
    let mut waiting = 0;
    // SAFETY: asks for a number.
    unsafe { libc::ioctl(slave.as_raw_fd(), libc::FIONREAD, &raw mut waiting) };
    assert_eq!(waiting, 0);
}

/// The attack: change an input, which other builds use too.
#[test]
fn inputs_cannot_be_changed() {
    let kiln = Kiln::attack("inputs").with_input("/in/other", "data", "42");
    assert_all_refused(&kiln.succeed());
    let data = kiln.request.mounts[0].source.join("data");
    assert_eq!(fs::read(&data).unwrap(), b"42");
    assert_eq!(fs::metadata(&data).unwrap().nlink(), 1);
}

/// The attack: crash in the hope of a core file.
#[test]
fn a_crash_leaves_no_core() {
    let kiln = Kiln::script("kill -SEGV $$");
    assert_eq!(kiln.run().outcome.exit, Exit::Signal(11));
    assert_eq!(fs::read_dir(&kiln.request.build_dir).unwrap().count(), 0);
}
