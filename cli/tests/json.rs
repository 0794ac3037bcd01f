//! What `--json` and `--events` write is what the schema says.
//!
//! Real output of commands that need neither network nor sandbox is held
//! against `cli/schema/json.schema.json`, by as much of JSON Schema as that
//! file uses. A key that the schema does not know is an error here, though not
//! for who reads: so none is printed without being described.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::Project;

const MANIFEST: &str = r##"
[flake]
name    = "paper"
targets = ["x86_64", "aarch64"]

[source.words]
url = "file:WORDS"
raw = true

[source.folder]
path = "folder"

[rootfs.small]
files   = { "/etc/motd" = { text = "hello\n", mode = "0600" } }
devices = ["/dev/null c 1 3 0666"]

[rootfs.broken]
files = { "/bin/x" = { text = "#!/bin/nothing\n", mode = "0755" } }
"##;

/// Runs kiln and holds its document against the definition `kind`.
fn check(project: &Project, kind: &str, args: &[&str]) -> Value {
    let output = run(project, args);
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}"));
    let schema = schema();
    valid(&schema, &schema["$defs"][kind], &document)
        .unwrap_or_else(|why| panic!("{args:?}: {why}"));
    // And it is one of those that the whole allows.
    valid(&schema, &schema, &document).unwrap_or_else(|why| panic!("{args:?}: {why}"));
    document
}

fn run(project: &Project, args: &[&str]) -> Output {
    let mut kiln = project.kiln("store", args);
    kiln.arg("--json")
        .args(["--events", &project.path("events")]);
    kiln.output().expect("kiln starts")
}

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/json.schema.json");
    let text = fs::read_to_string(path).expect("it is in the repository");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Whether `value` is what `rule` says; else where it is not.
fn valid(schema: &Value, rule: &Value, value: &Value) -> Result<(), String> {
    for (keyword, said) in rule.as_object().expect("a rule is an object") {
        match keyword.as_str() {
            "$ref" => valid(schema, referred(schema, said), value)?,
            "anyOf" | "oneOf" => {
                let rules = said.as_array().expect("rules are an array");
                let fit = rules
                    .iter()
                    .filter(|rule| valid(schema, rule, value).is_ok());
                let fit = fit.count();
                require(fit == 1 || keyword == "anyOf" && fit > 0, keyword, value)?;
            }
            "const" => require(value == said, keyword, value)?,
            "enum" => {
                let allowed = said.as_array().expect("values are an array");
                require(allowed.contains(value), keyword, value)?;
            }
            "type" => require(is_of(said, value), &said.to_string(), value)?,
            "minimum" => require(value.as_f64() >= said.as_f64(), keyword, value)?,
            "pattern" => require(is_digest(said, value), keyword, value)?,
            "required" => {
                for key in said.as_array().expect("keys are an array") {
                    let key = key.as_str().expect("a key is text");
                    require(value.get(key).is_some(), &format!("`{key}`"), value)?;
                }
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let rule = said.get(key).ok_or_else(|| format!("`{key}` is unknown"))?;
                    valid(schema, rule, value).map_err(|why| format!("{key}: {why}"))?;
                }
            }
            "additionalProperties" => {
                for (_, value) in value.as_object().into_iter().flatten() {
                    valid(schema, said, value)?;
                }
            }
            "items" => {
                for value in value.as_array().into_iter().flatten() {
                    valid(schema, said, value)?;
                }
            }
            "description" | "title" | "$schema" | "$defs" => {}
            other => panic!("this test does not know the keyword `{other}`"),
        }
    }
    Ok(())
}

fn referred<'s>(schema: &'s Value, said: &Value) -> &'s Value {
    let pointer = said.as_str().expect("a reference is text");
    let pointer = pointer.strip_prefix('#').expect("it is of this file");
    schema
        .pointer(pointer)
        .unwrap_or_else(|| panic!("{pointer} leads nowhere"))
}

fn require(holds: bool, what: &str, value: &Value) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("expected {what}, got {value}")),
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    if let Some(kinds) = kind.as_array() {
        return kinds.iter().any(|kind| is_of(kind, value));
    }
    match kind.as_str() {
        Some("null") => value.is_null(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        _ => panic!("this test does not know the type {kind}"),
    }
}

/// The one pattern there is.
fn is_digest(pattern: &Value, value: &Value) -> bool {
    assert_eq!(pattern, "^[0-9a-f]{64}$");
    let text = value.as_str().unwrap_or_default();
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[test]
fn documents_are_what_the_schema_says() {
    let project = Project::new(MANIFEST);
    let locked = check(&project, "lock", &["lock"]);
    assert_eq!(locked["changed"], true);
    assert_eq!(locked["pinned"][0]["name"], "words");

    let plan = check(
        &project,
        "plan",
        &["build", "--dry-run", "rootfs.small#tar"],
    );
    assert!(
        plan["build"]
            .as_array()
            .is_some_and(|build| !build.is_empty())
    );
    let build = check(
        &project,
        "build",
        &["build", "rootfs.small#tar", "source.words"],
    );
    assert_eq!(build["outputs"].as_array().map(Vec::len), Some(2));
    assert_eq!(build["fetched"], 1);
    let again = check(
        &project,
        "build",
        &["build", "--no-result", "source.folder"],
    );
    assert!(again["outputs"][0].get("path").is_none());

    check(&project, "graph", &["graph", "rootfs.small", "--all"]);
    check(&project, "doctor", &["doctor"]);
    let info = check(&project, "store-info", &["store", "info"]);
    assert_ne!(info["realisations"], 0);
    check(&project, "store-rebuild", &["store", "rebuild"]);
    let verified = check(&project, "verify", &["verify"]);
    assert_eq!(verified["damaged"], Value::Array(Vec::new()));
    let words = project.path("words");
    let same = check(
        &project,
        "verify-file",
        &["verify", &words, "--against", "source.words"],
    );
    assert_eq!(same["same"], true);
    let again = ["verify", "--rebuild", "--closure", "rootfs.small"];
    let again = check(&project, "verify-rebuild", &again);
    assert_eq!(again["differ"], 0);
    assert_ne!(again["same"], 0);
    let roots = check(&project, "gc-roots", &["gc", "--list-roots"]);
    assert!(
        roots["roots"]
            .as_array()
            .is_some_and(|roots| !roots.is_empty())
    );
    check(&project, "gc", &["gc", "--dry-run"]);
    let gone = check(&project, "gc", &["gc", "--damaged"]);
    assert_eq!(gone["damaged"], 0);
}

#[test]
fn documents_of_sharing_are_what_the_schema_says() {
    let project = Project::new(MANIFEST);
    fs::create_dir(project.path("cache")).expect("writable");
    let made = check(&project, "key", &["key", "generate"]);
    let key = made["key"].as_str().expect("a key");
    project.write(
        "config/config.toml",
        &format!(
            "[cache.here]\nurl = \"{}\"\n[trust]\nkeys = [{{ key = \"{key}\", operator = \"me\" }}]\n",
            project.path("cache")
        ),
    );
    let listed = check(&project, "cache-list", &["cache", "list"]);
    assert_eq!(listed["keys"][0]["attributes"]["operator"], "me");
    check(&project, "lock", &["lock"]);
    check(&project, "build", &["build", "rootfs.small", "--no-result"]);
    let pushed = check(&project, "push", &["push", "rootfs.small"]);
    assert_ne!(pushed["claims"], 0);
    let verify = ["verify", "--caches", "rootfs.small"];
    let compared = check(&project, "verify-caches", &verify);
    assert_eq!(compared["unclaimed"], 0);
    check(&project, "cache-check", &["cache", "check", "here"]);
    let there = check(&project, "cache-init", &["cache", "init", "here"]);
    assert_eq!(
        (&there["made"], &there["format"]),
        (&false.into(), &1.into())
    );
    let made = check(&project, "cache-init", &["cache", "init", "another"]);
    assert_eq!(made["abilities"]["list"]["works"], true);
    let info = check(&project, "cache-info", &["cache", "info", "here"]);
    assert_eq!(info["holds"]["signers"][0]["as"], key);
    check(&project, "cache-gc", &["cache", "gc", "here"]);
    let file = project.path("small.tar.zst");
    let exported = check(&project, "export", &["export", &file, "rootfs.small"]);
    assert_ne!(exported["size_bytes"], 0);
    fs::rename(project.path("store"), project.path("away")).expect("it is ours");
    let pulled = check(&project, "build", &["pull", "rootfs.small", "--no-result"]);
    assert_eq!(
        (&pulled["built"], &pulled["pulled"]),
        (&0.into(), &1.into())
    );
    let why = ["why", "--not-cached", "rootfs.small"];
    let explained = check(&project, "why", &why);
    assert_eq!(explained["explained"][0]["verdict"]["kind"], "claimed");
    let manifest = MANIFEST.replace("hello", "bye").replace("0666", "0600");
    project.write(
        "flake-like.toml",
        &manifest.replace("WORDS", &project.path("words")),
    );
    let explained = check(&project, "why", &why);
    assert_ne!(explained["explained"][0]["nearest"], Value::Null);
    let stated = check(&project, "key-statement", &["key", "revoke"]);
    assert_eq!(stated["serial"], 1);
    check(&project, "why", &why);
    let kinds = events(&project);
    assert!(kinds.iter().any(|it| it == "sent"), "{kinds:?}");
}

#[test]
fn what_a_server_prints_is_what_the_schema_says() {
    let project = Project::new(MANIFEST);
    let args = [
        "cache",
        "serve",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "folder",
    ];
    let mut kiln = project.kiln("store", &args);
    let mut server = kiln.stdout(Stdio::piped()).spawn().expect("kiln starts");
    let stdout = BufReader::new(server.stdout.take().expect("it is piped"));
    let mut text = String::new();
    for line in stdout.lines() {
        text.push_str(&line.expect("text"));
        if text.ends_with('}') {
            break;
        }
    }
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let schema = schema();
    valid(&schema, &schema["$defs"]["cache-serve"], &document).expect("as described");
}

#[test]
fn events_are_what_the_schema_says() {
    let project = Project::new(MANIFEST);
    check(&project, "lock", &["lock"]);
    check(
        &project,
        "build",
        &["build", "rootfs.small#tar", "source.words"],
    );
    check(&project, "build", &["build", "rootfs.small#tar"]);
    let failed = run(&project, &["build", "rootfs.broken"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let again = run(&project, &["verify", "--perturb", "rootfs.small"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");

    let kinds = events(&project);
    for kind in [
        "start",
        "started",
        "built",
        "reused",
        "failed",
        "end",
        "built-again",
    ] {
        assert!(kinds.iter().any(|it| it == kind), "no {kind} in {kinds:?}");
    }
}

/// The kinds of all events that were written; each is what the schema says.
fn events(project: &Project) -> Vec<String> {
    let schema = schema();
    let log = fs::read_to_string(project.path("events")).expect("it was written");
    let mut kinds = Vec::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        let kind = event["event"].as_str().expect("an event has a kind");
        valid(&schema, &schema["$defs"]["event"], &event).unwrap_or_else(|why| {
            let rule = &schema["$defs"][format!("event-{kind}")];
            panic!("{line}: {why}: {:?}", valid(&schema, rule, &event))
        });
        kinds.push(kind.to_owned());
    }
    kinds
}

/// Every keyword is one that this test judges by, in the parts that no cheap
/// command prints too.
#[test]
fn the_schema_is_whole() {
    let schema = schema();
    for (name, rule) in schema["$defs"].as_object().expect("definitions") {
        // Nothing is valid against a rule that leads nowhere or has a keyword
        // that this test does not know: it panics.
        let _ = valid(&schema, rule, &serde_json::json!({ "event": name }));
    }
    let project = Project::new(MANIFEST);
    let printed = project.kiln("store", &["schema", "json"]).output();
    let printed = printed.expect("kiln starts");
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("it is JSON");
    assert_eq!(printed, schema);
}
