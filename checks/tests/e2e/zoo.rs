//! Builders that are not reproducible, each for a reason that is known: `verify`
//! has to find every one, and name what causes it. And some that are, although
//! they look as if they were not: those must not be accused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kiln_checks::{Events, Outcome, Project};
use serde_json::Value;

use crate::{project, shared};

/// A builder, and the factors that change what it makes.
struct Plant {
    name: &'static str,
    /// Run by `sh -eu`, with the source of this repository's recipe for minsys
    /// at `/src`.
    script: &'static str,
    causes: &'static [&'static str],
}

const fn plant(name: &'static str, script: &'static str, causes: &'static [&'static str]) -> Plant {
    Plant {
        name,
        script,
        causes,
    }
}

#[rustfmt::skip]
const ZOO: &[Plant] = &[
    plant("timestamp", "date > /out/x", &["clock", "time-zone", "locale"]),
    plant("year", "date -u +%Y > /out/x", &["clock"]),
    plant("epoch", "date +%s > /out/x", &["clock"]),
    plant("gzip-header", "echo text > file; gzip file; mv file.gz /out/x.gz", &["clock"]),
    plant("ar-date", "umask 022; echo text > file; llvm-ar rcU /out/x.a file", &["clock", "user"]),
    plant("tar-mtime", "echo text > file; chmod 644 file; tar --owner=0 --group=0 -cf /out/x.tar file", &["clock"]),
    plant("build-path", "pwd > /out/x", &["build-path"]),
    plant("host-name", "uname -n > /out/x", &["host-name"]),
    plant("kernel-release", "uname -r > /out/x", &["kernel-release"]),
    plant("readdir", "ls -U /src/many > /out/x", &["directory-order"]),
    plant("parallel-order",
        "printf '1 1.2\\n2 0.6\\n3 0.3\\n4 0.15\\n' | xargs -P \"$KILN_JOBS\" -L 1 sh -c 'sleep $1; echo $0 >> /out/x'",
        &["jobs"]),
    plant("jobs", "echo \"$KILN_JOBS\" > /out/x", &["jobs"]),
    plant("random-seed", "od -An -N8 -tx8 /dev/urandom > /out/x", &["random"]),
    plant("temporary-name", "mktemp > /out/x", &["random"]),
    plant("locale-sort", "printf 't\\nz\\n' | sort > /out/x", &["locale"]),
    plant("umask", "umask > /out/x", &["umask"]),
    plant("uid", "id -u > /out/x", &["user"]),
    plant("tar-owner", "touch -d @0 file; chmod 644 file; tar -cf /out/x.tar file", &["user"]),
    plant("cpu-count", "nproc > /out/x", &["processors"]),
    plant("pointer", "PERL_HASH_SEED=0 perl -e 'my $x; print \\$x' > /out/x", &["address-space"]),
    plant("pid", "echo $$ > /out/x", &["process-ids"]),
    plant("nlink", "stat -c %h /src/init > /out/x", &["link-count"]),
    plant("time-zone", "date -d @0 +%H > /out/x", &["time-zone"]),
    plant("home", "echo \"$HOME\" > /out/x", &["environment"]),
    plant("file-system", "stat -f -c %T /build > /out/x", &["file-system"]),
    plant("store-place", "grep -c another-place /proc/self/mountinfo > /out/x || :", &["store-place"]),
    plant("up-since", "awk '{ print int($1 / 1000000) }' /proc/uptime > /out/x", &["clock"]),
    // What looks like it and is not.
    plant("clean-sort", "printf 't\\nz\\n' | LC_ALL=C sort > /out/x", &[]),
    plant("clean-time", "LC_ALL=C date -u -d \"@$SOURCE_DATE_EPOCH\" > /out/x", &[]),
    plant("clean-listing", "find /src -type f | LC_ALL=C sort > /out/x", &[]),
    plant("clean-gzip", "echo text > file; gzip -n file; mv file.gz /out/x.gz", &[]),
    plant("clean-tar",
        "echo text > file; chmod 644 file; tar --owner=0 --group=0 --mtime=@0 --sort=name -cf /out/x.tar file", &[]),
    plant("clean-parallel",
        "seq 8 | xargs -P \"$KILN_JOBS\" -n 1 sh -c 'echo $0 > $0.part'; cat ?.part > /out/x", &[]),
];

/// What is built from something that is not reproducible, and itself is.
const AFTER: &str = r#"
[package.zoo-after]
root      = "base"
materials = ["zoo-epoch"]
command   = ["/bin/sh", "-euc", "cp /in/zoo-epoch/x /out/copy"]
"#;

/// A project with the zoo in it; a name there is `zoo-NAME`.
fn zoo() -> (kiln_checks::Scratch, Project) {
    let (scratch, project) = project();
    let mut recipe = String::from("[source.zoo]\npath = \"source\"\n");
    let folder = project
        .directory()
        .join("derivations/recipes/zoo/source/many");
    std::fs::create_dir_all(&folder).expect("it can be made");
    for number in 0..40 {
        let path = format!(
            "derivations/recipes/zoo/source/many/{}",
            number * 7919 % 1000
        );
        project.write(&path, "");
    }
    project.write("derivations/recipes/zoo/source/init", "#!/bin/sh\n");
    for plant in ZOO {
        let script = serde_json::to_string(plant.script).expect("a string");
        write!(
            recipe,
            "\n[package.zoo-{}]\nsource = \"zoo\"\nroot = \"base\"\ntools = [\"toolchain\"]\n\
             command = [\"/bin/sh\", \"-euc\", {script}]\n",
            plant.name
        )
        .expect("a string takes it");
    }
    recipe.push_str(AFTER);
    project.write("derivations/recipes/zoo/recipe.toml", &recipe);
    (scratch, project)
}

fn names() -> Vec<String> {
    ZOO.iter()
        .map(|plant| format!("zoo-{}", plant.name))
        .collect()
}

#[test]
fn every_planted_cause_is_found_and_nothing_else_is_accused() {
    let (_scratch, project) = zoo();
    let kiln = || shared().kiln(project.directory()).args(["--quiet"]);
    kiln()
        .args(["build", "--no-result"])
        .args(names())
        .succeed();
    let run = kiln()
        .args(["verify", "--perturb", "--keep-going", "--json"])
        .args(names())
        .run()
        .expect_status(5);
    let verified = run.json();
    let found = found(&verified);
    let mut wrong = Vec::new();
    for plant in ZOO {
        let expected: BTreeSet<String> = plant.causes.iter().map(|it| (*it).to_owned()).collect();
        let (outcome, causes) = &found[&format!("zoo-{}", plant.name)];
        let outcome_expected = if expected.is_empty() {
            "same"
        } else {
            "differs"
        };
        if *causes != expected || outcome != outcome_expected {
            wrong.push(format!(
                "{}: {outcome} because of {causes:?}, expected {outcome_expected}, {expected:?}",
                plant.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), run.stdout);
    every_build_was_told(&verified, &run.events);
}

/// Each build that the document has was an event when it was over, in this order.
fn every_build_was_told(verified: &Value, events: &Events) {
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events.of_kind("built-again") {
        let mut build = event.clone();
        let parts = build.as_object_mut().expect("an event is an object");
        parts.remove("event");
        let subject = parts.remove("derivation").expect("it is about one");
        let action = subject["action"].as_str().expect("a key").to_owned();
        told.entry(action).or_default().push(build);
    }
    for one in verified["rebuilt"].as_array().expect("a list") {
        let action = one["action"].as_str().expect("a key");
        let told = told.remove(action).map(Value::Array);
        assert_eq!(told.as_ref(), Some(&one["builds"]), "{}", one["name"]);
    }
    assert!(told.is_empty(), "nothing else was built again: {told:?}");
}

/// By name: the outcome, and all factors that are accused.
fn found(verified: &Value) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(&verified["rebuilt"])
        .iter()
        .map(|one| {
            let causes = list(&one["causes"]);
            let factors = causes.iter().flat_map(|cause| list(&cause["factors"]));
            let factors = factors.map(|factor| text(&factor)).collect();
            (text(&one["name"]), (text(&one["outcome"]), factors))
        })
        .collect()
}

#[test]
fn a_recorded_date_is_told_with_file_and_clock() {
    let (scratch, project) = zoo();
    let kiln = || shared().kiln(project.directory()).args(["--quiet"]);
    let name = "zoo-timestamp";
    kiln().args(["build", "--no-result", name]).succeed();
    let kept = scratch.join("kept");
    let Outcome { stdout, stderr, .. } = kiln()
        .args(["verify", "--rebuild", name, "--keep"])
        .args([&kept])
        .run()
        .expect_status(5);
    let said = "zoo-timestamp";
    assert!(
        stderr.contains(said) && stderr.contains("not reproducible"),
        "{stderr}"
    );
    for words in ["cause: clock", "SOURCE_DATE_EPOCH", "x, line 1"] {
        assert!(stdout.contains(words), "no `{words}` in {stdout}");
    }
    let trees = std::fs::read_dir(&kept).expect("it was made").next();
    let trees = trees.expect("a directory").expect("readable").path();
    let read = |tree: &str| std::fs::read_to_string(trees.join(tree).join("x")).expect("kept");
    assert_ne!(read("expected"), read("got"));
}

#[test]
fn what_follows_from_a_difference_is_not_blamed() {
    let (_scratch, project) = zoo();
    let kiln = || shared().kiln(project.directory()).args(["--quiet"]);
    let name = "zoo-after";
    kiln().args(["build", "--no-result", name]).succeed();
    let verify = [
        "verify",
        "--rebuild",
        "--closure",
        "--offline",
        "--json",
        name,
    ];
    let verified = kiln().args(verify).run().expect_status(5).json();
    let first = verified["first_difference"].as_str().expect("a name");
    assert!(first.starts_with("zoo-epoch"), "{first}");
    // It ends there: what was not built again is not verified.
    let outcomes = outcomes(&verified);
    assert_eq!(outcomes["zoo-epoch"], "differs");
    assert_eq!(outcomes["zoo-after"], "not-built");

    let all = [&verify[..], &["--keep-going"]].concat();
    let verified = kiln().args(all).run().expect_status(5).json();
    assert_eq!(verified["differ"], 1, "{verified}");
    let outcomes = self::outcomes(&verified);
    assert_eq!(outcomes["zoo-epoch"], "differs");
    assert_eq!(outcomes["zoo-after"], "same");
    // Downloads were not done again, and so are not counted as verified.
    assert_ne!(verified["not_built"], 0);
}

fn outcomes(verified: &Value) -> BTreeMap<String, String> {
    let rebuilt = verified["rebuilt"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    rebuilt
        .iter()
        .map(|one| (text(&one["name"]), text(&one["outcome"])))
        .collect()
}
