//! The console against a shell script that plays the emulator.

use std::io::Read;
use std::os::fd::AsFd;

use super::*;
use crate::derivation::Target;

/// A machine of which nothing exists.
pub(super) fn machine(target: Target, disk: Disk) -> Machine {
    Machine {
        target,
        emulator_root: "/store/qemu".into(),
        bubblewrap: Bubblewrap {
            program: "/usr/bin/bwrap".into(),
            prefix: vec!["bwrap".into()],
            host_user: None,
        },
        kernel: "/store/kernel".into(),
        disk,
        cmdline: "console=ttyS0 quiet".into(),
        memory_mib: 256,
        cpus: 1,
        accel: Accel::Auto,
        scratch: "/tmp".into(),
    }
}

/// A guest that is a script.
pub(super) fn shell(script: &str) -> Guest {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Guest::start(command, None, None).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Feeds `input` to a script; how it ended, and what was shown.
fn fed(script: &str, input: &[u8], limit: Duration) -> (End, String) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(input).unwrap();
    drop(writer);
    let marker = Up::default().marker;
    let up = Up { marker, limit };
    let mut screen = Vec::new();
    let end = console::feed(shell(script), reader.as_fd(), &up, &mut screen, &|| false).unwrap();
    (end, String::from_utf8(screen).unwrap())
}

const PANIC: &str = "Kernel panic - not syncing: VFS: Unable to mount root fs";

#[test]
fn a_guest_that_ends_says_how() {
    let ended = |script: &str| fed(script, b"", PATIENCE).0;
    assert_eq!(ended("echo reboot: Power down"), End::PoweredOff);
    let script = format!("echo '[ 1.0] {PANIC}'; echo more");
    assert_eq!(ended(&script), End::Panicked(PANIC.into()));
    let failed = ended("echo 'kiln: up'; kill -9 $$");
    assert!(matches!(failed, End::EmulatorFailed { .. }), "{failed}");
    let failed = ended("echo no memory >&2; exit 3").to_string();
    assert_eq!(failed, "the emulator failed (exit status: 3): no memory");
}

#[test]
fn a_guest_that_hangs_is_ended() {
    let ended = |script: &str| fed(script, b"", SECOND).0;
    let script = format!("echo '{PANIC}'; sleep 60");
    assert_eq!(ended(&script), End::Panicked(PANIC.into()));
    let marker = Up::default().marker;
    let not_up = End::NotUp {
        marker,
        limit: SECOND,
    };
    assert_eq!(ended("echo kiln: almost up; sleep 60"), not_up);
    let failed = ended("echo 'KVM internal error. Suberror: 1' >&2; sleep 60").to_string();
    assert_eq!(
        failed,
        "the emulator failed: KVM internal error. Suberror: 1"
    );
}

#[test]
fn input_waits_until_the_guest_is_up() {
    let script =
        "sleep 0.3; echo started; printf 'kiln: '; sleep 0.1; echo up; read -r x; echo got $x";
    let (end, shown) = fed(script, b"word\n", PATIENCE);
    assert_eq!(end, End::PoweredOff);
    assert_eq!(shown, "started\nkiln: up\ngot word\n");
}

/// Each read of this guest takes all that has come and keeps one line of it.
#[test]
fn a_guest_that_can_hold_one_line_loses_none() {
    let script = "echo kiln: up; for i in $(seq 200); do printf '# '
        dd bs=4096 count=1 2> /dev/null | head -n 1; done
        head -c 1 | od -An -tx1";
    let lines = |prompt: &str| {
        (1..=200)
            .map(|i| format!("{prompt}line {i}\n"))
            .collect::<String>()
    };
    let (end, shown) = fed(script, lines("").as_bytes(), PATIENCE);
    assert_eq!(end, End::PoweredOff);
    assert_eq!(shown, format!("kiln: up\n{} 04\n", lines("# ")));
}

#[test]
fn output_is_shown_to_the_last_byte() {
    let (end, shown) = fed("seq 100000", b"", PATIENCE);
    assert_eq!(end, End::PoweredOff);
    assert!(shown.ends_with("\n100000\n"));
    assert_eq!(shown.lines().count(), 100_000);
}

#[test]
fn a_cancelled_guest_leaves_nothing_running() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; sleep 1000", file.display());
    let pid = || std::fs::read_to_string(&file).ok()?.trim().parse().ok();
    let (reader, _writer) = std::io::pipe().unwrap();
    let up = Up::default();
    let cancel = || pid().is_some();
    let end = console::feed(
        shell(&script),
        reader.as_fd(),
        &up,
        &mut Vec::new(),
        &cancel,
    );
    assert_eq!(end.unwrap(), End::Cancelled);
    let background: i32 = pid().unwrap();
    let background = rustix::process::Pid::from_raw(background).unwrap();
    // It has closed its descriptors, and may take another moment to be gone.
    let until = Instant::now() + PATIENCE;
    while !is_dead(background) {
        assert!(
            Instant::now() < until,
            "the background process is still there"
        );
        std::thread::yield_now();
    }
}

/// Gone, or not yet waited for by whoever inherited it.
fn is_dead(pid: rustix::process::Pid) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = status.rsplit(") ").next().unwrap_or_default();
    state.starts_with(['Z', 'X'])
}

#[test]
fn a_screen_that_is_closed_ends_the_guest() {
    let (reader, screen) = std::io::pipe().unwrap();
    drop(reader);
    let (input, _writer) = std::io::pipe().unwrap();
    let guest = shell("while echo x; do :; done");
    let outcome = console::feed(
        guest,
        input.as_fd(),
        &Up::default(),
        &mut (&screen),
        &|| false,
    );
    assert!(
        matches!(outcome, Err(BootError::System { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_user_types_leaves_and_has_the_terminal_back() {
    let (mut master, slave) = terminal::tests::terminal();
    let modes = || rustix::termios::tcgetattr(&slave).unwrap().local_modes;
    let before = modes();
    let (mut shown, screen) = std::io::pipe().unwrap();
    let end = std::thread::scope(|scope| {
        scope.spawn(|| {
            while modes() == before {
                std::thread::yield_now();
            }
            master.write_all(b"a\x03b\r").unwrap();
            let mut echoed = [0; 4];
            shown.read_exact(&mut echoed).unwrap();
            master.write_all(b"\x01x").unwrap();
            assert_eq!(&echoed, b"a\x03b\r");
        });
        console::interact(shell("exec cat"), slave.as_fd(), &mut (&screen), &|| false)
    });
    assert_eq!(end.unwrap(), End::Left);
    assert_eq!(modes(), before);
}

fn checked(script: &str, change: impl FnOnce(&mut Check)) -> (CheckReport, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut wanted = Check {
        expect: vec!["kiln: up".into(), "kiln: exit 0".into()],
        refuse: vec!["Oops".into()],
        input: None,
        up: "kiln: up".into(),
        limit: PATIENCE,
        transcript: directory.path().join("transcript"),
    };
    change(&mut wanted);
    let report = check::check(shell(script), &wanted, Instant::now(), &|| false).unwrap();
    let mut transcript = String::new();
    std::fs::File::open(&report.transcript)
        .unwrap()
        .read_to_string(&mut transcript)
        .unwrap();
    (report, transcript)
}

#[test]
fn a_check_passes_at_its_last_marker() {
    let (report, transcript) = checked("echo kiln: up; echo kiln: exit 0; sleep 60", |_| {});
    assert!(report.passed, "{}", report.why);
    assert_eq!(report.seen.len(), 2);
    assert_eq!(report.end, End::Left);
    assert_eq!(transcript, "kiln: up\nkiln: exit 0\n");
}

#[test]
fn a_check_types_its_input() {
    let script = "echo kiln: up; read -r line; echo said $line; echo kiln: exit 0";
    let (report, transcript) = checked(script, |check| check.input = Some(b"hello\n".to_vec()));
    assert!(report.passed, "{}", report.why);
    assert_eq!(transcript, "kiln: up\nsaid hello\nkiln: exit 0\n");
}

#[test]
fn a_failed_check_says_why() {
    let why = |script: &str, limit| {
        let (report, _) = checked(script, |check| check.limit = limit);
        assert!(!report.passed);
        report.why
    };
    let missing = "the console did not show `kiln: exit 0`";
    assert_eq!(
        why("echo kiln: up", PATIENCE),
        format!("the guest powered off; {missing}")
    );
    assert_eq!(
        why("echo kiln: up; sleep 60", SECOND),
        format!("the time limit of 1 s passed; {missing}")
    );
    assert_eq!(
        why(&format!("echo '{PANIC}'"), PATIENCE),
        format!("the guest's kernel gave up: {PANIC}; the console did not show `kiln: up`")
    );
    assert_eq!(
        why("echo kiln: up; echo broken >&2; exit 1", PATIENCE),
        format!("the emulator failed (exit status: 1): broken; {missing}")
    );
    let refused = why("echo Oops; echo kiln: up; echo kiln: exit 0", PATIENCE);
    assert_eq!(refused, "the console showed `Oops`");
}

#[test]
fn a_root_without_an_emulator_is_named() {
    let root = tempfile::tempdir().unwrap();
    for place in command::MOUNT_POINTS {
        std::fs::create_dir(root.path().join(place)).unwrap();
    }
    let mut machine = machine(Target::Aarch64, Disk::Initramfs("/initramfs".into()));
    machine.emulator_root = root.path().into();
    let error = check_root(&machine).unwrap_err().to_string();
    assert!(
        error.ends_with("has no /usr/bin/qemu-system-aarch64"),
        "{error}"
    );
    std::fs::remove_dir(root.path().join("in")).unwrap();
    std::os::unix::fs::symlink("/tmp", root.path().join("in")).unwrap();
    let error = check_root(&machine).unwrap_err().to_string();
    assert!(error.ends_with("has no /in"), "{error}");
}
