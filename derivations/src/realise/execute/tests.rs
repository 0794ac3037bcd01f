//! The executor with a world in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use kiln_store::hash::Digest;

use super::*;
use crate::derivation::Builder;
use crate::derivation::{Fetch, Input, Local, LocalOrigin, OUT, Role, Unpack};

/// What a builder of the fake world does.
type Make = dyn Fn(&Job<'_>) -> Result<String, BuildError> + Sync;

/// A world in memory, in which a builder's output is a text.
struct Fake<'m> {
    make: &'m Make,
    known: Mutex<HashMap<ActionKey, OutputMap>>,
    locks: Mutex<HashMap<ActionKey, Arc<Lock>>>,
    /// Who built what, in the order of starting.
    built: Mutex<Vec<String>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

#[derive(Default)]
struct Lock {
    taken: Mutex<bool>,
    freed: Condvar,
}

struct Held(Arc<Lock>);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.taken.lock().expect("no panic") = false;
        self.0.freed.notify_all();
    }
}

fn tree(text: &str) -> TreeId {
    TreeId(Digest::of(text.as_bytes()))
}

fn out(text: &str) -> OutputMap {
    vec![(OUT.to_owned(), tree(text))]
}

impl<'m> Fake<'m> {
    fn new(make: &'m Make) -> Self {
        Self {
            make,
            known: Mutex::default(),
            locks: Mutex::default(),
            built: Mutex::default(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        }
    }

    fn lock_of(&self, action: &ActionKey) -> Arc<Lock> {
        let mut locks = self.locks.lock().expect("no panic");
        Arc::clone(locks.entry(*action).or_default())
    }

    fn take_built(&self) -> Vec<String> {
        let mut built = std::mem::take(&mut *self.built.lock().expect("no panic"));
        built.sort();
        built
    }
}

impl World for Fake<'_> {
    fn known(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError> {
        Ok(self.known.lock().expect("no panic").get(action).cloned())
    }

    fn is_present(&self, _tree: &TreeId) -> Result<bool, BuildError> {
        Ok(true)
    }

    fn lock(&self, action: &ActionKey, waiting: &dyn Fn()) -> Result<Box<dyn Send>, BuildError> {
        let lock = self.lock_of(action);
        let mut taken = lock.taken.lock().expect("no panic");
        if *taken {
            waiting();
        }
        while *taken {
            taken = lock.freed.wait(taken).expect("no panic");
        }
        *taken = true;
        drop(taken);
        Ok(Box::new(Held(lock)))
    }

    fn build(&self, job: &Job<'_>) -> Result<Built, BuildError> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let name = job.subject.name.clone();
        self.built.lock().expect("no panic").push(name);
        let made = (self.make)(job);
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Built {
            outputs: out(&made?),
            fetched_bytes: 10,
            ..Built::default()
        })
    }

    fn register(&self, realisation: Realisation) -> Result<(), BuildError> {
        let mut known = self.known.lock().expect("no panic");
        known.insert(realisation.action, realisation.outputs);
        Ok(())
    }
}

/// Remembers what happened as `event name`.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Listener for Heard {
    fn event(&self, event: &Event) {
        let value = serde_json::to_value(event).expect("an event is JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let line = format!(
            "{} {}",
            text(&value["event"]),
            text(&value["derivation"]["name"])
        );
        self.0
            .lock()
            .expect("no panic")
            .push(line.trim_end().to_owned());
    }
}

/// A graph from lines `name: input input`, inputs first; a name that starts
/// with `get` is a download. `version` is in the key of what has no input.
fn graph(version: &str, lines: &[&str]) -> (Graph, DerivationId) {
    let mut graph = Graph::default();
    let mut ids: HashMap<&str, DerivationId> = HashMap::new();
    let mut last = None;
    for line in lines {
        let (name, inputs) = line.split_once(':').expect("a name and its inputs");
        let inputs: Vec<_> = inputs.split_whitespace().map(|input| ids[input]).collect();
        let seed = match inputs.is_empty() {
            true => format!("{name} {version}"),
            false => name.to_owned(),
        };
        let id = graph.add(step(name, &seed, &inputs));
        ids.insert(name, id);
        last = Some(id);
    }
    (graph, last.expect("a line"))
}

fn step(name: &str, seed: &str, inputs: &[DerivationId]) -> Derivation {
    let input = |(index, &derivation): (usize, &DerivationId)| Input {
        derivation,
        output: OUT.to_owned(),
        role: Role::Material,
        at: format!("/in/{index}"),
    };
    let builder = match name.starts_with("get") {
        true => Builder::Fetch(Fetch {
            urls: Vec::new(),
            first_seen: String::new(),
            hash: seed.to_owned(),
            size_bytes: 0,
            unpack: Unpack::Git,
        }),
        false => Builder::Local(Local {
            tree: tree(seed),
            origin: LocalOrigin::Files(Vec::new()),
        }),
    };
    Derivation {
        name: name.to_owned(),
        description: String::new(),
        target: None,
        executed_on: None,
        builder,
        inputs: inputs.iter().enumerate().map(input).collect(),
        outputs: vec![OUT.to_owned()],
    }
}

fn options(jobs: usize, keep_going: bool) -> Options {
    Options {
        jobs,
        downloads: 2,
        keep_going,
        bytes: true,
    }
}

fn run(world: &Fake<'_>, graph: &(Graph, DerivationId), options: &Options) -> Report {
    run_until(world, graph, options, &Cancel::new().expect("an eventfd"))
}

fn run_until(
    world: &Fake<'_>,
    (graph, root): &(Graph, DerivationId),
    options: &Options,
    cancel: &Cancel,
) -> Report {
    let heard = Heard::default();
    let report = execute(graph, &[*root], world, options, &heard, cancel);
    let heard = heard.0.into_inner().expect("no panic");
    assert_eq!(heard.first().map(String::as_str), Some("start"));
    assert_eq!(heard.last().map(String::as_str), Some("end"));
    report.expect("the world does not fail")
}

fn echo(job: &Job<'_>) -> Result<String, BuildError> {
    Ok(job.subject.name.clone())
}

fn broken(job: &Job<'_>, name: &str) -> Result<String, BuildError> {
    match job.subject.name == name {
        true => Err(BuildError::new(FailureClass::Exit, "it broke")),
        false => echo(job),
    }
}

const DIAMOND: [&str; 5] = [
    "get: ",
    "left: get",
    "right: get",
    "aside: ",
    "top: left right aside",
];

/// Built, fetched, reused, skipped, failed.
fn counts(report: &Report) -> [usize; 5] {
    [
        report.built,
        report.fetched,
        report.reused,
        report.skipped,
        report.failures.len(),
    ]
}

#[test]
fn builds_each_once_and_then_nothing() {
    for jobs in [1, 2, 8] {
        let world = Fake::new(&echo);
        let graph = graph("1", &DIAMOND);
        let report = run(&world, &graph, &options(jobs, false));
        assert!(report.is_success());
        assert_eq!(counts(&report), [5, 1, 0, 0, 0]);
        assert_eq!(report.fetched_bytes, 10);
        assert_eq!(world.take_built(), ["aside", "get", "left", "right", "top"]);
        assert!(world.most_running.load(Ordering::SeqCst) <= jobs + 2);

        let report = run(&world, &graph, &options(jobs, false));
        assert!(report.is_success());
        assert_eq!(counts(&report), [0, 0, 5, 0, 0]);
        assert!(world.take_built().is_empty());
    }
}

#[test]
fn ends_early_where_an_output_is_as_before() {
    let world = Fake::new(&echo);
    run(&world, &graph("1", &DIAMOND), &options(2, false));
    world.take_built();
    let report = run(&world, &graph("2", &DIAMOND), &options(2, false));
    assert!(report.is_success());
    // Both leaves have other keys, and the outputs that they had before.
    assert_eq!(world.take_built(), ["aside", "get"]);
    assert_eq!(counts(&report), [2, 1, 3, 0, 0]);
}

#[test]
fn runs_no_more_at_one_time_than_it_may() {
    let slow = |job: &Job<'_>| {
        thread::sleep(Duration::from_millis(20));
        echo(job)
    };
    let world = Fake::new(&slow);
    let wide = graph("1", &["a: ", "b: ", "c: ", "d: ", "e: ", "top: a b c d e"]);
    assert!(run(&world, &wide, &options(2, false)).is_success());
    assert_eq!(world.most_running.load(Ordering::SeqCst), 2);
}

#[test]
fn stops_at_a_failure() {
    let break_left = |job: &Job<'_>| broken(job, "left");
    let world = Fake::new(&break_left);
    let report = run(&world, &graph("1", &DIAMOND), &options(1, false));
    assert!(!report.is_success());
    assert_eq!(report.roots, [None]);
    assert_eq!(report.failures[0].subject.name, "left");
    assert_eq!(report.failures[0].error.class, FailureClass::Exit);
    // `aside` was at work before it, or not at all; `right` came after it.
    assert!(!world.take_built().contains(&"right".to_owned()));
}

#[test]
fn goes_on_with_what_does_not_need_the_failure() {
    let break_left = |job: &Job<'_>| broken(job, "left");
    let world = Fake::new(&break_left);
    let report = run(&world, &graph("1", &DIAMOND), &options(1, true));
    assert!(!report.is_success());
    assert_eq!(counts(&report), [3, 1, 0, 1, 1]);
    assert_eq!(world.take_built(), ["aside", "get", "left", "right"]);
    // Mended, only the failure and what needs it are built.
    let mended = Fake {
        make: &echo,
        ..world
    };
    let report = run(&mended, &graph("1", &DIAMOND), &options(1, true));
    assert!(report.is_success());
    assert_eq!(mended.take_built(), ["left", "top"]);
}

#[test]
fn starts_nothing_once_it_is_cancelled() {
    let cancel = Cancel::new().expect("an eventfd");
    let cancelling = |job: &Job<'_>| {
        if job.subject.name == "get" {
            job.cancel.cancel();
            return Err(BuildError::new(FailureClass::Cancelled, "cancelled"));
        }
        echo(job)
    };
    let world = Fake::new(&cancelling);
    let graph = graph("1", &["get: ", "left: get", "top: left"]);
    let report = run_until(&world, &graph, &options(2, true), &cancel);
    assert!(!report.is_success());
    assert!(report.failures.is_empty(), "being cancelled is no failure");
    assert_eq!(world.take_built(), ["get"]);
    assert_eq!(report.built, 0);

    let report = run_until(&world, &graph, &options(2, true), &cancel);
    assert_eq!(counts(&report), [0, 0, 0, 3, 0]);
    assert!(world.take_built().is_empty());
}

#[test]
fn a_failure_ends_what_runs_beside_it_and_counts_alone() {
    let make = |job: &Job<'_>| match job.subject.name.as_str() {
        "a" => Err(BuildError::new(FailureClass::Exit, "it broke")),
        "b" => {
            while !job.cancel.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Err(BuildError::new(FailureClass::Cancelled, "cancelled"))
        }
        _ => echo(job),
    };
    let world = Fake::new(&make);
    let report = run(
        &world,
        &graph("1", &["a: ", "b: ", "top: a b"]),
        &options(2, false),
    );
    let failed: Vec<_> = report.failures.iter().map(|it| &*it.subject.name).collect();
    assert_eq!(failed, ["a"]);
}

#[test]
fn finds_what_another_built_while_it_waited() {
    let world = Fake::new(&echo);
    let graph = graph("1", &["a: ", "b: a"]);
    let keys = crate::derivation::resolve::keys(graph.0.iter().next().expect("a").1, &[]);
    let held = world.lock(&keys.action, &|| {}).expect("it is free");
    let heard = Heard::default();
    let cancel = Cancel::new().expect("an eventfd");
    let options = options(2, false);
    let report = thread::scope(|scope| {
        let running =
            scope.spawn(|| execute(&graph.0, &[graph.1], &world, &options, &heard, &cancel));
        let waiting = || {
            heard
                .0
                .lock()
                .expect("no panic")
                .contains(&"waiting a".to_owned())
        };
        while !waiting() {
            thread::sleep(Duration::from_millis(1));
        }
        // Whoever holds the lock builds it, and says so before letting go.
        let mut known = world.known.lock().expect("no panic");
        known.insert(keys.action, out("made elsewhere"));
        drop(known);
        drop(held);
        running.join().expect("no panic").expect("no failure")
    });
    assert!(report.is_success());
    assert_eq!(counts(&report), [1, 0, 1, 0, 0]);
    assert_eq!(world.take_built(), ["b"]);
    let heard = heard.0.into_inner().expect("no panic");
    assert!(!heard.contains(&"started a".to_owned()), "{heard:?}");
}

#[test]
fn two_at_once_build_each_once() {
    let slow = |job: &Job<'_>| {
        thread::sleep(Duration::from_millis(5));
        echo(job)
    };
    let world = Fake::new(&slow);
    let graph = graph("1", &DIAMOND);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(run(&world, &graph, &options(2, false)).is_success()));
        }
    });
    assert_eq!(world.take_built(), ["aside", "get", "left", "right", "top"]);
}
