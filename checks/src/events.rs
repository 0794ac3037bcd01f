//! An event log, as `--events FILE` wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Events, oldest first; those of several runs if they appended to one file.
#[derive(Clone, Debug, Default)]
pub struct Events(pub Vec<Value>);

/// A derivation: its name, its target and its action key.
pub type Built = (String, String, String);

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
        self.of_kind("built").map(name).collect()
    }

    /// The names of what a builder of this kind built: `exec`, `fetch`, …
    pub fn built_by(&self, builder: &str) -> BTreeSet<String> {
        let events = self.of_kind("built");
        let events = events.filter(|event| event["derivation"]["builder"] == builder);
        events.map(name).collect()
    }

    /// The outputs of what was built: digests by output name, for each
    /// derivation.
    pub fn outputs(&self) -> BTreeMap<Built, Value> {
        let events = self.of_kind("built");
        events
            .map(|event| (derivation(event), event["outputs"].clone()))
            .collect()
    }

    /// What was built here and did not become the same there, or was not built
    /// there at all: an action key that only one has tells that something
    /// before it differs.
    pub fn differences(&self, there: &Self) -> Vec<Built> {
        let (here, there) = (self.outputs(), there.outputs());
        let differs = |built: &Built| there.get(built) != here.get(built);
        here.keys()
            .filter(|built| differs(built))
            .cloned()
            .collect()
    }

    /// The summary of the last run.
    pub fn end(&self) -> &Value {
        let end = self.0.last().expect("a run that realises writes events");
        assert_eq!(end["event"], "end", "the last event ends the log");
        end
    }
}

fn name(event: &Value) -> String {
    derivation(event).0
}

fn derivation(event: &Value) -> Built {
    let subject = &event["derivation"];
    let text = |key: &str| subject[key].as_str().unwrap_or_default().to_owned();
    (text("name"), text("target"), text("action"))
}
