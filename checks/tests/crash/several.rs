//! Several kilns on one graph at the same time: each derivation is built once.

use std::collections::BTreeMap;

use crate::support::process::Running;
use crate::support::server::{Answer, Server, noise, pinned};
use crate::support::{Shop, Who};

/// A graph of layers: each package needs two of the layer before.
fn graph() -> String {
    let mut text = String::new();
    for layer in 0..4 {
        for number in 0..4 {
            let needs = match layer {
                0 => "source = \"s\"".to_owned(),
                _ => format!(
                    "materials = [\"p{}-{number}\", \"p{}-{}\"]",
                    layer - 1,
                    layer - 1,
                    (number + 1) % 4
                ),
            };
            text += &format!(
                "[package.p{layer}-{number}]\nroot = \"base\"\n{needs}\n\
                 command = [\"/bin/sh\", \"-c\", \"sleep 0.05; echo {layer} {number} > /out/p{layer}-{number}\"]\n"
            );
        }
    }
    text + "[compose.all]\npackages = [\"p3-0\", \"p3-1\", \"p3-2\", \"p3-3\"]\n"
}

fn check(who: Who, count: usize) {
    let content = noise(1, 100_000);
    let server = Server::start(Answer::Slowly(content.clone()));
    let url = server.url("file");
    let text = format!("[source.s]\nraw = true\nurl = \"{url}\"\n{}", graph());
    let shop = Shop::new(who, &text);
    shop.lock(vec![pinned("s", &[url], &content)]);
    let build = ["build", "--no-result", "--jobs", "3", "all"];
    let kilns: Vec<_> = (0..count)
        .map(|_| Running::start(shop.kiln(&build)))
        .collect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for kiln in kilns {
        let ended = kiln.wait();
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        for event in ended.events.of_kind("built") {
            *times
                .entry(event["derivation"]["action"].to_string())
                .or_default() += 1;
        }
    }
    // Sixteen scripts, one download, one composition.
    assert_eq!(times.len(), 18, "{times:?}");
    assert!(times.values().all(|&times| times == 1), "{times:?}");
    assert_eq!(server.requests().len(), 1);
    shop.assert_sound();
}

#[test]
fn two_build_each_derivation_once() {
    for who in Who::all() {
        check(who, 2);
    }
}

#[test]
fn four_build_each_derivation_once() {
    check(Who::me(), 4);
}

/// One kiln waits for what another builds, and builds it when that one dies.
#[test]
fn who_waits_for_a_kiln_that_is_killed_builds_it_itself() {
    let packages = r#"
[package.p]
root = "base"
command = ["/bin/sh", "-c", "echo p > /out/x; sleep 1"]
"#;
    let shop = Shop::new(Who::me(), packages);
    let build = ["build", "--no-result", "--offline", "p"];
    let first = Running::start(shop.kiln(&build));
    first.until_started("p");
    let second = Running::start(shop.kiln(&build));
    crate::support::process::until("the second waits", || {
        second.events().of_kind("waiting").count() == 1
    });
    first.signal(rustix::process::Signal::KILL);
    assert_eq!(first.wait().status, None);
    let second = second.wait();
    assert_eq!(second.status, Some(0), "{}", second.stderr);
    assert!(second.events.built().contains("p"));
    shop.build(&["p"]).expect_status(0);
    shop.assert_sound();
}
