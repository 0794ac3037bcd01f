//! Somebody kills a sandbox, not kiln: the build failed, and kiln says so.

use rustix::process::{Signal, kill_process};

use crate::support::process::{Running, of_store, pid_of, until};
use crate::support::{Shop, Who, failure_of};

const PACKAGE: &str = r#"
[package.long]
root = "base"
command = ["/bin/sh", "-c", "echo long > /out/x; sleep 1000; true"]
"#;

/// Kills the process of the sandbox that `choose` picks among its processes,
/// the outermost first.
fn check(who: Who, choose: impl Fn(&[String]) -> Option<&String>) {
    let shop = Shop::new(who, PACKAGE);
    let build = ["build", "--no-result", "--offline", "long"];
    let kiln = Running::start(shop.kiln(&build));
    until("the script runs", || {
        of_store(&shop.store())
            .iter()
            .any(|line| line.ends_with("sleep 1000"))
    });
    let mut running = of_store(&shop.store());
    running.sort_by_key(|line| pid_of(line).as_raw_nonzero());
    let victim = choose(&running).unwrap_or_else(|| panic!("no victim in {running:?}"));
    kill_process(pid_of(victim), Signal::KILL).expect("it runs");
    let ended = kiln.wait();
    assert_eq!(ended.status, Some(1), "{victim}: {}", ended.stderr);
    let (class, message) = failure_of(&ended.events, "long");
    assert_eq!(class, "exit", "{victim}: {message}");
    assert!(
        message.contains("signal 9") || message.contains("status 137"),
        "{message}"
    );
    shop.assert_sound();
}

#[test]
fn bubblewrap_outside() {
    for who in Who::all() {
        check(who, |running| running.first());
    }
}

#[test]
fn the_first_process_inside() {
    for who in Who::all() {
        check(who, |running| running.get(1));
    }
}

#[test]
fn the_builder() {
    for who in Who::all() {
        check(who, |running| {
            running.iter().find(|line| line.contains(" /bin/sh -c"))
        });
    }
}
