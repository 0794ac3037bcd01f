//! What a builder sees is in `docs/observables.md`, and the same everywhere if
//! its class says so: the expected text below holds for root and for an
//! ordinary user.

use std::collections::BTreeMap;

use expect_test::expect;

use crate::support::Kiln;

const LIST: &str = include_str!("../../../docs/observables.md");
const PROBE: &str = include_str!("../../src/sandbox/probe.sh");

/// Name and class of every row of the list that the probe prints.
fn listed() -> BTreeMap<String, String> {
    let rows = LIST.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` |").expect("a row has columns");
        let class = rest.split('|').next().unwrap().trim();
        (name.to_string(), class.to_string())
    })
    .collect()
}

fn probe(kiln: Kiln) -> String {
    let kiln = kiln
        .with_input("/src", "main.c", "int x;")
        .with_input("/in/other", "data", "42")
        .with("PATH", "/bin");
    let day = std::time::UNIX_EPOCH + std::time::Duration::from_secs(315_619_200);
    for mount in &kiln.request.mounts {
        for entry in std::fs::read_dir(&mount.source).unwrap() {
            let file = std::fs::File::open(entry.unwrap().path()).unwrap();
            file.set_modified(day).unwrap();
        }
    }
    kiln.succeed()
}

#[test]
fn every_observable_is_listed_and_every_listed_one_is_looked_at() {
    let listed = listed();
    let seen = probe(Kiln::script(PROBE));
    let names = |text: &str| -> Vec<String> {
        let mut names: Vec<_> = text
            .lines()
            .map(|line| line.split(' ').next().unwrap().to_string())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let known: Vec<_> = listed.keys().cloned().collect();
    assert_eq!(names(&seen), known, "{seen}");
    for class in listed.values() {
        assert!(
            ["keyed", "fixed", "perturbed", "recorded", "free"].contains(&class.as_str()),
            "{class}"
        );
    }
}

/// What everyone sees alike, but for an emulator's row in the list: its threads.
#[test]
fn an_emulated_builder_sees_what_a_native_one_does() {
    let emulated = constants(&probe(Kiln::emulated(PROBE)));
    let native = constants(&probe(Kiln::script(PROBE)));
    let twice = native.replace("Max processes 64 64", "Max processes 128 128");
    assert_ne!(native, twice);
    assert_eq!(emulated, twice);
}

/// The lines of what is keyed or fixed.
fn constants(seen: &str) -> String {
    let listed = listed();
    // These two are keyed by what this test's host gives.
    let of_this_host = ["machine", "root-entries"];
    let constant = |line: &&str| {
        let name = line.split(' ').next().unwrap();
        let class = &listed[name];
        (class == "keyed" || class == "fixed") && !of_this_host.contains(&name)
    };
    let mut constants: String = seen.lines().filter(constant).collect::<Vec<_>>().join("\n");
    constants.push('\n');
    constants
}

#[test]
fn what_is_keyed_or_fixed_is_the_same_for_everyone() {
    let constants = constants(&probe(Kiln::script(PROBE)));
    expect![[r#"
        user 1000:1000
        groups 1000
        user-map  1000 0 1;
        process pid=2 parent=1
        cwd /build
        umask 0022
        environment PATH=/bin
        environment PWD=/build
        limits Max cpu time unlimited unlimited seconds
        limits Max file size unlimited unlimited bytes
        limits Max data size unlimited unlimited bytes
        limits Max stack size 8388608 67108864 bytes
        limits Max core file size 0 0 bytes
        limits Max resident set unlimited unlimited bytes
        limits Max processes 64 64 processes
        limits Max open files 1024 4096 files
        limits Max locked memory 65536 65536 bytes
        limits Max address space unlimited unlimited bytes
        limits Max file locks unlimited unlimited locks
        limits Max pending signals 1024 1024 signals
        limits Max msgqueue size 819200 819200 bytes
        limits Max nice priority 0 0
        limits Max realtime priority 0 0
        limits Max realtime timeout unlimited unlimited us
        capabilities CapInh 0000000000000000
        capabilities CapPrm 0000000000000000
        capabilities CapEff 0000000000000000
        capabilities CapBnd 0000000000000000
        capabilities CapAmb 0000000000000000
        no-new-privileges 1
        seccomp 2
        signals SigBlk 0000000000000000
        signals SigIgn 0000000000000000
        out-of-memory-preference 1000
        descriptors 0 /dev/null
        descriptors 2 pipe
        descriptors 1 pipe
        terminal no
        places / drwxr-xr-x 1000:1000
        places /build drwxr-xr-x 1000:1000
        places /out drwxr-xr-x 1000:1000
        places /tmp drwxrwxrwt 1000:1000
        places /dev/shm drwxrwxrwt 1000:1000
        places /in drwxr-xr-x 1000:1000
        places /src drwxr-xr-x 1000:1000
        places /sysroot drwxr-xr-x 1000:1000
        places /toolchain drwxr-xr-x 1000:1000
        mounts / ro nosuid nodev
        mounts /build rw nosuid nodev
        mounts /dev ro nosuid nodev
        mounts /dev/full rw nosuid
        mounts /dev/null rw nosuid
        mounts /dev/pts rw nosuid noexec
        mounts /dev/random rw nosuid
        mounts /dev/shm rw nosuid nodev
        mounts /dev/tty rw nosuid
        mounts /dev/urandom rw nosuid
        mounts /dev/zero rw nosuid
        mounts /in ro nosuid nodev
        mounts /in/other ro nosuid nodev
        mounts /out rw nosuid nodev
        mounts /proc ro nosuid nodev noexec
        mounts /src ro nosuid nodev
        mounts /tmp rw nosuid nodev
        devices core
        devices fd
        devices full
        devices null
        devices ptmx
        devices pts
        devices random
        devices shm
        devices stderr
        devices stdin
        devices stdout
        devices tty
        devices urandom
        devices zero
        scratch-size /tmp 65536*4096
        scratch-size /dev/shm 65536*4096
        inputs /src/main.c -rw-r--r-- 1000:1000 6 315619200
        inputs /in/other/data -rw-r--r-- 1000:1000 2 315619200
        sys no
        host-name kiln
        interfaces lo
        routes 0
        unix-sockets 0
        shared-memory-segments 0
        cgroup-paths /
        sysctl read-only
        own-proc read-only
    "#]]
    .assert_eq(&constants);
}
