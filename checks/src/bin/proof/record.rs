//! What was answered, ever.
//!
//! `docs/proof.json` is an object of rows, `NAME (TARGET)`: the action key that the
//! answers were found for, and a cell for each column. An answer for another key
//! says nothing of the present recipe, so the first one for a new key begins the row
//! anew.
//!
//! An answer is written at once, since a run may be ended at any time, and under a
//! lock of the directory, since it may not be the only one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kiln_checks::program::repository;
use serde_json::{Map, Value, json};

use crate::column::Column;
use crate::table;

const RECORD: &str = "proof.json";
const TABLE: &str = "proof.md";

/// A script on one target, and the key that it was built under.
pub struct Row {
    pub name: String,
    pub target: String,
    pub action: String,
}

impl Row {
    /// Its key in the record, and its head in the table.
    fn key(&self) -> String {
        format!("{} ({})", self.name, self.target)
    }
}

/// The record and its table.
pub struct Record {
    directory: PathBuf,
}

impl Record {
    /// The one that is committed.
    pub fn of_repository() -> Self {
        Self {
            directory: repository().join("docs"),
        }
    }

    /// Whether a question was answered for the row's present key.
    pub fn has(&self, row: &Row, column: Column) -> bool {
        let rows = self.read();
        let found = rows.get(&row.key());
        found.is_some_and(|it| {
            it["action"] == row.action.as_str() && !it["columns"][column.name()].is_null()
        })
    }

    /// Adds an answer.
    pub fn add(&self, row: &Row, column: Column, cell: Value) {
        let lock = File::open(&self.directory).expect("docs is there");
        lock.lock().expect("directories can be locked");
        let mut rows = self.read();
        insert(&mut rows, row, column, cell);
        let text = serde_json::to_string_pretty(&rows).expect("JSON can be written");
        replace(&self.directory.join(RECORD), &(text + "\n"));
        replace(&self.directory.join(TABLE), &table::of(&rows));
    }

    fn read(&self) -> Map<String, Value> {
        let text = fs::read_to_string(self.directory.join(RECORD)).expect("it is committed");
        serde_json::from_str(&text).expect("the record is an object")
    }
}

fn insert(rows: &mut Map<String, Value>, row: &Row, column: Column, cell: Value) {
    let fresh = || json!({ "action": row.action, "columns": {} });
    let found = rows.entry(row.key()).or_insert_with(fresh);
    if found["action"] != row.action.as_str() {
        *found = fresh();
    }
    found["columns"][column.name()] = cell;
}

/// Whoever reads finds the old text or the new one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("docs can be written");
    fs::rename(&new, path).expect("docs can be written");
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const REBUILD: Column = Column::Rebuild;

    fn row(name: &str, action: &str) -> Row {
        Row {
            name: name.to_owned(),
            target: "x86_64".to_owned(),
            action: action.to_owned(),
        }
    }

    fn same() -> Value {
        json!({ "result": "same" })
    }

    #[test]
    fn an_answer_for_another_key_begins_the_row_anew() {
        let mut rows = Map::new();
        insert(&mut rows, &row("musl", "k1"), Column::Rehash, same());
        insert(&mut rows, &row("musl", "k1"), REBUILD, same());
        assert_eq!(
            rows["musl (x86_64)"]["columns"].as_object().unwrap().len(),
            2
        );
        insert(&mut rows, &row("musl", "k2"), REBUILD, same());
        let anew = json!({ "action": "k2", "columns": { "rebuild": same() } });
        assert_eq!(rows["musl (x86_64)"], anew);
    }

    #[test]
    fn two_at_one_time_lose_no_answer() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(RECORD), "{}").expect("it is ours");
        let record = || Record {
            directory: directory.path().to_owned(),
        };
        thread::scope(|scope| {
            for writer in 0..4 {
                let record = record();
                scope.spawn(move || {
                    for column in Column::all() {
                        record.add(&row(&writer.to_string(), "k"), column, same());
                    }
                });
            }
        });
        let asked = |name: &str, key| {
            let row = row(name, key);
            Column::all().filter(|it| record().has(&row, *it)).count()
        };
        let all = Column::all().count();
        assert_eq!(["0", "1", "2", "3"].map(|name| asked(name, "k")), [all; 4]);
        assert_eq!(asked("0", "another"), 0);
    }
}
