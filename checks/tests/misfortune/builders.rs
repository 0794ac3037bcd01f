//! Builders that fail or misbehave: classed, ended within their limits, with
//! nothing half-made kept.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use kiln_checks::Outcome;

use crate::support::process::of_store;
use crate::support::{Shop, Who, failure_of, names};

/// What a package `p` with this script comes to.
struct Ran {
    shop: Shop,
    outcome: Outcome,
}

impl Ran {
    /// Builds a package that runs `script`; `more` is added to its table.
    fn new(who: Who, script: &str, more: &str) -> Self {
        let text = format!("[package.p]\nroot = \"base\"\nscript = \"p.sh\"\n{more}\n");
        let shop = Shop::new(who, &text);
        shop.write("p.sh", script);
        let outcome = shop.build(&["p"]);
        Self { shop, outcome }
    }

    /// It failed with this class and said this; nothing is left of it.
    fn failed(self, class: &str, said: &str) -> Self {
        let stderr = &self.outcome.stderr;
        assert_eq!(self.outcome.status, 1, "{stderr}");
        let (found, message) = failure_of(&self.outcome.events, "p");
        assert_eq!(found, class, "{stderr}");
        assert!(message.contains(said), "{said:?} in {message:?}");
        assert!(stderr.contains(message), "{message:?} in {stderr}");
        assert!(!self.outcome.events.built().contains("p"));
        self.shop.assert_sound();
        self
    }

    /// It ended within these seconds.
    fn within(self, seconds: u64) -> Self {
        let wall = self.outcome.wall;
        assert!(wall < Duration::from_secs(seconds), "it took {wall:?}");
        self
    }
}

/// As everybody, a script fails with this class and says this.
fn check(script: &str, more: &str, class: &str, said: &str) {
    for who in Who::all() {
        Ran::new(who, script, more).failed(class, said);
    }
}

#[test]
fn a_status_shows_the_last_lines_and_the_command_for_the_log() {
    let script = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; exit 7\n";
    for who in Who::all() {
        let ran = Ran::new(who, script, "").failed("exit", "status 7");
        let stderr = &ran.outcome.stderr;
        assert!(stderr.contains("    line 50\n"), "{stderr}");
        assert!(stderr.contains("    line 31\n"), "{stderr}");
        assert!(!stderr.contains("    line 30\n"), "{stderr}");
        let (_, action) = stderr.split_once("kiln log ").expect("it is named");
        let action = action.split_whitespace().next().expect("a key");
        let whole: String = (1..=50).map(|i| format!("line {i}\n")).collect();
        assert_eq!(ran.shop.kiln(&["log", action]).succeed().stdout, whole);
        assert_eq!(ran.shop.kiln(&["log", "p"]).succeed().stdout, whole);
        // Its tree is as it was left.
        assert!(stderr.contains("kiln shell --failed p"), "{stderr}");
        assert_eq!(names(&ran.shop.store().join("failed")).len(), 1);
    }
}

#[test]
fn a_signal_is_named() {
    check("kill -KILL $$\n", "", "exit", "signal 9");
    check("kill -SEGV $$\n", "", "exit", "signal 11");
}

#[test]
fn a_builder_that_hangs_is_ended_at_its_wall_limit() {
    let script = "while :; do echo still here; sleep 0.2; done\n";
    for who in Who::all() {
        let ran = Ran::new(who, script, "limits = { wall = \"2s\" }");
        ran.failed("limit", "2 s").within(12);
    }
}

#[test]
fn a_builder_that_says_nothing_is_ended_at_its_silence_limit() {
    for who in Who::all() {
        let ran = Ran::new(who, "sleep 1000\n", "limits = { silence = \"1s\" }");
        ran.failed("limit", "silence").within(12);
    }
}

#[test]
fn a_builder_that_floods_the_log_is_ended_at_its_log_limit() {
    for who in Who::all() {
        let limit = "limits = { log = \"100KiB\" }";
        let ran = Ran::new(who, "yes 0123456789abcde\n", limit).failed("limit", "log");
        let ran = ran.within(20);
        let log = ran.shop.kiln(&["log", "p"]).succeed().stdout;
        assert!((50_000..=102_400).contains(&log.len()), "{}", log.len());
    }
}

#[test]
fn one_endless_line_floods_neither() {
    let limit = "limits = { log = \"1MiB\" }";
    let ran = Ran::new(Who::me(), "yes | tr -d '\\n'\n", limit).failed("limit", "log");
    assert!(
        ran.outcome.stderr.len() < 50_000,
        "{}",
        ran.outcome.stderr.len()
    );
}

#[test]
fn what_a_background_process_still_writes_is_not_captured() {
    let script = r#"
echo done > /out/done
perl -MPOSIX -e 'fork and exit; setsid(); exec "sh", "-c",
    "while :; do echo more >> /out/more; echo x > /out/new; rm /out/new; done"' > /dev/null 2>&1
until [ -s /out/more ]; do :; done
"#;
    for who in Who::all() {
        let ran = Ran::new(who, script, "limits = { wall = \"20s\" }");
        assert_eq!(ran.outcome.status, 0, "{}", ran.outcome.stderr);
        assert_eq!(of_store(&ran.shop.store()), [""; 0]);
        ran.shop.assert_sound();
        let export = |name: &str| {
            let to = ran.shop.path().join(name);
            let path = to.to_str().expect("checks choose plain names");
            let arguments = ["build", "--offline", "p", "--out", path];
            ran.shop.kiln(&arguments).succeed();
            (
                fs::read_to_string(to.join("done")).expect("it is complete"),
                fs::read_to_string(to.join("more")).expect("it is complete"),
            )
        };
        let first = export("first");
        assert_eq!(first.0, "done\n");
        // Whole lines, whenever it was ended: an output is captured at rest.
        thread::sleep(Duration::from_millis(200));
        assert_eq!(export("second"), first);
        ran.shop.assert_sound();
    }
}

#[test]
fn no_output_is_a_failure() {
    check("true\n", "", "output", "made no output `out`");
    let two = "outputs = [\"out\", \"dev\"]";
    check(
        "echo x > /out/out/x\n",
        two,
        "output",
        "made no output `dev`",
    );
}

#[test]
fn what_no_output_may_hold_is_named() {
    let both = "chmod 4755 /out/bin/x";
    let script = |make: &str| format!("mkdir /out/bin; echo x > /out/bin/x; {make}\n");
    check(
        &script(both),
        "",
        "output",
        "`bin/x` has the setuid or setgid bit",
    );
    let setgid = "chmod 2755 /out/bin/x";
    check(
        &script(setgid),
        "",
        "output",
        "`bin/x` has the setuid or setgid bit",
    );
    check(
        &script("mkfifo /out/bin/f"),
        "",
        "output",
        "`bin/f` is a fifo",
    );
    let socket = "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
                  bind(S, sockaddr_un(\"/out/bin/s\")) or die $!'";
    check(&script(socket), "", "output", "`bin/s` is a socket");
}

#[test]
fn an_output_swapped_for_a_link_is_refused() {
    let script = "echo x > /out/out/x; rmdir /out/dev; ln -s /etc /out/dev\n";
    let two = "outputs = [\"out\", \"dev\"]";
    check(
        script,
        two,
        "output",
        "output `dev` is no directory any more",
    );
    let script = "echo x > /out/out/x; rmdir /out/dev; echo x > /out/dev\n";
    check(
        script,
        two,
        "output",
        "output `dev` is no directory any more",
    );
}

#[test]
fn too_much_output_is_ended_at_its_limit() {
    let limit = "limits = { output = \"4MiB\" }";
    let many = "while :; do head -c 1M /dev/zero >> /out/x; echo more; done\n";
    let quick = "head -c 20M /dev/zero > /out/x\n";
    for who in Who::all() {
        Ran::new(who, many, limit)
            .failed("limit", "output")
            .within(20);
        // Over before anybody looked: capturing it looks again.
        let ran = Ran::new(who, quick, limit);
        let (class, _) = failure_of(&ran.outcome.events, "p");
        assert!(["limit", "output"].contains(&class), "{class}");
        ran.shop.assert_sound();
    }
}

#[test]
fn a_fork_bomb_is_ended_within_its_limits() {
    let limits = "limits = { processes = 100, wall = \"10s\" }";
    let bomb = "b() { b | b & }\nb\nsleep 1000\n";
    for who in Who::all() {
        let start = Instant::now();
        let ran = Ran::new(who, bomb, limits);
        let (class, _) = failure_of(&ran.outcome.events, "p");
        assert!(["limit", "exit"].contains(&class), "{class}");
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
        ran.shop.assert_sound();
    }
}
