//! The record as a page.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::column::Column;

/// The page of these rows.
pub fn of(rows: &Map<String, Value>) -> String {
    let mut text = String::from(HEAD);
    let names: Vec<_> = Column::all().map(Column::name).collect();
    line(&mut text, "", &names);
    line(&mut text, "---", &vec!["---"; names.len()]);
    for (row, found) in rows {
        let cells: Vec<_> = names
            .iter()
            .map(|name| cell(&found["columns"][*name]))
            .collect();
        line(&mut text, row, &cells);
    }
    text.push_str(IMAGES);
    for (row, found) in rows {
        let trees = found["columns"][Column::OtherPlatform.name()]["trees"].as_object();
        for (platform, tree) in trees.into_iter().flatten() {
            let tree = tree.as_str().unwrap_or_default();
            line(&mut text, row, &[platform.as_str(), &format!("`{tree}`")]);
        }
    }
    text
}

fn line(text: &mut String, head: &str, cells: &[impl AsRef<str>]) {
    let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
    writeln!(text, "| {head} | {} |", cells.join(" | ")).expect("a string takes all");
}

/// The result, and the builder's CPU minutes if they are known.
fn cell(found: &Value) -> String {
    match (found["result"].as_str(), found["cpu_s"].as_f64()) {
        (None, _) => "–".to_owned(),
        (Some(result), None) => result.to_owned(),
        (Some(result), Some(seconds)) => format!("{result}, {:.1}", seconds / 60.0),
    }
}

const HEAD: &str = "\
# What was proved of minsys

Made by `cargo run --release --package kiln-checks --bin proof`, which goes on where
it was ended; the whole record, with what could not be varied and why, is
[proof.json](proof.json). Each cell: what building again came to beside what is
stored, and the CPU minutes of the builder, on a machine that built other things too,
which lengthens them. `rehash` reads what is stored. `all` varies every factor of
[verify.md](verify.md) in one build; `other-platform` builds on the emulated build
platform. `–` was not done: nothing counts as verified that was not built again.

The rows are what scripts make. What kiln makes itself (recipes, seeds, sysroot, root
file system, archive, image) runs no program that could be varied: `kiln verify
--rebuild --closure minsys` builds that again too.

";

const IMAGES: &str = "
## Images by both build platforms

| image | built on | digest |
|---|---|---|
";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_says_what_is_known_and_no_more() {
        assert_eq!(cell(&Value::Null), "–");
        assert_eq!(cell(&json!({ "result": "same" })), "same");
        assert_eq!(
            cell(&json!({ "result": "differs", "cpu_s": 90 })),
            "differs, 1.5"
        );
    }

    #[test]
    fn a_row_is_as_wide_as_the_head() {
        let rows = json!({
            "minsys (x86_64)": {
                "columns": { "other-platform": { "trees": { "aarch64": "a1", "x86_64": "b2" } } }
            }
        });
        let text = of(rows.as_object().unwrap());
        let widths = |table: &str| -> Vec<usize> {
            let lines = table.lines().filter(|line| line.starts_with('|'));
            lines.map(|line| line.matches('|').count()).collect()
        };
        let (table, images) = text.split_once("## Images").unwrap();
        assert_eq!(widths(table), [Column::all().count() + 2; 3]);
        assert_eq!(widths(images), [4; 4]);
        assert!(images.contains("| minsys (x86_64) | aarch64 | `a1` |"));
    }
}
