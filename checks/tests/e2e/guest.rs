//! The guest boots and answers.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use kiln_checks::{Scratch, host_target};

use crate::shared;

/// A generous bound, for a debug build on a busy machine.
const CPU_LIMIT: Duration = Duration::from_secs(5);
/// How many outcomes the guest's self-test compares at least.
const SELFTEST_COUNT: usize = 90;

#[test]
fn a_typed_command_is_answered_and_kiln_ends_with_the_guest() {
    let first = &shared().first;
    let answer = host_target();
    assert!(
        first.stdout.lines().any(|line| line.trim() == answer),
        "no line `{answer}` on the console:\n{}",
        first.stdout
    );
    assert!(first.stdout.contains("kiln: exit 0"), "{}", first.stdout);
}

#[test]
fn a_second_build_builds_nothing() {
    let directory = Scratch::new();
    let second = shared()
        .own(directory.path())
        .args(["build", "minsys"])
        .succeed();
    println!(
        "second build: {:.1?} CPU, {:.1?} wall",
        second.cpu, second.wall
    );
    let end = second.events.end();
    assert_eq!((&end["built"], &end["failed"]), (&0.into(), &0.into()));
    assert_eq!(
        second.events.of_kind("started").count(),
        0,
        "no builder starts"
    );
    assert!(end["reused"].as_u64() > Some(0), "{end}");
    assert!(second.cpu < CPU_LIMIT, "{:?}", second.cpu);
}

#[test]
fn every_bootable_format_boots_and_its_tools_work() {
    let directory = Scratch::new();
    let transcripts = directory.join("transcripts");
    let tested = shared()
        .own(directory.path())
        .args(["test", "minsys", "--transcripts"])
        .args([&transcripts])
        .json();
    let checks = tested["checks"].as_array().expect("a list of checks");
    let formats: BTreeSet<_> = checks.iter().filter_map(|c| c["format"].as_str()).collect();
    assert_eq!(
        formats,
        BTreeSet::from(["ext3", "ext4", "initramfs.cpio.gz"])
    );
    for check in checks {
        assert_eq!(check["passed"], true, "{check}");
        let transcript = check["transcript"].as_str().expect("a path");
        assert_self_tested(&fs::read_to_string(transcript).expect("it was kept"));
    }
}

/// The guest compared enough outcomes, each as expected.
fn assert_self_tested(transcript: &str) {
    assert!(!transcript.contains("selftest FAIL"), "{transcript}");
    let mut lines = transcript.lines();
    let count = lines.find_map(|line| line.trim().strip_prefix("kiln: selftest ok "));
    let count: usize = count
        .and_then(|c| c.parse().ok())
        .expect("the guest counts");
    assert!(count >= SELFTEST_COUNT, "only {count} outcomes compared");
}

/// Every kiln that opens the store clears what dead ones left there.
#[test]
fn other_kilns_leave_the_directory_of_a_guest_alone() {
    let directory = Scratch::new();
    let over = std::sync::atomic::AtomicBool::new(false);
    let booted = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                shared().own(directory.path()).args(["store", "info"]).run();
            }
        });
        let boot = ["boot", "minsys", "--format", "ext4"];
        let booted = shared().own(directory.path()).args(boot);
        let booted = booted.stdin("uname -m\n").run();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        booted
    });
    let booted = booted.expect_status(0);
    let machine = std::env::consts::ARCH;
    assert!(booted.stdout.contains(machine), "{}", booted.stdout);
}
