//! Each command, by what it prints.

use std::collections::BTreeSet;

use kiln_checks::{Kiln, Outcome, Scratch};
use serde_json::Value;

use crate::{project, shared};

/// kiln on the shared store and this repository's manifest.
fn kiln(args: &[&str]) -> Outcome {
    let directory = Scratch::new();
    shared().own(directory.path()).args(args).succeed()
}

fn json(args: &[&str]) -> Value {
    let directory = Scratch::new();
    shared().own(directory.path()).args(args).json()
}

#[test]
fn every_json_document_is_as_its_schema_says() {
    let schema: Value = serde_json::from_str(&kiln(&["schema", "json"]).stdout).expect("JSON");
    for (name, args) in [
        ("build", &["build", "minsys", "--no-result"][..]),
        ("plan", &["build", "minsys", "--dry-run"]),
        ("boot", &["boot", "minsys"]),
        ("gc", &["gc", "--dry-run"]),
        ("gc-roots", &["gc", "--list-roots"]),
        ("verify", &["verify", "busybox"]),
        (
            "verify-rebuild",
            &[
                "verify",
                "--perturb",
                "musl-headers",
                "--factor",
                "umask,user",
            ],
        ),
        ("doctor", &["doctor"]),
        ("graph", &["graph"]),
        ("store-info", &["store", "info"]),
    ] {
        assert_fits(&schema, &schema["$defs"][name], &json(args), name);
    }
}

/// Whether a value is as a schema says, as far as ours say anything. A field
/// that the schema does not know is a mistake in the schema.
fn assert_fits(whole: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = whole.pointer(name.trim_start_matches('#'));
        return assert_fits(whole, schema.expect(name), value, place);
    }
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| assert_fits(whole, &schema["items"], item, place)),
        Value::Object(fields) => {
            for (key, field) in fields {
                let place = format!("{place}.{key}");
                let known = schema["properties"].get(key);
                assert_fits(whole, known.expect(&place), field, &place);
            }
            let required = schema["required"].as_array().expect(place);
            let missing = |key: &&Value| fields.get(key.as_str().unwrap_or_default()).is_none();
            assert_eq!(required.iter().find(missing), None, "missing in {place}");
        }
        leaf => assert_leaf_fits(schema, leaf, place),
    }
}

fn assert_leaf_fits(schema: &Value, leaf: &Value, place: &str) {
    let fits = match (&schema["enum"], &schema["const"], schema["type"].as_str()) {
        (Value::Array(allowed), ..) => allowed.contains(leaf),
        (_, Value::Number(_), _) => *leaf == schema["const"],
        (.., Some("string")) => leaf.is_string(),
        (.., Some("integer")) => leaf.is_u64(),
        (.., Some("number")) => leaf.is_number(),
        (.., Some("boolean")) => leaf.is_boolean(),
        _ => false,
    };
    assert!(fits, "{place} is {leaf}, expected {schema}");
}

#[test]
fn the_graph_has_the_image_with_all_it_needs() {
    let graph = json(&["graph", "minsys", "--all"]);
    let derivations = graph["derivations"].as_array().expect("a list");
    let names: BTreeSet<_> = derivations
        .iter()
        .filter_map(|d| d["name"].as_str())
        .collect();
    for name in [
        "busybox",
        "linux",
        "musl",
        "toolchain",
        "seed.base",
        "source.busybox",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    let root = graph["roots"][0].as_u64().expect("an id");
    let is_root = |derivation: &&Value| derivation["id"].as_u64() == Some(root);
    let root = derivations.iter().find(is_root).expect("it is among them");
    assert_eq!(root["name"], "image.minsys");

    assert!(
        kiln(&["graph", "minsys"])
            .stdout
            .starts_with("image.minsys (")
    );
    assert!(
        kiln(&["graph", "minsys", "--dot"])
            .stdout
            .starts_with("digraph ")
    );
}

#[test]
fn the_log_of_a_build_is_kept() {
    let whole = kiln(&["log", "busybox"]).stdout;
    assert!(whole.lines().count() > 100, "{whole}");
    let last = kiln(&["log", "busybox", "--tail", "3"]).stdout;
    assert_eq!(last.lines().count(), 3, "{last}");
    assert!(whole.ends_with(&last), "{last}");
}

#[test]
fn doctor_finds_a_sandbox_and_a_store() {
    let found = json(&["doctor"]);
    let findings = found["findings"].as_array().expect("a list");
    for what in ["store", "sandbox"] {
        let finding = findings.iter().find(|finding| finding["what"] == what);
        assert_eq!(finding.expect(what)["state"], "ok", "{found}");
    }
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = kiln(&["completions", shell]).stdout;
        for word in ["kiln", "boot", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn schemas_say_what_they_describe() {
    for (kind, word) in [("manifest", "boot-check"), ("json", "outputs")] {
        let text = kiln(&["schema", kind]).stdout;
        let schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
        assert!(schema["$schema"].is_string(), "{kind}");
        assert!(
            text.contains(&format!("\"{word}\"")),
            "{kind} does not know `{word}`"
        );
    }
}

#[test]
fn programs_run_in_a_sandbox_of_their_own() {
    let shell = kiln(&["shell", "busybox", "--", "ls", "/in/recipe"]).stdout;
    assert!(shell.lines().any(|line| line == "build.sh"), "{shell}");
    let run = kiln(&["run", "busybox", "--", "busybox", "uname"]).stdout;
    assert_eq!(run.trim(), "Linux");
    let directory = Scratch::new();
    let failing = shared().own(directory.path());
    failing
        .args(["run", "busybox", "--", "busybox", "false"])
        .run()
        .expect_status(1);
}

#[test]
fn a_dry_run_of_gc_removes_nothing() {
    let before = json(&["store", "info"])["realisations"].clone();
    let gc = json(&["gc", "--dry-run", "--keep-days", "0"]);
    assert_eq!(gc["dry_run"], true, "{gc}");
    kiln(&["build", "minsys", "--no-result", "--offline"]);
    assert!(json(&["store", "info"])["realisations"].as_u64() >= before.as_u64());
}

const BROKEN: &str = r#"
[package.broken]
root   = "base"
script = "broken.sh"
"#;

#[test]
fn a_failed_build_is_told_and_can_be_entered() {
    let (_scratch, project) = project();
    let shared = shared();
    let manifest = project.read("flake-like.toml");
    project.write("flake-like.toml", &(manifest + BROKEN));
    project.write(
        "broken.sh",
        "echo half > /build/left\necho last words\nexit 3\n",
    );
    let kiln = |args: &[&str]| -> Kiln { shared.kiln(project.directory()).args(args) };

    let failed = kiln(&["build", "broken"]).run().expect_status(1);
    assert!(
        failed.stderr.contains("    last words\n"),
        "{}",
        failed.stderr
    );
    let event = failed
        .events
        .of_kind("failed")
        .next()
        .expect("it is an event");
    assert_eq!(
        (&event["derivation"]["name"], &event["class"]),
        (&"broken".into(), &"exit".into())
    );
    assert!(!project.directory().join("result").exists());

    let log = kiln(&told(&failed, "log")).succeed().stdout;
    assert!(log.contains("last words"), "{log}");
    assert_eq!(kiln(&["log", "broken"]).succeed().stdout, log);
    let left = kiln(&told(&failed, "shell")).args(["--", "cat", "/build/left"]);
    assert_eq!(left.succeed().stdout.trim(), "half");
}

/// The arguments of the command that kiln told the user to run.
fn told<'o>(outcome: &'o Outcome, command: &str) -> Vec<&'o str> {
    let mut lines = outcome.stderr.lines();
    let command = lines.find_map(|line| {
        let (_, words) = line.split_once(": kiln ")?;
        words.starts_with(command).then_some(words)
    });
    command.expect(&outcome.stderr).split(' ').collect()
}
