//! Ctrl-C and SIGTERM: one line, exit status 130, nothing running afterwards.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::process::{Ended, Running, of_store, until};
use crate::support::server::{Answer, Server, noise, pinned};
use crate::support::{Shop, Who, names};

/// Kiln said that it was interrupted, in one line, and nothing but that.
fn assert_interrupted(ended: &Ended, shop: &Shop) {
    let stderr = &ended.stderr;
    assert_eq!(ended.status, Some(130), "{stderr}");
    let errors = stderr.lines().filter(|line| line.contains("error"));
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(errors[0].contains("interrupted"), "{stderr}");
    assert_eq!(ended.events.of_kind("failed").count(), 0, "{stderr}");
    shop.assert_sound();
}

/// Both ways of asking: by a terminal, which tells the whole group, and by who
/// knows only kiln.
const SIGNALS: [(Signal, bool); 2] = [(Signal::INT, true), (Signal::TERM, false)];

/// What waits longer waits for somebody else's time limit: a server's, say.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Interrupts kiln, which ends at once.
fn interrupt(kiln: Running, (signal, to_group): (Signal, bool)) -> Ended {
    let start = Instant::now();
    match to_group {
        true => kiln.signal_group(signal),
        false => kiln.signal(signal),
    }
    let ended = kiln.wait();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    ended
}

#[test]
fn in_a_build() {
    let packages = r#"
[package.first]
root = "base"
command = ["/bin/sh", "-c", "echo first > /out/x"]

[package.long]
root = "base"
materials = ["first"]
command = ["/bin/sh", "-c", "trap '' INT TERM; echo long > /out/x; sleep 2 & wait"]
"#;
    for who in Who::all() {
        for signal in SIGNALS {
            let shop = Shop::new(who, packages);
            let build = ["build", "--no-result", "--offline", "long"];
            let kiln = Running::start(shop.kiln(&build));
            kiln.until_started("long");
            until("the script runs", || {
                of_store(&shop.store())
                    .iter()
                    .any(|line| line.ends_with("sleep 2"))
            });
            assert_interrupted(&interrupt(kiln, signal), &shop);
            assert_eq!(names(&shop.store().join("failed")), [""; 0]);
            let next = shop.build(&["long"]).expect_status(0);
            assert_eq!(next.events.built_by("exec"), ["long".to_owned()].into());
        }
    }
}

#[test]
fn in_a_download() {
    let content = noise(1, 300_000);
    for who in Who::all() {
        for signal in SIGNALS {
            let server = Server::start(Answer::Stalls {
                content: content.clone(),
                sent: 100_000,
            });
            let url = server.url("file");
            let source = format!("[source.s]\nraw = true\nurl = \"{url}\"\n");
            let shop = Shop::without_store(who, &source);
            shop.lock(vec![pinned("s", &[url], &content)]);
            let build = ["build", "--no-result", "s"];
            let kiln = Running::start(shop.kiln(&build));
            until("the download runs", || has_part(&shop));
            assert_interrupted(&interrupt(kiln, signal), &shop);
            // What came already is not fetched again.
            server.set(Answer::Content(content.clone()));
            shop.kiln(&build).succeed();
            assert_eq!(server.requests(), ["", "bytes=100000-"]);
            shop.assert_sound();
        }
    }
}

fn has_part(shop: &Shop) -> bool {
    let downloads = shop.store().join("downloads");
    let sizes = names(&downloads).into_iter().map(|name| {
        let found = std::fs::metadata(downloads.join(name));
        found.map_or(0, |found| found.len())
    });
    sizes.max() == Some(100_000)
}

/// A script waits for it, and it is in no plan of what is built.
#[test]
fn in_the_download_of_the_pinned_bubblewrap() {
    let content = noise(1, 1 << 20);
    let server = Server::start(Answer::Stalls { content, sent: 0 });
    let packages = format!(
        r#"
[mirrors]
debian = ["{}"]

[seed.other]
debian = "bookworm"
packages = ["gzip"]

[package.p]
root = "base"
command = ["/bin/sh", "-c", "echo x > /out/x"]
"#,
        server.url("debian")
    );
    for signal in SIGNALS {
        let shop = Shop::new(Who::me(), &packages);
        shop.replace("root = \"bwrap\"", "root = \"other\"");
        let asked = server.requests().len();
        // Neither a bubblewrap nor an apt of this machine is found.
        let kiln = shop
            .kiln(&["build", "--no-result", "p"])
            .env("PATH", "/nowhere");
        let kiln = Running::start(kiln);
        until("it is asked for", || server.requests().len() > asked);
        assert_interrupted(&interrupt(kiln, signal), &shop);
    }
}

#[test]
fn a_second_ctrl_c_ends_kiln_at_once() {
    let packages = r#"
[package.long]
root = "base"
command = ["/bin/sh", "-c", "echo long > /out/x; sleep 1000"]
"#;
    let shop = Shop::new(Who::me(), packages);
    let build = ["build", "--no-result", "--offline", "long"];
    let kiln = Running::start(shop.kiln(&build));
    kiln.until_started("long");
    kiln.signal(Signal::INT);
    // It may have ended by the first one already, which is as good.
    let _ = rustix::process::kill_process(kiln.pid(), Signal::INT);
    assert_eq!(kiln.wait().status, Some(130));
    until("nothing of it runs", || of_store(&shop.store()).is_empty());
    shop.assert_sound();
}
