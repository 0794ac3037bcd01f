//! Builders of the other build platform, in the pinned emulator; and attackers
//! that have left it. An emulator keeps nobody in: what is attacked from here is
//! run by the machine itself, in a sandbox that has an emulator registered.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kiln_derivations::sandbox::probe::check_emulation;
use kiln_derivations::sandbox::seccomp::table;
use kiln_derivations::sandbox::{BadRequest, CancelToken, Identity, SandboxError};

use crate::attacks::assert_all_refused;
use crate::pinned::foreign;
use crate::support::{Kiln, bwrap};

/// What emulators the host knows, and whether they are on.
fn emulators_of_the_host() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc/sys/fs/binfmt_misc")
        .into_iter()
        .flatten();
    let mut all: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            (path.display().to_string(), text)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn this_host_can() {
    let kiln = Kiln::script("true");
    let program = Path::new("/proc/self/exe");
    check_emulation(&bwrap(), kiln.request.host_user, program).unwrap_or_else(|lack| {
        panic!("{lack}; {}", lack.remedy());
    });
}

#[test]
fn programs_run_and_the_host_does_not_notice() {
    let before = emulators_of_the_host();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts_before = mounts();
    let kiln = Kiln::emulated("uname -m; sleep 2; echo end");
    let log = thread::scope(|scope| {
        let run = scope.spawn(|| kiln.succeed());
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            assert_eq!(emulators_of_the_host(), before);
            thread::sleep(Duration::from_millis(50));
        }
        run.join().unwrap()
    });
    assert_eq!(log, format!("{}\nend\n", foreign()));
    assert_eq!(emulators_of_the_host(), before);
    assert_eq!(mounts(), mounts_before);
}

#[test]
fn programs_are_started_as_on_their_own_machine() {
    let log = Kiln::emulated(
        "bash -c 'exec -a other sh -c \"echo \\$0\"'
         cp /usr/bin/uname /build/hidden && chmod 111 /build/hidden && /build/hidden -m
         readlink /proc/self/exe
         printf '#!/usr/bin/sed p\\nx\\n' > s && chmod 755 s && ./s s | tail -1",
    )
    .succeed();
    let machine = foreign();
    let expected = format!("other\n{machine}\n/usr/bin/readlink\nx\n");
    assert_eq!(log, expected);
}

#[test]
fn the_limit_on_processes_is_that_of_the_builder() {
    let mut kiln = Kiln::emulated(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1 & done; wait; echo all",
    );
    kiln.request.limits.processes = 30;
    assert_eq!(kiln.succeed(), "all\n");
}

#[test]
fn the_limits_on_time_are_those_of_the_builders_own_machine() {
    let mut kiln = Kiln::emulated("sleep 3; echo end");
    kiln.request.limits.wall_s = 2;
    kiln.request.limits.silence_s = 1;
    assert_eq!(kiln.succeed(), "end\n");
    assert_eq!(kiln.request.limits_in_force().wall_s, 80);
    kiln.request.emulator = None;
    assert_eq!(kiln.request.limits_in_force(), kiln.request.limits);
}

#[test]
fn what_this_machine_runs_itself_needs_none() {
    let mut kiln = Kiln::script("true").with_emulator();
    let emulator = kiln.request.emulator.as_mut().unwrap();
    emulator.architecture = kiln_derivations::sandbox::seccomp::Architecture::NATIVE.unwrap();
    match kiln.try_run(&CancelToken::new().unwrap()) {
        Err(SandboxError::Request(BadRequest::EmulatedNatively)) => {}
        other => panic!("{:?}", other.map(|run| run.log)),
    }
}

/// The attack: by a builder that the emulator runs, every system call that the
/// contract refuses, with the numbers of its own platform.
#[test]
fn refused_system_calls_are_refused_to_emulated_programs() {
    let number = |refusal: &table::Refusal| match foreign().name() {
        "x86_64" => refusal.x86_64,
        _ => refusal.aarch64,
    };
    let calls: Vec<_> = table::REFUSALS
        .iter()
        .filter(|refusal| refusal.errno != 0)
        .filter_map(|refusal| Some(format!("{} {}", refusal.name, number(refusal)?)))
        .collect();
    let script = "my @calls = split / /, $ENV{CALLS}; my $tried = 0;
        while (my ($name, $number) = splice @calls, 0, 2) {
            $tried++;
            my $pid = fork() // die; # some crash the emulator itself
            exit(syscall($number, 0, 0, 0, 0, 0) >= 0 ? 9 : 0) if !$pid;
            waitpid $pid, 0;
            print \"$name: ok\\n\" if $? >> 8 == 9;
        }
        print \"tried: $tried\\n\";";
    let log = Kiln::emulated("exec perl -e \"$SCRIPT\"")
        .with("SCRIPT", script)
        .with("CALLS", &calls.join(" "))
        .succeed();
    assert_all_refused(&log);
    assert!(log.ends_with(&format!("tried: {}\n", calls.len())), "{log}");
}

/// The attack: write to the emulator through `/proc`, for every later build.
#[test]
fn the_emulator_cannot_be_changed() {
    let program = Kiln::script("true")
        .with_emulator()
        .request
        .emulator
        .unwrap();
    let before = fs::read(&program.interpreter).unwrap();
    let kiln = Kiln::emulated(
        "sleep 250 & for exe in /proc/[0-9]*/exe; do
            chmod 777 $exe 2>&-; (printf x > $exe) 2>&- && echo \"$exe: ok\"
            (printf x >> $exe) 2>&- && echo \"$exe: ok\"
            tries=$((tries + 1))
        done; test $tries -ge 3 && echo tried; kill $!",
    );
    assert_eq!(kiln.succeed(), "tried\n");
    assert_eq!(kiln.succeed(), "tried\n");
    assert!(fs::read(&program.interpreter).unwrap() == before);
}

/// The attacks that matter most, by code of the machine's own.
#[test]
fn the_sandbox_holds_who_has_left_the_emulator() {
    for attack in ["proc-writes", "pid-one", "mounts", "namespaces", "devices"] {
        for identity in [Identity::Builder, Identity::Root] {
            let mut kiln = Kiln::attack(attack).with_emulator();
            kiln.request.identity = identity;
            let log = kiln.succeed();
            match attack {
                "pid-one" => assert!(
                    log.starts_with("mem: EROFS\nown mem: EROFS\nptrace: EPERM\nvm: EPERM\n"),
                    "{log}"
                ),
                _ => assert_all_refused(&log),
            }
        }
    }
}

/// The attack: the system calls of the machine's own architecture, x32 and i386.
#[test]
fn the_filter_holds_who_has_left_the_emulator() {
    let log = Kiln::attack("system-calls").with_emulator().succeed();
    assert_eq!(log, "unknown: ENOSYS\n".repeat(4) + "done\n");
    let log = Kiln::attack("foreign").with_emulator().succeed();
    assert_eq!(log, "x32: ENOSYS\ni386: ENOSYS\n");
}

/// The attack: capabilities left over from the namespaces of the emulator, in
/// one of which root's child was uid 0.
#[test]
fn no_capabilities_are_left_of_registering() {
    for identity in [Identity::Builder, Identity::Root] {
        let mut kiln = Kiln::attack("setuid").with_emulator();
        kiln.request.identity = identity;
        let log = kiln.succeed();
        assert_eq!(log.matches(": 0000000000000000").count(), 5, "{log}");
    }
    // Those of pid 1, which bubblewrap runs.
    let log = Kiln::script("sed -n '/^Cap[PEA]/p' /proc/1/status")
        .with_emulator()
        .succeed();
    assert_eq!(log.matches("0000000000000000").count(), 3, "{log}");
}

/// The attack: register an emulator from inside, for the host or for oneself.
#[test]
fn no_emulator_can_be_registered_from_inside() {
    let place = "/proc/sys/fs/binfmt_misc";
    let kiln = Kiln::script(&format!(
        "ls {place} | wc -l; (echo ':x:M::x::/bin/sh:' > {place}/register) 2>&- && echo ok; true"
    ))
    .with_emulator();
    assert_eq!(kiln.succeed(), "0\n");
}
