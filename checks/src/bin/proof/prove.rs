//! Asks kiln of what a store holds.

use std::path::{Path, PathBuf};

use kiln_checks::program::repository;
use kiln_checks::{Events, Kiln, Scratch};
use serde_json::{Map, Value, json};

use crate::column::Column;
use crate::record::Row;

/// An image for one target, in a store.
pub struct Proof<'a> {
    pub store: &'a Path,
    pub image: &'a str,
    pub target: &'a str,
    /// kiln's working directory.
    pub scratch: Scratch,
}

impl Proof<'_> {
    fn kiln(&self) -> Kiln {
        Kiln::new(self.scratch.path(), self.store)
            .env("KILN_MANIFEST", repository())
            .args(["--quiet"])
    }

    /// Builds what is not there yet.
    pub fn build(&self) {
        let words = ["build", self.image, "--no-result", "--target", self.target];
        self.kiln().args(words).succeed();
    }

    /// All scripts, by what the events of building nothing name.
    pub fn rows(&self) -> Vec<Row> {
        let words = ["build", self.image, "--no-result", "--target", self.target];
        let events = self.kiln().args(words).succeed().events;
        let scripts = events
            .of_kind("reused")
            .filter(|event| event["derivation"]["builder"] == "exec");
        scripts
            .map(|event| Row {
                name: text(&event["derivation"]["name"]),
                target: self.target.to_owned(),
                action: text(&event["derivation"]["action"]),
            })
            .collect()
    }

    /// What an earlier run built again, and was ended before it could say.
    pub fn heard(&self, row: &Row, columns: &[Column]) -> Vec<(Column, Value)> {
        told(&Events::read(&self.log_again()), &row.action, columns)
    }

    /// One cell for each of `columns`, by building again.
    pub fn ask(&self, row: &Row, columns: &[Column]) -> Vec<(Column, Value)> {
        // Where everything is varied, it is first built as it is.
        let both = columns.contains(&Column::All) && columns.contains(&Column::Rebuild);
        let is_apart = |column: &Column| match column {
            Column::Alone(_) => true,
            Column::Rebuild => !both,
            _ => false,
        };
        let apart: Vec<_> = columns.iter().copied().filter(is_apart).collect();
        let mut cells = match apart.is_empty() {
            true => Vec::new(),
            false => self.each(row, &apart),
        };
        for &column in columns {
            match column {
                Column::Rehash => cells.push((column, self.rehash(row))),
                Column::All => {
                    let (rebuild, all) = self.together(row);
                    cells.extend(both.then_some((Column::Rebuild, rebuild)));
                    cells.push((column, all));
                }
                Column::OtherPlatform => cells.push((column, self.elsewhere(row))),
                Column::Rebuild | Column::Alone(_) => {}
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
        let one = &self.verify_here(row, &["--perturb"]);
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
    fn each(&self, row: &Row, columns: &[Column]) -> Vec<(Column, Value)> {
        let alone = columns.iter().filter(|it| **it != Column::Rebuild);
        let factors: Vec<_> = alone.map(|it| it.name()).collect();
        let factors = factors.join(",");
        let one = &match factors.is_empty() {
            true => self.verify_here(row, &["--rebuild"]),
            false => self.verify_here(row, &["--each", "--factor", &factors]),
        };
        let not_varied = not_varied(one);
        let builds = one["builds"].as_array().cloned().unwrap_or_default();
        let cell = |column: &Column| {
            let is_it = |build: &&Value| Some(&build["varied"]) == column.varied().as_ref();
            let build = builds.iter().find(is_it);
            let cell = match (not_varied.get(column.name()), build) {
                (Some(why), _) => json!({ "result": "not varied", "why": why }),
                (None, Some(build)) => cell_of(&build["result"], build),
                // It differed before this factor's turn came.
                (None, None) => json!({ "result": one["outcome"] }),
            };
            (*column, cell)
        };
        columns.iter().map(cell).collect()
    }

    /// What `kiln verify` says of a row's derivation, and of no other.
    fn verify_here(&self, row: &Row, how: &[&str]) -> Value {
        let said = self.verify(row, how);
        one_of(&said, row, |it| it["action"] == row.action.as_str())
    }

    /// What `kiln verify` says of all that have a row's name.
    fn verify(&self, row: &Row, how: &[&str]) -> Value {
        let run = self
            .kiln()
            .args(["verify", "--json", "--closure", "--only", &row.name])
            .args(["--target", self.target, self.image])
            .args(how)
            .events(&self.log_again())
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
        let names = [row.name.as_str(), self.image];
        let found = names
            .into_iter()
            .find_map(|name| Some((name, self.outputs(name, other())?)));
        let Some((name, outputs)) = found else {
            return json!({ "result": "no name of its own" });
        };
        if self.outputs(name, std::env::consts::ARCH) != Some(outputs) {
            return json!({ "result": "differs" });
        }
        let log = Events::read(&self.log_elsewhere());
        let built = log.of_kind("built");
        let own = built.filter(|event| text(&event["derivation"]["name"]) == row.name);
        match own.last() {
            Some(cost) => cell_of(&json!("same"), cost),
            None => self.again_elsewhere(row),
        }
    }

    /// Builds again on the other build platform what some other run had built there:
    /// what it cost is not known else.
    fn again_elsewhere(&self, row: &Row) -> Value {
        let said = self.verify(row, &["--rebuild", "--build-platform", other()]);
        // It has another action key there. What the build platform itself needs may have
        // the same name, for that platform.
        let one = one_of(&said, row, |it| {
            it["builder"] == "exec"
                && it["name"] == row.name.as_str()
                && [&json!(row.target), &Value::Null].contains(&&it["target"])
        });
        match &one["builds"][0] {
            // One that it needs differs there, so that it was not tried.
            Value::Null => json!({ "result": one["outcome"] }),
            build => cell_of(&one["outcome"], build),
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
    pub fn image_elsewhere(&self) -> (Row, Value) {
        let digest = |platform| {
            let outputs = self.outputs(self.image, platform);
            text(&outputs.expect("the image has a name")[0]["tree"])
        };
        let (native, emulated) = (digest(std::env::consts::ARCH), digest(other()));
        let result = if native == emulated {
            "same"
        } else {
            "differs"
        };
        let row = Row {
            name: self.image.to_owned(),
            target: self.target.to_owned(),
            action: native.clone(),
        };
        let trees = json!({ std::env::consts::ARCH: native, other(): emulated });
        (row, json!({ "result": result, "trees": trees }))
    }

    /// What `name` comes to on a build platform, each output with its tree; `None`
    /// if the manifest has no such name. What is built there is logged.
    fn outputs(&self, name: &str, build_platform: &str) -> Option<Vec<Value>> {
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
        let outputs = run.expect_status(0).json()["outputs"].clone();
        let outputs = outputs.as_array().expect("a list").clone();
        assert!(!outputs.is_empty(), "{name} has outputs");
        Some(outputs)
    }

    /// Beside the store, so that what a killed run has built again counts.
    fn log_again(&self) -> PathBuf {
        self.store.with_extension("again.events")
    }

    /// The same for what was built on the other build platform.
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

/// Those of `columns` that a log of building again answers for an action key, each by
/// the last build with nothing else varied and nothing held still.
fn told(log: &Events, action: &str, columns: &[Column]) -> Vec<(Column, Value)> {
    let is_ours = |it: &&Value| it["derivation"]["action"] == action && it["held"] == json!([]);
    let again: Vec<_> = log.of_kind("built-again").filter(is_ours).collect();
    let cell = |column: &Column| {
        let varied = column.varied()?;
        let build = again.iter().rev().find(|it| it["varied"] == varied)?;
        Some((*column, cell_of(&build["result"], build)))
    };
    columns.iter().filter_map(cell).collect()
}

/// The one of those that `kiln verify` built again that is a row's.
fn one_of(said: &Value, row: &Row, is_it: impl Fn(&&Value) -> bool) -> Value {
    let mut rebuilt = said["rebuilt"].as_array().into_iter().flatten();
    let one = rebuilt.find(is_it);
    one.unwrap_or_else(|| panic!("{} was not built again: {said}", row.name))
        .clone()
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

/// Nothing is taken for a text that is none: two that are missing would be equal.
fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

#[cfg(test)]
mod tests {
    use kiln_derivations::verify::Factor;

    use super::*;

    #[test]
    fn a_log_answers_for_its_keys_and_for_what_was_varied_alone() {
        let build = |action: &str, varied: &[&str], held: &[&str], result: &str| {
            json!({
                "event": "built-again", "derivation": { "action": action },
                "varied": varied, "held": held, "result": result, "wall_s": 2.6, "cpu_s": 1.2,
            })
        };
        let log = Events(vec![
            build("k1", &[], &[], "differs"),
            build("k1", &[], &[], "same"),
            build("k1", &["umask"], &["clock"], "differs"),
            build("k1", &["umask", "user"], &[], "differs"),
            build("k2", &["umask"], &[], "same"),
        ]);
        let umask = Column::Alone(Factor::Umask);
        let columns = [Column::Rehash, Column::Rebuild, Column::All, umask];
        let same = json!({ "result": "same", "wall_s": 3.0, "cpu_s": 1.0 });
        let found = [(Column::Rebuild, same.clone())];
        assert_eq!(told(&log, "k1", &columns), found);
        assert_eq!(told(&log, "k2", &columns), [(umask, same)]);
        assert_eq!(told(&log, "k3", &columns), []);
    }
}
