//! An event log, as `--events FILE` wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Events, oldest first; those of several runs if they appended to one file.
#[derive(Clone, Debug, Default)]
pub struct Events(pub Vec<Value>);

/// A derivation's name and target.
pub type Name = (String, Option<String>);

impl Events {
    /// Reads a log; none of a file that is not there.
    pub fn read(path: &Path) -> Self {
        Self::parse(&fs::read_to_string(path).unwrap_or_default())
    }

    /// Parses a log.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines();
        let event = |line| serde_json::from_str(line).expect("an event is a line of JSON");
        Self(lines.map(event).collect())
    }

    /// The events of one kind: `built`, `reused`, `failed`, …
    pub fn of_kind<'e>(&'e self, kind: &'e str) -> impl Iterator<Item = &'e Value> {
        self.0.iter().filter(move |event| event["event"] == kind)
    }

    /// The names of what was built, without targets; downloads included.
    pub fn built(&self) -> BTreeSet<String> {
        self.of_kind("built").map(|event| name(event).0).collect()
    }

    /// The names of what a builder of this kind built: `exec`, `fetch`, …
    pub fn built_by(&self, builder: &str) -> BTreeSet<String> {
        let events = self.of_kind("built");
        let events = events.filter(|event| event["derivation"]["builder"] == builder);
        events.map(|event| name(event).0).collect()
    }

    /// The outputs of what was built: the digest by output name.
    pub fn outputs(&self) -> BTreeMap<Name, Value> {
        let events = self.of_kind("built");
        events
            .map(|event| (name(event), event["outputs"].clone()))
            .collect()
    }

    /// The summary of the last run.
    pub fn end(&self) -> &Value {
        let end = self.0.last().expect("a run that realises writes events");
        assert_eq!(end["event"], "end", "the last event ends the log");
        end
    }
}

fn name(event: &Value) -> Name {
    let subject = &event["derivation"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (
        text(&subject["name"]).expect("a derivation has a name"),
        text(&subject["target"]),
    )
}
