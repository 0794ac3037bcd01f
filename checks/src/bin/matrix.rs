//! What takes hours, as one command that writes a table:
//!
//! ```text
//! cargo run --package kiln-checks --bin matrix -- --store DIR [--to FILE]
//! ```
//!
//! For both targets, each in stores of its own below DIR. If it was ended it may
//! be started again: a store that is there is gone on with, and its row says so.
//!
//! 1. `kiln boot minsys` as root, then a second `kiln build minsys`.
//! 2. The same as an ordinary user elsewhere ([`Kiln::elsewhere`]) with other
//!    job counts, and a comparison of every output of the two.
//! 3. `kiln test`: every format boots, and the guest's tools work.
//! 4. A patch to one string of busybox and to one of the kernel; the guest
//!    prints both.
//!
//! A check that fails ends it with what went wrong; a table means that all hold.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use clap::Parser;
use kiln_checks::program::repository;
use kiln_checks::{Events, Kiln, Outcome, Project, Scratch, UNUSED_ID, is_root};

const TARGETS: [&str; 2] = ["x86_64", "aarch64"];

/// Build, boot, test and patch minsys for both targets, as root and as a user
#[derive(Parser)]
#[command(name = "matrix")]
struct Arguments {
    /// The directory that gets a store for each target and user, or has them
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Where the table goes; without it, to the standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

fn main() {
    let Arguments { store, to } = Arguments::parse();
    assert!(
        is_root(),
        "run it as root: it compares root's builds with a user's"
    );
    fs::create_dir_all(&store).expect("the directory can be made");
    let mut table = String::from(HEAD);
    for target in TARGETS {
        Matrix::new(&store, target).run(&mut table);
    }
    match to {
        Some(path) => fs::write(path, &table).expect("the table can be written"),
        None => print!("{table}"),
    }
}

const HEAD: &str = "\
| what | target | who | wall | CPU | fetched | built | outcome |
|---|---|---|--:|--:|--:|--:|---|
";

/// Everything for one target.
struct Matrix {
    target: &'static str,
    /// Root's store and an ordinary user's.
    root: PathBuf,
    user: PathBuf,
    scratch: Scratch,
}

impl Matrix {
    fn new(directory: &Path, target: &'static str) -> Self {
        let (root, user) = (directory.join("root"), directory.join("user"));
        for (path, uid) in [(&root, 0), (&user, UNUSED_ID)] {
            fs::create_dir_all(path).expect("the directory can be made");
            chown(path, Some(uid), Some(uid)).expect("root may");
        }
        let (root, user) = (root.join(target), user.join(target));
        let scratch = Scratch::of_user();
        Self {
            target,
            root,
            user,
            scratch,
        }
    }

    fn run(&self, table: &mut String) {
        let here = self.boot_from_empty(table, "root", self.as_root());
        self.build_again(table);
        let there = self.boot_from_empty(table, "user", self.elsewhere());
        self.compare(table, &here, &there);
        self.test_formats(table);
        self.boot_patched(table);
    }

    fn as_root(&self) -> Kiln {
        let kiln = Kiln::new(self.scratch.path(), &self.root);
        kiln.env("KILN_MANIFEST", repository())
    }

    /// The user's project is a copy: the repository may be closed to others.
    fn elsewhere(&self) -> Kiln {
        let project = Project::copy_to(&self.scratch.join("elsewhere"));
        let kiln = Kiln::elsewhere(self.scratch.path(), &self.user);
        kiln.env("KILN_MANIFEST", project.directory())
    }

    fn words<'w>(&'w self, command: &'w str) -> [&'w str; 4] {
        [command, "minsys", "--target", self.target]
    }

    fn boot_from_empty(&self, table: &mut String, who: &str, kiln: Kiln) -> Events {
        let (store, jobs): (_, &[&str]) = match who {
            "user" => (&self.user, &["--jobs", "2", "--cores", "1"]),
            _ => (&self.root, &[]),
        };
        let what = match store.exists() {
            true => "boot, going on",
            false => "boot from an empty store",
        };
        let run = kiln.args(self.words("boot")).args(jobs);
        let log = store.with_extension("events");
        let run = run.stdin("uname -m\n").events(&log).succeed();
        let mut lines = run.stdout.lines();
        let answer = lines.any(|line| line.trim() == self.target);
        assert!(answer, "the guest did not answer:\n{}", run.stdout);
        self.row(table, what, who, &run, "answers `uname -m`");
        // All that was ever built into it, also before it was ended.
        Events::read(&log)
    }

    fn build_again(&self, table: &mut String) {
        let run = self.as_root().args(self.words("build"));
        let run = run.args(["--no-result"]).succeed();
        assert_eq!(run.events.end()["built"], 0, "{:?}", run.events.built());
        self.row(table, "second build", "root", &run, "nothing built");
    }

    fn compare(&self, table: &mut String, here: &Events, there: &Events) {
        let different = there.differences(here);
        assert!(different.is_empty(), "outputs differ: {different:#?}");
        let count = there.outputs().len();
        assert_eq!(
            count,
            here.outputs().len(),
            "both built the same derivations"
        );
        let target = self.target;
        let row = format!("| all outputs, two stores | {target} | both | | | | {count} | same |");
        self.say(table, &row);
    }

    fn test_formats(&self, table: &mut String) {
        let run = self.as_root().args(["--json"]).args(self.words("test"));
        let run = run.succeed();
        let tested = run.json();
        let checks = tested["checks"].as_array().expect("a list");
        let formats: Vec<_> = checks.iter().filter_map(|c| c["format"].as_str()).collect();
        let outcome = format!("{} boot, self-test passes", formats.join(", "));
        self.row(table, "boot checks", "root", &run, &outcome);
    }

    fn boot_patched(&self, table: &mut String) {
        let scratch = Scratch::new();
        let project = Project::copy_to(scratch.path());
        for package in ["busybox", "linux"] {
            let name = format!("{package}-banner.patch");
            let diff = fs::read_to_string(repository().join("checks/patches").join(&name));
            project.patch(package, &name, &diff.expect("a patch of the checks"));
        }
        let run = Kiln::new(project.directory(), &self.root).args(self.words("boot"));
        let run = run.stdin("busybox 2>&1 | head -n 1; cat /proc/version\n");
        let run = run.succeed();
        for banner in [
            "multi-call binary, from a patched source",
            "UTC, from a patched source",
        ] {
            assert!(
                run.stdout.contains(banner),
                "no `{banner}`:\n{}",
                run.stdout
            );
        }
        self.row(
            table,
            "busybox and linux patched",
            "root",
            &run,
            "the guest prints both",
        );
    }

    fn row(&self, table: &mut String, what: &str, who: &str, run: &Outcome, outcome: &str) {
        // What follows it is of the roots that kiln runs programs from.
        let end = run.events.of_kind("end").last().expect("it ends");
        let number = |key: &str| end[key].as_u64().unwrap_or_default();
        let (wall_s, cpu_s) = (run.wall.as_secs_f64(), run.cpu.as_secs_f64());
        let fetched_mb = number("fetched_bytes") / 1_000_000;
        let row = format!(
            "| {what} | {} | {who} | {wall_s:.1} s | {cpu_s:.2} s | {fetched_mb} MB | {} | {outcome} |",
            self.target,
            number("built")
        );
        self.say(table, &row);
    }

    /// Adds a line, and shows it: the whole takes long.
    fn say(&self, table: &mut String, row: &str) {
        eprintln!("{row}");
        writeln!(table, "{row}").expect("a string takes all");
    }
}
