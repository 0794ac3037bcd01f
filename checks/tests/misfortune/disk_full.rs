//! The store's disk is full: said in one line, nothing running, and once there
//! is room the next run goes on.
//!
//! The store is on a small tmpfs in a mount namespace of its own: root's, or
//! one that an ordinary user makes together with a user namespace.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kiln_checks::{Events, UNUSED_ID, is_root, program};

use crate::support::process::of_store;
use crate::support::server::{Answer, Server, noise, pinned};
use crate::support::{Shop, Who, failure_of, tree_kib};

/// Runs kiln on a disk that is too small, waits for a line, and runs it again on
/// one that is not. `$KILN` is kiln's command line.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=${SMALL}k,mode=0755 small "$DISK"
[ -z "$OWNER" ] || chown "$OWNER" "$DISK"
cp -a "$SEEDED" "$DISK/store"
run() {
    code=0
    $ENTER $KILN --events "$LOGS/$1.events" build --no-result all \
        > "$LOGS/$1.stdout" 2> "$LOGS/$1.stderr" || code=$?
    echo $code
}
run first
ls -A "$DISK/store/build" "$DISK/store/tmp" "$DISK/store/leases" > "$LOGS/left"
df -k --output=avail "$DISK" | tail -n 1
read go
mount -o remount,size=${LARGE}k "$DISK"
run second
code=0
$ENTER $KILN verify || code=$?
echo $code
"#;

/// A kiln on a small disk.
struct Disk {
    shop: Shop,
    script: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Disk {
    /// As much of the disk is free as `free_kib` says.
    fn new(shop: Shop, who: Who, free_kib: u64) -> Self {
        let small = tree_kib(&shop.store()) + free_kib;
        let disk = shop.path().join("disk");
        let logs = shop.path().join("logs");
        for directory in [&disk, &logs] {
            fs::create_dir(directory).expect("it is new");
            who.own(directory);
        }
        let kiln = shop.path().join("kiln");
        fs::hard_link(program::kiln(), &kiln)
            .or_else(|_| fs::copy(program::kiln(), &kiln).map(drop))
            .expect("kiln can be copied");
        let id = UNUSED_ID;
        let (options, enter, owner) = match who {
            Who::Root => (vec!["--mount"], String::new(), String::new()),
            Who::User if is_root() => (
                vec!["--mount"],
                format!("setpriv --reuid {id} --regid {id} --clear-groups"),
                format!("{id}:{id}"),
            ),
            Who::User => {
                let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
                let (user, group) = (user.as_raw(), group.as_raw());
                let enter = format!("unshare --user --map-user={user} --map-group={group}");
                let options = vec!["--user", "--map-root-user", "--mount"];
                (options, enter, String::new())
            }
        };
        let mut script = Command::new("unshare")
            .args(options)
            .args(["sh", "-euc", SCRIPT])
            .current_dir(shop.project())
            .env("SMALL", small.to_string())
            .env("LARGE", (small + 300_000).to_string())
            .env("DISK", &disk)
            .env("LOGS", &logs)
            .env("SEEDED", shop.store())
            .env("ENTER", enter)
            .env("OWNER", owner)
            .env("KILN", &kiln)
            .env("KILN_STORE", disk.join("store"))
            .env("HOME", shop.project())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the checks need unshare (util-linux)");
        let said = BufReader::new(script.stdout.take().expect("it is piped"));
        Self { shop, script, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a pipe can be read");
        assert!(
            !line.is_empty(),
            "the script ended early: are user namespaces allowed?"
        );
        line.trim().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.shop.path().join("logs").join(name)).expect("it was written")
    }

    /// The first run says that the disk is full, and the second goes on.
    /// `failing` is what the disk was too small for.
    fn check(mut self, failing: &str) {
        let status = self.line();
        let stderr = self.read("first.stderr");
        let events = Events::parse(&self.read("first.events"));
        assert_eq!(status, "6", "{stderr}");
        let (class, message) = failure_of(&events, failing);
        assert_eq!(class, "disk-full", "{stderr}");
        assert!(!message.contains('\n'), "{message}");
        assert!(message.contains("No space left on device"), "{message}");
        let errors = stderr.lines().filter(|line| line.starts_with("error"));
        assert_eq!(errors.count(), 1, "{stderr}");
        // Nothing half-made takes the room, but what came of a download: the
        // next run goes on behind it.
        let free: u64 = self.line().parse().expect("df prints a number");
        if !failing.starts_with("source.") {
            assert!(free > 2_000, "{free} KiB are free after {stderr}");
        }
        let left = self.read("left");
        assert!(
            left.lines()
                .all(|line| line.is_empty() || line.ends_with(':')),
            "{left}"
        );
        let inside = of_store(Path::new("/store/build/"));
        assert!(
            inside.iter().all(|line| !line.contains(self.disk())),
            "{inside:?}"
        );
        let mut stdin = self.script.stdin.take().expect("it is piped");
        stdin.write_all(b"go\n").expect("the script reads it");
        let status = self.line();
        assert_eq!(status, "0", "{}", self.read("second.stderr"));
        let verified = self.line();
        assert!(verified.ends_with("0 damaged"), "{verified}");
        assert_eq!(self.line(), "0");
        assert!(self.script.wait().expect("it is our child").success());
    }

    fn disk(&self) -> &str {
        self.shop
            .path()
            .to_str()
            .expect("checks choose plain names")
    }
}

/// A package `all` that makes a file of some KiB where `place` says.
fn package(place: &str, kib: u64) -> String {
    let script =
        format!("head -c {kib}K /dev/urandom > {place}/x; [ -e /out/x ] || echo x > /out/x");
    format!("[package.all]\nroot = \"base\"\ncommand = [\"/bin/sh\", \"-euc\", \"{script}\"]\n")
}

#[test]
fn while_a_script_writes() {
    for who in Who::all() {
        for place in ["/out", "/build"] {
            let shop = Shop::new(who, &package(place, 60_000));
            Disk::new(shop, who, 30_000).check("all");
        }
    }
}

/// Nobody but the disk itself can tell why it failed.
#[test]
fn while_a_script_that_says_nothing_writes() {
    let text = "[package.all]\nroot = \"base\"\ncommand = [\"/bin/sh\", \"-euc\", \
                \"head -c 60000K /dev/urandom > /out/x 2> /dev/null\"]\n";
    for who in Who::all() {
        Disk::new(Shop::new(who, text), who, 30_000).check("all");
    }
}

#[test]
fn while_an_output_is_captured() {
    for who in Who::all() {
        let shop = Shop::new(who, &package("/out", 24_000));
        Disk::new(shop, who, 30_000).check("all");
    }
}

#[test]
fn while_a_log_is_written() {
    let text = "[package.all]\nroot = \"base\"\ncommand = [\"/bin/sh\", \"-euc\", \
                \"yes 0123456789abcdef | head -c 60000K; echo x > /out/x\"]\n";
    for who in Who::all() {
        Disk::new(Shop::new(who, text), who, 30_000).check("all");
    }
}

#[test]
fn while_a_file_is_downloaded() {
    let content = noise(1, 60_000_000);
    let server = Server::start(Answer::Content(content.clone()));
    let url = server.url("file");
    let text = format!(
        "[source.s]\nraw = true\nurl = \"{url}\"\n[package.all]\nroot = \"base\"\n\
         source = \"s\"\ncommand = [\"/bin/sh\", \"-euc\", \"echo x > /out/x\"]\n"
    );
    for who in Who::all() {
        let shop = Shop::new(who, &text);
        shop.lock(vec![pinned("s", std::slice::from_ref(&url), &content)]);
        Disk::new(shop, who, 30_000).check("source.s");
    }
}
