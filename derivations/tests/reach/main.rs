//! How far it is to a cache: round trips, requests and bytes, counted, not
//! timed. What they should be at most is what makes a cache 50 ms away worth
//! asking.
//!
//! - [`rounds`]: counts round trips. It needs a process without anything else.
//! - [`project`]: what is built and shared.
//! - [`million`]: a cache that is larger than a test should write.

mod million;
mod project;
mod rounds;

use std::sync::Arc;

use kiln_derivations::cancel::Cancel;
use kiln_derivations::derivation::OUT;
use kiln_derivations::event::Silent;
use kiln_derivations::realise::caches::hints::Subjects;
use kiln_derivations::realise::caches::{Cache, Caches};
use kiln_derivations::realise::execute::Report;
use kiln_derivations::realise::others::Others;
use kiln_derivations::realise::plan::Asked;
use kiln_store::cache::backend::Backend;
use kiln_store::cache::directory::Directory;
use kiln_store::cache::hint;
use kiln_store::cache::memory::Memory;
use kiln_store::hash::{Digest, TreeId};
use kiln_store::trust::key::SecretKey;

use million::{CLAIMS, Million};
use project::{DEPTH, Project, SCRIPTS, Site, believing};
use rounds::{Log, Meter};

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn source(level: usize) -> String {
    format!("source {level}")
}

/// A cache, empty at first.
struct Server(tempfile::TempDir);

impl Server {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// As it is reached on its own machine.
    fn near(&self) -> Box<dyn Backend> {
        Box::new(Directory::new(self.0.path()))
    }

    /// Builds a project and shares it here; what was built.
    fn take(&self, site: &Site, project: &Project) -> Report {
        let report = site.build(project, None).report;
        site.share(project, &report, self.near(), &key());
        report
    }
}

/// The output of the derivation of that name.
fn output(project: &Project, report: &Report, name: &str) -> TreeId {
    let id = project.get(name);
    let realised = &mut report.realised.iter();
    let found = realised.find(|(it, ..)| *it == id);
    let (_, _, outputs) = found.unwrap_or_else(|| panic!("{name} is realised"));
    let (_, tree) = outputs.iter().find(|(name, _)| name == OUT).expect("one");
    *tree
}

/// Has the image from a cache into an empty store; what went over the network.
fn pulled(project: &Project, server: &Server, image: TreeId) -> Log {
    let site = Site::new();
    let meter = Meter::new();
    let outcome = site.build(project, Some((meter.far(server.near()), &key())));
    assert_eq!(outcome.ran, [""; 0]);
    assert_eq!(outcome.troubles, [""; 0]);
    assert_eq!(output(project, &outcome.report, "image"), image);
    assert!(site.store.has_tree(&image).expect("a store"));
    meter.into_log()
}

#[test]
fn an_image_behind_thirty_derivations_is_six_round_trips_away() {
    let project = Project::new(&source, "hello");
    assert_eq!(project.depth(), DEPTH);
    let site = Site::new();
    let server = Server::new();
    let report = server.take(&site, &project);
    assert_eq!(report.built, project.graph.len());
    let image = output(&project, &report, "image");
    let log = pulled(&project, &server, image);
    // The key's statement with the hint; what is said of the tree; its index.
    assert_eq!(log.rounds_before("packs/"), 3, "{log:#?}");
    assert_eq!(log.count("claims/"), 0);
    assert_eq!((log.count("trees/"), log.count("hints/")), (1, 1));
    let (moved, alone) = (log.bytes("packs/"), site.packed_bytes(&[image]));
    println!("{moved} for {alone} bytes");
    assert!(moved <= alone + alone / 20, "{moved} of {alone} bytes");
}

#[test]
fn an_older_versions_hint_leads_to_a_newer_image() {
    let site = Site::new();
    let server = Server::new();
    let project = Project::new(&source, "good morning");
    let Subjects { sketches, labels } = project.subjects();
    server.take(&site, &Project::new(&source, "hello"));
    let (near, signer) = (server.near(), key().public());
    let older = hint::read(&*near, &labels[0], &signer).expect("a directory");
    // The next version is shared, and no hint leads to it.
    let report = server.take(&site, &project);
    let sketch = hint::name(&sketches[0], &signer);
    near.remove(&sketch).expect("a directory");
    hint::write(&*near, &labels[0], &signer, older).expect("a directory");
    let image = output(&project, &report, "image");
    let log = pulled(&project, &server, image);
    // The sketch leads to nothing, the label to all but what is new: the root file
    // system with the changed file, and the image.
    assert_eq!(log.count("hints/"), 2);
    assert_eq!(log.count("claims/"), 2);
    assert_eq!(log.rounds_before("packs/"), 6, "{log:#?}");
    let (moved, alone) = (log.bytes("packs/"), site.packed_bytes(&[image]));
    println!("{moved} for {alone} bytes");
    assert!(moved <= alone + alone / 20, "{moved} of {alone} bytes");
}

#[test]
fn what_has_to_run_fetches_its_direct_inputs() {
    const CHANGED: usize = SCRIPTS / 2;
    let builder = Site::new();
    let server = Server::new();
    let old = Project::new(&source, "hello");
    let report = server.take(&builder, &old);
    let project = Project::new(
        &|level| match level {
            CHANGED => "changed".to_owned(),
            level => source(level),
        },
        "hello",
    );
    let site = Site::new();
    let meter = Meter::new();
    let outcome = site.build(&project, Some((meter.far(server.near()), &key())));
    let log = meter.into_log();
    // Scripts from the changed one on, with what they read of this machine.
    let mut expected: Vec<String> = ["image", "motd", "rootfs"].map(str::to_owned).to_vec();
    for level in CHANGED..SCRIPTS {
        expected.extend([format!("part-{level}"), format!("source-{level}")]);
    }
    expected.sort();
    assert_eq!(outcome.ran, expected);
    // Their inputs that somebody else has made.
    let mut inputs = vec![output(&old, &report, &format!("part-{}", CHANGED - 1))];
    inputs.extend((CHANGED..SCRIPTS).map(|at| output(&old, &report, &format!("tool-{at}"))));
    let (moved, allowed) = (log.bytes("packs/"), builder.packed_bytes(&inputs));
    assert!(moved <= allowed, "{moved} of {allowed} bytes");
    println!(
        "{moved} of {allowed} bytes, {} round trips, {:?}",
        log.rounds(),
        outcome.troubles
    );
}

#[test]
fn five_thousand_derivations_are_three_requests_and_a_megabyte() {
    let log = asked(5000, 0);
    println!("{} requests, {} bytes", log.count(""), log.bytes(""));
    assert!(log.count("") <= 3, "{}", log.count(""));
    assert!(log.bytes("") <= 1_000_000, "{}", log.bytes(""));
    assert_eq!(log.rounds(), 1);
}

#[test]
fn what_changed_since_the_last_hint_is_asked_one_by_one() {
    let log = asked(5000, 50);
    println!(
        "{} requests, {} bytes, {} round trips",
        log.count(""),
        log.bytes(""),
        log.rounds()
    );
    assert_eq!(log.count("claims/"), 50);
    // The sketch is new, so the label's hint is asked for too.
    assert_eq!(log.count(""), 4 + 50);
    assert!(log.bytes("") <= 1_000_000, "{}", log.bytes(""));
}

/// Asks about so many of a million claims, with a hint of as many, but for the
/// `new` ones: what went over the network.
fn asked(count: u64, new: u64) -> Log {
    let key = key();
    let subject = |text: &str| Digest::of(text.as_bytes());
    let rest = Arc::new(Memory::default());
    let claims = (0..count).map(|number| million::claim(number, &key));
    let claims: Vec<_> = claims.collect();
    let now = match new {
        0 => "now",
        _ => "then",
    };
    for name in [now, "label"] {
        let written = hint::write(&*rest, &subject(name), &key.public(), claims.clone());
        written.expect("memory");
    }
    let site = Site::new();
    let meter = Meter::new();
    let million = Million {
        key: self::key(),
        rest,
    };
    let caches = [Cache::new("far", meter.far(Box::new(million)), &site.store).expect("new")];
    let (policy, cancel) = (believing(&key), Cancel::new().expect("an eventfd"));
    let subjects = Subjects {
        sketches: vec![subject("now")],
        labels: vec![subject("label")],
    };
    let asking = Caches::new(&site.store, &policy, &caches, subjects, (&Silent, &cancel));
    let asking = asking.expect("the store can be read");
    // Spread over all of the million.
    let numbers = (new..count).chain((0..new).map(|at| CLAIMS - 1 - at * 10_000));
    let numbers: Vec<u64> = numbers.collect();
    let recipes = numbers.iter().map(|number| Asked {
        name: "any",
        recipe: million::recipe(*number),
    });
    let answers = asking.claimed(&recipes.collect::<Vec<_>>());
    for (number, answer) in numbers.iter().zip(answers.expect("no contradiction")) {
        let outputs = answer.expect("it is claimed").outputs;
        assert_eq!(outputs, million::claim(*number, &key).realisation.outputs);
    }
    drop(asking);
    drop(caches);
    meter.into_log()
}
