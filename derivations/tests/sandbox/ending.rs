//! How a sandbox ends, and that it does.

use std::time::{Duration, Instant};

use kiln_derivations::sandbox::seccomp::Architecture;
use kiln_derivations::sandbox::seccomp::bpf::{
    ANY_BIT, Assembler, NUMBER, Verdict, argument_low, to_bytes,
};
use kiln_derivations::sandbox::{CancelToken, Exit};

use crate::support::{Kiln, bwrap};

#[test]
fn cancelling_kills_everything_at_once() {
    let kiln = Kiln::script("trap '' TERM INT HUP; (trap '' TERM; sleep 60) & sleep 60");
    let cancel = CancelToken::new().unwrap();
    let other = cancel.clone();
    // Where the machine has none it is fetched, which counts for nothing here.
    let _ = bwrap();
    let start = Instant::now();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        other.cancel();
    });
    let run = kiln.try_run(&cancel).unwrap();
    stopper.join().unwrap();
    assert_eq!(run.outcome.exit, Exit::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(cancel.is_cancelled());
}

/// The status must not be lost at whatever moment a sample looks at the end.
#[test]
fn what_is_left_behind_does_not_change_the_exit() {
    for pause_ms in 0..25 {
        let script = format!("sleep 600 & sleep 0.{pause_ms:03}; exit 5");
        let start = Instant::now();
        assert_eq!(
            Kiln::script(&script).run().outcome.exit,
            Exit::Code(5),
            "{pause_ms}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "it waited for the rest"
        );
    }
}

/// Nobody waits for what is killed with pid 1, so it is in no account of the kernel's.
#[test]
fn what_is_left_behind_has_used_what_it_used() {
    let busy =
        "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo done > /build/done; sleep 600";
    let script = format!("({busy}) & until [ -e /build/done ]; do sleep 0.1; done");
    let alone = Kiln::script("i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done").run();
    let left = Kiln::script(&script).run();
    assert!(
        left.outcome.cpu * 2 > alone.outcome.cpu,
        "{:?} of {:?}",
        left.outcome.cpu,
        alone.outcome.cpu
    );
}

#[test]
fn a_cancelled_token_stops_the_next_run_too() {
    let cancel = CancelToken::new().unwrap();
    cancel.cancel();
    let kiln = Kiln::script("echo ran > /out/ran; sleep 60");
    assert_eq!(kiln.try_run(&cancel).unwrap().outcome.exit, Exit::Cancelled);
    assert!(!kiln.request.out_dir.join("ran").exists());
}

/// The attack: none; kiln itself is killed in the middle of builds. The builder
/// dies with it, whatever the moment.
#[test]
fn killing_kiln_kills_the_sandbox() {
    let kiln = Kiln::script("while true; do echo x >> /out/written; done");
    let written = kiln.request.out_dir.join("written");
    for round in 0..20 {
        // SAFETY: the child only runs the sandbox, until it is killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let _ = kiln.try_run(&CancelToken::new().unwrap());
            // SAFETY: ends only the child.
            unsafe { libc::_exit(0) };
        }
        // From within the setup to well after it.
        std::thread::sleep(Duration::from_millis(2 * round));
        // SAFETY: our own child, not yet waited for.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        // The kernel kills as the dead are cleared away, which takes its time
        // on a loaded machine; a builder that got away would go on for ever.
        let length = || std::fs::metadata(&written).map_or(0, |file| file.len());
        let goes_on = || {
            let before = length();
            std::thread::sleep(Duration::from_millis(50));
            length() != before
        };
        let start = Instant::now();
        while goes_on() {
            assert!(start.elapsed() < Duration::from_secs(10), "round {round}");
        }
    }
}

/// Where AppArmor lets only bubblewrap make namespaces, everything but the
/// last microseconds of the kill above still holds.
#[test]
fn it_works_where_only_bubblewrap_may_make_namespaces() {
    let kiln =
        Kiln::script("(trap '' TERM; while :; do echo x >> /out/x; done) & echo end; exit 4");
    let waiting = Kiln::script("sleep 60");
    // SAFETY: the child runs two sandboxes and leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        forbid_own_namespaces();
        let run = kiln.run();
        let x = kiln.request.out_dir.join("x");
        let length = || std::fs::metadata(&x).map_or(0, |file| file.len());
        let before = length();
        std::thread::sleep(Duration::from_millis(30));
        let cancel = CancelToken::new().unwrap();
        cancel.cancel();
        let good = run.outcome.exit == Exit::Code(4)
            && run.log == "end\n"
            && run.outcome.cpu > Duration::ZERO
            && length() == before
            && waiting.try_run(&cancel).unwrap().outcome.exit == Exit::Cancelled;
        // SAFETY: ends only the child.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = -1;
    // SAFETY: our own child, not yet waited for.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
}

/// Makes `clone` fail as kiln calls it, but not as bubblewrap does.
fn forbid_own_namespaces() {
    let clone = if Architecture::NATIVE == Some(Architecture::X86_64) {
        56
    } else {
        220
    };
    let mut code = Assembler::default();
    code.load(NUMBER);
    code.block(clone, |code| {
        code.load(argument_low(0));
        code.unless(ANY_BIT, libc::CLONE_VM as u32, Verdict::Allow);
        code.when(
            ANY_BIT,
            libc::CLONE_NEWPID as u32,
            Verdict::Errno(libc::EPERM as u16),
        );
        code.end(Verdict::Allow);
    });
    code.when(ANY_BIT, u32::MAX, Verdict::Allow);
    code.unless(ANY_BIT, u32::MAX, Verdict::Allow);
    let mut bytes = to_bytes(&code.assemble());
    let program = libc::sock_fprog {
        len: (bytes.len() / 8) as u16,
        filter: bytes.as_mut_ptr().cast(),
    };
    // SAFETY: the kernel copies the program, which outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}
