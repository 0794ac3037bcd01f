//! What is generated from the types is what is in the repository.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::assemble::Assembly;
use kiln_derivations::manifest::schema::Attach;
use kiln_derivations::manifest::{Imported, Lock, evaluate, init, manifest_schema};
use serde_json::Value;

use super::support::{Memory, lock, manifest, render, requested};

#[test]
fn json_schema_is_up_to_date() {
    let schema = serde_json::to_string_pretty(&manifest_schema()).expect("is JSON");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/flake-like.schema.json");
    expect_file![path].assert_eq(&(schema + "\n"));
}

/// What is generated in `docs/manifest.md` begins after this line.
const GENERATED: &str = "<!-- From here on generated from the types: UPDATE_EXPECT=1 cargo test -p kiln-derivations manifest -->\n";

#[test]
fn documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/manifest.md");
    let written = std::fs::read_to_string(&path).expect("is in the repository");
    let (prose, _) = written.split_once(GENERATED).expect("has the line");
    let text = format!("{prose}{GENERATED}{}", tables(&manifest_schema()));
    expect_file![path].assert_eq(&text);
}

/// One table for each type, in the order in which the top level names them.
fn tables(schema: &Value) -> String {
    let mut out = String::new();
    let mut seen = Vec::new();
    let mut headings = BTreeMap::new();
    let keys = schema["properties"].as_object().expect("has keys");
    for (key, table) in keys {
        let Some(name) = referred(table) else {
            continue;
        };
        let is_named = table["additionalProperties"].is_object();
        let heading = if is_named {
            format!("[{key}.NAME]")
        } else {
            format!("[{key}]")
        };
        let about = one_line(&table["description"]);
        if let Some(first) = headings.get(&name) {
            let keys = format!("The keys are those of `{first}`.");
            _ = writeln!(out, "\n## `{heading}`\n\n{about} {keys}");
            continue;
        }
        headings.insert(name.clone(), heading.clone());
        seen.push(name.clone());
        _ = writeln!(out, "\n## `{heading}`\n\n{about}");
        describe(schema, &name, &mut seen, &mut out);
    }
    out
}

/// The table of one type and, below it, those of types that it alone uses.
fn describe(schema: &Value, name: &str, seen: &mut Vec<String>, out: &mut String) {
    let definition = &schema["$defs"][name];
    let Some(keys) = definition["properties"].as_object() else {
        return;
    };
    _ = writeln!(
        out,
        "\n| key | type | meaning | default |\n|---|---|---|---|"
    );
    let required = definition["required"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (key, value) in keys {
        let is_required = required.iter().any(|name| name == key);
        let text = format!(" {}", one_line(&value["description"]));
        let (meaning, default) = text.split_once(" Default: ").unwrap_or((&text, ""));
        let default = if is_required {
            "needed"
        } else {
            default.trim_end_matches('.')
        };
        _ = writeln!(
            out,
            "| `{key}` | {} | {} | {default} |",
            type_name(value),
            meaning.trim(),
        );
    }
    for inner in keys.values().filter_map(referred) {
        if !seen.contains(&inner) && schema["$defs"][&inner]["properties"].is_object() {
            seen.push(inner.clone());
            let about = one_line(&schema["$defs"][&inner]["description"]);
            _ = writeln!(out, "\n**{inner}**: {about}");
            describe(schema, &inner, seen, out);
        }
    }
}

/// The type that a value is, or is a table or list of.
fn referred(value: &Value) -> Option<String> {
    let of = [value, &value["additionalProperties"], &value["items"]];
    let name = of.into_iter().find_map(|value| value["$ref"].as_str())?;
    name.rsplit('/').next().map(str::to_owned)
}

fn type_name(value: &Value) -> String {
    if let Some(name) = value["$ref"]
        .as_str()
        .and_then(|name| name.rsplit('/').next())
    {
        return match name {
            "Attach" => "`initrd` or `disk`".to_owned(),
            "Bytes" => "size".to_owned(),
            "DeviceLine" => "device".to_owned(),
            "FileList" => "list of paths, or table of paths".to_owned(),
            "Mode" => "mode".to_owned(),
            "Owner" => "owner".to_owned(),
            "Seconds" => "time".to_owned(),
            "Target" => "target".to_owned(),
            _ => format!("table **{name}**"),
        };
    }
    match value["type"].as_str() {
        Some("array") => format!("list of {}", plural(&type_name(&value["items"]))),
        Some("object") => {
            format!(
                "table of {}",
                plural(&type_name(&value["additionalProperties"]))
            )
        }
        Some("boolean") => "true or false".to_owned(),
        Some("integer") => "number".to_owned(),
        Some(other) => other.to_owned(),
        None => "one of several".to_owned(),
    }
}

fn plural(name: &str) -> String {
    match name {
        "string" | "target" | "number" | "device" => format!("{name}s"),
        other => other.trim_start_matches("table ").to_owned(),
    }
}

fn one_line(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default();
    text.replace("\n- ", " ")
        .replace('\n', " ")
        .replace('|', "\\|")
}

/// As much of kiln's own manifest as a new project uses.
const KILN: &str = r#"
[flake]
name = "kiln"
[seed.base]
debian = "bookworm"
packages = ["dash"]
[seed.qemu-user]
debian = "trixie"
packages = ["qemu-user"]

[seed.qemu]
debian = "trixie"
packages = ["qemu"]
[seed.bwrap]
debian = "bookworm"
packages = ["bubblewrap"]
[package.busybox]
root = "base"
script = "build.sh"
[package.linux]
root = "base"
script = "build.sh"
[format."initramfs.cpio.gz"]
root = "base"
script = "build.sh"
boot = "initrd"
"#;

#[test]
fn a_new_project_evaluates() {
    let kiln = manifest(KILN);
    let lock_of_kiln = lock(&kiln);
    let created = init::files("mine", &init::Kiln::Folder("../kiln".to_owned()));
    let root = PathBuf::from("/mine");
    let mut assembly = Assembly::new(root, created[0].path, &created[0].text);
    let imported = Imported {
        manifest: kiln,
        lock: lock_of_kiln,
    };
    assembly.import("kiln", imported);
    let mine = assembly
        .finish()
        .unwrap_or_else(|error| panic!("{}", render(&error)));

    let files = Memory::default()
        .with("/flake/build.sh", "true")
        .with("/mine/init", &created[1].text);
    let request = requested(&["mine", "kiln.qemu"], &Target::ALL);
    let evaluation = evaluate(&mine, &Lock::default(), &request, &files);
    let evaluation = evaluation.unwrap_or_else(|error| panic!("{}", render(&error)));
    assert_eq!(evaluation.images.len(), 2);
    assert_eq!(evaluation.images[0].formats[0].boot, Some(Attach::Initrd));
}
