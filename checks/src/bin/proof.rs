//! What was proved of `minsys`, as one command that can be ended and started
//! again, and writes a table:
//!
//! ```text
//! cargo run --release --package kiln-checks --bin proof -- \
//!     --store DIR [--image minsys@gcc] [--targets x86_64,aarch64]
//!     [--columns rebuild,all,…] [--only linux,…]
//! ```
//!
//! Rows are the scripts that the image is built by, on each target, and the image
//! itself. Columns are `rehash` of what is stored, and ways to build it again:
//! `rebuild`, `all` factors together, each factor alone, and `other-platform`, on the
//! build platform that this machine is not. What `minsys@gcc` builds otherwise than
//! `minsys` has rows of its own, `NAME@gcc`.
//!
//! Every result goes to `docs/proof.json` at once, under the action key that it
//! was found for. What is there is not done again, and a row whose key changed
//! starts anew, so the table says nothing of another recipe than the present one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kiln_checks::program::repository;
use kiln_checks::{Events, Kiln, Scratch};
use serde_json::{Map, Value, json};

const USAGE: &str =
    "usage: proof --store DIR [--image NAME] [--targets T,…] [--columns C,…] [--only NAME,…]";
const RECORD: &str = "docs/proof.json";
const TABLE: &str = "docs/proof.md";

const FACTORS: [&str; 19] = [
    "host-name",
    "kernel-release",
    "user",
    "umask",
    "locale",
    "time-zone",
    "environment",
    "build-path",
    "process-ids",
    "store-place",
    "link-count",
    "directory-order",
    "file-system",
    "jobs",
    "processors",
    "address-space",
    "clock",
    "load",
    "memory",
];

fn main() {
    let arguments = Arguments::read();
    let mut record = Record::read(&repository().join(RECORD));
    for target in &arguments.targets {
        let proof = Proof {
            store: &arguments.store,
            image: &arguments.image,
            target,
            scratch: Scratch::new(),
        };
        proof.build();
        for row in proof.rows() {
            if !arguments.only.is_empty() && !arguments.only.contains(&row.name) {
                continue;
            }
            let missing: Vec<&str> = arguments.columns.iter().map(String::as_str).collect();
            let missing: Vec<&str> = missing
                .into_iter()
                .filter(|column| !record.has(&row, target, column))
                .collect();
            for (column, cell) in proof.cells(&row, &missing) {
                eprintln!("{} ({target}), {column}: {cell}", row.name);
                record.add(&row, target, column, cell);
            }
        }
        let column = "other-platform";
        if arguments.only.is_empty() && arguments.columns.iter().any(|it| it == column) {
            let (image, cell) = proof.image_elsewhere();
            record.add(&image, target, column, cell);
        }
    }
}

struct Arguments {
    store: PathBuf,
    image: String,
    targets: Vec<String>,
    columns: Vec<String>,
    only: Vec<String>,
}

impl Arguments {
    fn read() -> Self {
        let words: Vec<_> = std::env::args().skip(1).collect();
        let mut options: BTreeMap<&str, &str> = BTreeMap::new();
        for pair in words.chunks(2) {
            let [option, value] = pair else {
                panic!("{USAGE}")
            };
            options.insert(option, value);
        }
        let list = |option: &str, default: &[&str]| -> Vec<String> {
            let owned = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
            match options.get(option) {
                Some(words) => owned(&words.split(',').collect::<Vec<_>>()),
                None => owned(default),
            }
        };
        let all: Vec<_> = ["rehash", "rebuild", "all"]
            .into_iter()
            .chain(FACTORS)
            .collect();
        Self {
            store: options.get("--store").expect(USAGE).into(),
            image: (*options.get("--image").unwrap_or(&"minsys")).to_owned(),
            targets: list("--targets", &["x86_64", "aarch64"]),
            columns: list("--columns", &all),
            only: list("--only", &[]),
        }
    }
}

/// A script, and the key that it was built under.
struct Row {
    name: String,
    /// Of an image that is a variant: which.
    variant: Option<String>,
    action: String,
}

struct Proof<'a> {
    store: &'a Path,
    image: &'a str,
    target: &'a str,
    scratch: Scratch,
}

impl Proof<'_> {
    fn kiln(&self) -> Kiln {
        Kiln::new(self.scratch.path(), self.store)
            .env("KILN_MANIFEST", repository())
            .args(["--quiet"])
    }

    fn build(&self) {
        let words = ["build", self.image, "--no-result", "--target", self.target];
        self.kiln().args(words).succeed();
    }

    /// All scripts, by what the events of building nothing name.
    fn rows(&self) -> Vec<Row> {
        let words = ["build", self.image, "--no-result", "--target", self.target];
        let events = self.kiln().args(words).succeed().events;
        let scripts = events
            .of_kind("reused")
            .filter(|event| event["derivation"]["builder"] == "exec");
        scripts
            .map(|event| Row {
                name: text(&event["derivation"]["name"]),
                variant: self.variant(),
                action: text(&event["derivation"]["action"]),
            })
            .collect()
    }

    fn variant(&self) -> Option<String> {
        let (_, variant) = self.image.split_once('@')?;
        Some(variant.to_owned())
    }

    /// One cell for each of `columns`. What is done in one run of kiln is found
    /// together, and lost together if it is ended.
    fn cells<'c>(&self, row: &Row, columns: &[&'c str]) -> Vec<(&'c str, Value)> {
        // Where everything is varied, it is first built as it is.
        let both = columns.contains(&"all") && columns.contains(&"rebuild");
        let is_apart = |column: &&&str| match **column {
            "rehash" | "all" | "other-platform" => false,
            "rebuild" => !both,
            _ => true,
        };
        let apart: Vec<&str> = columns.iter().filter(is_apart).copied().collect();
        let mut cells = Vec::new();
        if !apart.is_empty() {
            cells.extend(self.each(row, &apart));
        }
        for column in columns {
            match *column {
                "rehash" => cells.push(("rehash", self.rehash(row))),
                "all" => {
                    let (rebuild, all) = self.together(row);
                    cells.extend(both.then_some(("rebuild", rebuild)));
                    cells.push(("all", all));
                }
                "other-platform" => cells.push(("other-platform", self.elsewhere(row))),
                _ => {}
            }
        }
        cells
    }

    /// Reads what is stored; for what has no name of its own, all of the image.
    fn rehash(&self, row: &Row) -> Value {
        let of = |name: &str| {
            let words = ["verify", "--json", "--target", self.target, name];
            self.kiln().args(words).run()
        };
        let run = match of(&row.name) {
            run if run.status == 2 => of(self.image),
            run => run,
        };
        let result = match run.json()["damaged"].as_array() {
            Some(damaged) if damaged.is_empty() && run.status == 0 => "same",
            _ => "damaged",
        };
        json!({ "result": result })
    }

    /// Builds a script again as it is, and with everything varied at one time.
    fn together(&self, row: &Row) -> (Value, Value) {
        let verified = self.verify(row, &["--perturb"]);
        let one = &verified["rebuilt"][0];
        let builds = one["builds"].as_array().cloned().unwrap_or_default();
        let is_plain = |build: &&Value| build["varied"] == json!([]);
        let rebuild = match builds.iter().find(is_plain) {
            Some(build) => cell_of(&build["result"], build),
            None => json!({ "result": one["outcome"] }),
        };
        let sum = |key: &str| -> f64 {
            let varied = builds.iter().filter(|build| !is_plain(build));
            varied.filter_map(|it| it[key].as_f64()).sum()
        };
        let all = json!({
            "result": one["outcome"],
            "wall_s": sum("wall_s").round(),
            "cpu_s": sum("cpu_s").round(),
            "not_varied": not_varied(one),
        });
        (rebuild, all)
    }

    /// Builds a script again as it is, and with one factor varied at a time.
    fn each<'c>(&self, row: &Row, columns: &[&'c str]) -> Vec<(&'c str, Value)> {
        let factors: Vec<&str> = columns
            .iter()
            .filter(|column| **column != "rebuild")
            .copied()
            .collect();
        let factors = factors.join(",");
        let verified = match factors.is_empty() {
            true => self.verify(row, &["--rebuild"]),
            false => self.verify(row, &["--each", "--factor", &factors]),
        };
        let one = &verified["rebuilt"][0];
        let not_varied = not_varied(one);
        let builds = one["builds"].as_array().cloned().unwrap_or_default();
        let cell = |column: &&'c str| {
            let varied = match *column {
                "rebuild" => json!([]),
                factor => json!([factor]),
            };
            let build = builds.iter().find(|build| build["varied"] == varied);
            let cell = match (not_varied.get(*column), build) {
                (Some(why), _) => json!({ "result": "not varied", "why": why }),
                (None, Some(build)) => cell_of(&build["result"], build),
                // It differed before this factor's turn came.
                (None, None) => json!({ "result": one["outcome"] }),
            };
            (*column, cell)
        };
        columns.iter().map(cell).collect()
    }

    fn verify(&self, row: &Row, how: &[&str]) -> Value {
        let run = self
            .kiln()
            .args(["verify", "--json", "--closure", "--only", &row.name])
            .args(["--target", self.target, self.image])
            .args(how)
            .run();
        run.json()
    }

    /// Builds a script on the other build platform, with all that it needs, and
    /// compares outputs. An image's format has no name of its own; the image that it
    /// is a file of has. A tool is another program on each platform: it has a recipe
    /// key for each, and nobody claims that they are equal.
    fn elsewhere(&self, row: &Row) -> Value {
        if self.is_tool(&row.name) {
            return json!({ "result": "a tool of that platform" });
        }
        let named = match &row.variant {
            Some(variant) => format!("{}@{variant}", row.name),
            None => row.name.clone(),
        };
        let names = [named.as_str(), &row.name, self.image];
        let found = names
            .into_iter()
            .find_map(|name| Some((name, self.tree_elsewhere(name)?)));
        let Some((name, tree)) = found else {
            return json!({ "result": "no name of its own" });
        };
        let same = self.tree(name, std::env::consts::ARCH) == Some(tree);
        let result = if same { "same" } else { "differs" };
        let log = Events::read(&self.log_elsewhere());
        let built = log.of_kind("built");
        let own = built.filter(|event| text(&event["derivation"]["name"]) == row.name);
        // Another run may have built it; what it cost is not known then.
        match own.last() {
            None => json!({ "result": result }),
            Some(cost) => cell_of(&json!(result), cost),
        }
    }

    /// Whether something of the image is built by running what `name` made.
    fn is_tool(&self, name: &str) -> bool {
        let words = ["graph", "--json", "--target", self.target, self.image];
        let graph = self.kiln().args(words).succeed().json();
        let all = || graph["derivations"].as_array().into_iter().flatten();
        let named: Vec<&Value> = all()
            .filter(|it| it["name"] == name)
            .map(|it| &it["id"])
            .collect();
        let mut inputs = all().filter_map(|it| it["inputs"].as_array()).flatten();
        inputs.any(|it| it["role"] == "tool" && named.contains(&&it["derivation"]))
    }

    /// The image, built on both platforms: with the digests of both.
    fn image_elsewhere(&self) -> (Row, Value) {
        let native = self.tree(self.image, std::env::consts::ARCH);
        let native = native.expect("the image was built");
        let emulated = self.tree_elsewhere(self.image).expect("it has a name");
        let result = if native == emulated {
            "same"
        } else {
            "differs"
        };
        let row = Row {
            name: self.image.to_owned(),
            variant: None,
            action: native.clone(),
        };
        let trees = json!({ std::env::consts::ARCH: native, other(): emulated });
        (row, json!({ "result": result, "trees": trees }))
    }

    fn tree_elsewhere(&self, name: &str) -> Option<String> {
        self.tree(name, other())
    }

    /// What `name` comes to on a build platform; `None` if the manifest has no such
    /// name. What is built there is logged.
    fn tree(&self, name: &str, build_platform: &str) -> Option<String> {
        let words = ["build", "--json", "--no-result", "--target", self.target];
        let kiln = self.kiln().args(words).args([name]);
        let kiln = kiln.args(["--build-platform", build_platform]);
        let run = match build_platform == other() {
            true => kiln.events(&self.log_elsewhere()).run(),
            false => kiln.run(),
        };
        if run.status == 2 {
            return None;
        }
        Some(text(&run.expect_status(0).json()["outputs"][0]["tree"]))
    }

    /// Beside the store, so that what a killed run has built counts.
    fn log_elsewhere(&self) -> PathBuf {
        let name = format!("{}-{}.events", self.target, other());
        self.store.with_extension(name)
    }
}

/// The build platform that this machine is not.
fn other() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    }
}

/// A result, and what it cost.
fn cell_of(result: &Value, cost: &Value) -> Value {
    let seconds = |key: &str| cost[key].as_f64().unwrap_or_default().round();
    json!({ "result": result, "wall_s": seconds("wall_s"), "cpu_s": seconds("cpu_s") })
}

/// What could not be varied, and why.
fn not_varied(verified: &Value) -> Map<String, Value> {
    let all = verified["not_varied"].as_array().into_iter().flatten();
    all.map(|it| (text(&it["factor"]), it["why"].clone()))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// All results, by `NAME (TARGET)`.
struct Record {
    path: PathBuf,
    rows: Map<String, Value>,
}

impl Record {
    fn read(path: &Path) -> Self {
        let rows = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).expect("the record is JSON"),
            Err(_) => Map::new(),
        };
        Self {
            path: path.to_owned(),
            rows,
        }
    }

    fn has(&self, row: &Row, target: &str, column: &str) -> bool {
        let found = self.rows.get(&self.key(row, target));
        found.is_some_and(|it| {
            it["action"] == row.action.as_str() && !it["columns"][column].is_null()
        })
    }

    fn add(&mut self, row: &Row, target: &str, column: &str, cell: Value) {
        let fresh = || json!({ "action": row.action, "columns": {} });
        let key = self.key(row, target);
        let found = self.rows.entry(key).or_insert_with(fresh);
        if found["action"] != row.action.as_str() {
            *found = fresh();
        }
        found["columns"][column] = cell;
        let text = serde_json::to_string_pretty(&self.rows).expect("JSON can be written");
        fs::write(&self.path, text + "\n").expect("the record can be written");
        // It may be ended at any time.
        fs::write(repository().join(TABLE), self.table()).expect("the table can be written");
    }

    fn table(&self) -> String {
        let mut text = String::from(HEAD);
        let columns: Vec<&str> = ["rehash", "rebuild", "all", "other-platform"]
            .into_iter()
            .chain(FACTORS)
            .collect();
        writeln!(text, "| | {} |", columns.join(" | ")).expect("a string takes all");
        writeln!(text, "|---|{}", "---|".repeat(columns.len())).expect("a string takes all");
        for (row, found) in &self.rows {
            let cells: Vec<_> = columns
                .iter()
                .map(|it| cell(&found["columns"][*it]))
                .collect();
            writeln!(text, "| {row} | {} |", cells.join(" | ")).expect("a string takes all");
        }
        text + &self.images()
    }

    /// The digests of images that were built on both platforms.
    fn images(&self) -> String {
        let mut text = String::from(IMAGES);
        for (row, found) in &self.rows {
            let trees = found["columns"]["other-platform"]["trees"].as_object();
            for (platform, tree) in trees.into_iter().flatten() {
                let tree = tree.as_str().unwrap_or_default();
                writeln!(text, "| {row} | {platform} | `{tree}` |").expect("a string takes all");
            }
        }
        text
    }

    /// A variant's row has its plain name where it is the plain row, or where there
    /// is none.
    fn key(&self, row: &Row, target: &str) -> String {
        let plain = format!("{} ({target})", row.name);
        let is_other = |found: &Value| found["action"] != row.action.as_str();
        match &row.variant {
            Some(variant) if self.rows.get(&plain).is_some_and(is_other) => {
                format!("{}@{variant} ({target})", row.name)
            }
            _ => plain,
        }
    }
}

/// The result, and the builder's CPU minutes if they are known.
fn cell(found: &Value) -> String {
    match (found["result"].as_str(), found["cpu_s"].as_f64()) {
        (None, _) => "–".to_owned(),
        (Some(result), None) => result.to_owned(),
        (Some(result), Some(seconds)) => format!("{result}, {:.1}", seconds / 60.0),
    }
}

const IMAGES: &str = "
## Images by both build platforms

| image | built on | digest |
|---|---|---|
";

const HEAD: &str = "\
# What was proved of minsys

Made by `cargo run --release --package kiln-checks --bin proof`, which goes on where
it was ended; the whole record, with what could not be varied and why, is
[proof.json](proof.json). Each cell: what building again came to beside what is
stored, and the CPU minutes of the builder. `rehash` reads what is stored. `all` varies every factor of
[verify.md](verify.md) in one build; `other-platform` builds on the emulated build
platform. `–` was not done: nothing counts as verified that was not built again.

";
