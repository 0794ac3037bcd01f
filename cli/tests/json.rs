//! What `--json` and `--events` write is what the schema says.
//!
//! Real output of commands that need neither network nor sandbox is held
//! against `cli/schema/json.schema.json`, by as much of JSON Schema as that
//! file uses. A key that the schema does not know is an error here, though not
//! for who reads: so none is printed without being described.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

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

/// A project and a store that builders of another user can get to.
struct Project(TempDir);

impl Project {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("it is ours");
        let project = Self(directory);
        let words = project.path("words");
        let manifest = MANIFEST.replace("WORDS", &words);
        fs::write(project.path("flake-like.toml"), manifest).expect("writable");
        fs::write(&words, "words\n").expect("writable");
        fs::create_dir(project.path("folder")).expect("writable");
        fs::write(project.path("folder/file"), "file\n").expect("writable");
        project
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.into_os_string().into_string().expect("it is text")
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut kiln = Command::new(env!("CARGO_BIN_EXE_kiln"));
        kiln.arg("--json").args(["--events", &self.path("events")]);
        kiln.args(["--store", &self.path("store")]).args(args);
        kiln.env_remove("KILN_MANIFEST").current_dir(self.0.path());
        kiln.output().expect("kiln starts")
    }

    /// Runs kiln and holds its document against the definition `kind`.
    fn check(&self, kind: &str, args: &[&str]) -> Value {
        let output = self.run(args);
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}"));
        let schema = schema();
        valid(&schema, &schema["$defs"][kind], &document)
            .unwrap_or_else(|why| panic!("{args:?}: {why}"));
        // And it is one of those that the whole allows.
        valid(&schema, &schema, &document).unwrap_or_else(|why| panic!("{args:?}: {why}"));
        document
    }
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
    match kind.as_str() {
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
    let project = Project::new();
    let locked = project.check("lock", &["lock"]);
    assert_eq!(locked["changed"], true);
    assert_eq!(locked["pinned"][0]["name"], "words");

    let plan = project.check("plan", &["build", "--dry-run", "rootfs.small#tar"]);
    assert!(
        plan["build"]
            .as_array()
            .is_some_and(|build| !build.is_empty())
    );
    let build = project.check("build", &["build", "rootfs.small#tar", "source.words"]);
    assert_eq!(build["outputs"].as_array().map(Vec::len), Some(2));
    assert_eq!(build["fetched"], 1);
    let again = project.check("build", &["build", "--no-result", "source.folder"]);
    assert!(again["outputs"][0].get("path").is_none());

    project.check("graph", &["graph", "rootfs.small", "--all"]);
    project.check("doctor", &["doctor"]);
    let info = project.check("store-info", &["store", "info"]);
    assert_ne!(info["realisations"], 0);
    project.check("store-rebuild", &["store", "rebuild"]);
    let verified = project.check("verify", &["verify"]);
    assert_eq!(verified["damaged"], Value::Array(Vec::new()));
    let words = project.path("words");
    let same = project.check(
        "verify-file",
        &["verify", &words, "--against", "source.words"],
    );
    assert_eq!(same["same"], true);
    let again = ["verify", "--rebuild", "--closure", "rootfs.small"];
    let again = project.check("verify-rebuild", &again);
    assert_eq!(again["differ"], 0);
    assert_ne!(again["same"], 0);
    let roots = project.check("gc-roots", &["gc", "--list-roots"]);
    assert!(
        roots["roots"]
            .as_array()
            .is_some_and(|roots| !roots.is_empty())
    );
    project.check("gc", &["gc", "--dry-run"]);
    let gone = project.check("gc", &["gc", "--damaged"]);
    assert_eq!(gone["damaged"], 0);
}

#[test]
fn events_are_what_the_schema_says() {
    let project = Project::new();
    project.check("lock", &["lock"]);
    project.check("build", &["build", "rootfs.small#tar", "source.words"]);
    project.check("build", &["build", "rootfs.small#tar"]);
    let failed = project.run(&["build", "rootfs.broken"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");

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
    for kind in ["start", "started", "built", "reused", "failed", "end"] {
        assert!(kinds.iter().any(|it| it == kind), "no {kind} in {kinds:?}");
    }
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
    let printed = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["schema", "json"])
        .output()
        .expect("kiln starts");
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("it is JSON");
    assert_eq!(printed, schema);
}
