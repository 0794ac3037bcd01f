//! A project whose image stands on thirty derivations, and those who build and
//! share it. Stores, caches, plans and kiln's own builders are real; scripts are
//! not run, since a sandbox is no matter here: what they would make is made up
//! from their keys.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Mutex, OnceLock, PoisonError};

use kiln_derivations::build::error::BuildError;
use kiln_derivations::build::{Built, Job};
use kiln_derivations::cancel::Cancel;
use kiln_derivations::derivation::{
    Builder, Derivation, Exec, Input, Limits, Local, LocalContent, LocalFile, LocalOrigin, OUT,
    Role, Rootfs, Target,
};
use kiln_derivations::event::{Event, Listener};
use kiln_derivations::graph::{DerivationId, Graph};
use kiln_derivations::realise::caches::hints::{self, Subjects};
use kiln_derivations::realise::caches::recipes;
use kiln_derivations::realise::caches::share::{Share, Shared};
use kiln_derivations::realise::caches::{Cache, Caches};
use kiln_derivations::realise::execute::{Options, Report, World, execute};
use kiln_derivations::realise::others::Others;
use kiln_derivations::realise::world::Machine;
use kiln_store::cache::backend::Backend;
use kiln_store::cache::memory::Memory as MemoryCache;
use kiln_store::cache::push::Push;
use kiln_store::cache::remembered::Remembered;
use kiln_store::hash::{ActionKey, TreeId};
use kiln_store::objects::{Memory, Objects};
use kiln_store::realisation::{OutputMap, Realisation};
use kiln_store::store::{OpenOptions, Store};
use kiln_store::tree::{Directory, Entry, Name, Node};
use kiln_store::trust::key::SecretKey;
use kiln_store::trust::policy::{Policy, TrustedKey};

/// The derivations on the way from the deepest script to the image.
pub const DEPTH: usize = 30;
/// The scripts that compile: below is the first tool, above come a root file
/// system and an image.
pub const SCRIPTS: usize = DEPTH - 3;

/// What each script makes, in bytes that nothing compresses.
const PART_BYTES: usize = 50_000;
/// The same for the last one, which most of the image is.
const LAST_BYTES: usize = 2_000_000;

/// The project: script N compiles source N and what script N-1 made, with tool
/// N, which tool N-1 made.
pub struct Project {
    pub graph: Graph,
    pub image: DerivationId,
}

impl Project {
    /// With the sources as given: `source` says what is in the source of script
    /// N, `motd` what in a file of the root file system.
    pub fn new(source: &dyn Fn(usize) -> String, motd: &str) -> Self {
        let mut graph = Graph::default();
        let (mut tool, mut part) = (None, None);
        for level in 0..SCRIPTS {
            let used: Vec<_> = tool.map(|tool| (tool, Role::Tool)).into_iter().collect();
            let made = graph.add(script(&format!("tool-{level}"), &used));
            let text = graph.add(text(&format!("source-{level}"), &source(level)));
            let mut used = vec![(made, Role::Tool), (text, Role::Material)];
            used.extend(part.map(|part| (part, Role::Material)));
            part = Some(graph.add(script(&format!("part-{level}"), &used)));
            tool = Some(made);
        }
        let motd = graph.add(text("motd", motd));
        let layers = [part, Some(motd)].into_iter().flatten();
        let layers: Vec<_> = layers.map(|it| (it, Role::Material)).collect();
        let rootfs = Builder::Rootfs(Rootfs::default());
        let rootfs = graph.add(step("rootfs", rootfs, &layers));
        let image = step("image", Builder::Archive, &[(rootfs, Role::Material)]);
        let image = graph.add(image);
        Self { graph, image }
    }

    /// What hints for the image are found by.
    pub fn subjects(&self) -> Subjects {
        let image = self.graph.get(self.image);
        Subjects {
            sketches: hints::sketches(&self.graph, &[self.image]),
            labels: vec![hints::label("project", &image.name, image.target)],
        }
    }

    /// How many derivations the longest way from the image down has, files of
    /// this machine aside.
    pub fn depth(&self) -> usize {
        let mut depths: Vec<usize> = Vec::new();
        for (_, derivation) in self.graph.iter() {
            let below = derivation.inputs.iter();
            let below = below.map(|input| depths[input.derivation.index()]);
            let own = usize::from(!matches!(derivation.builder, Builder::Local(_)));
            depths.push(own + below.max().unwrap_or_default());
        }
        depths[self.image.index()]
    }

    /// The derivation of that name.
    pub fn get(&self, name: &str) -> DerivationId {
        let mut all = self.graph.iter();
        let found = all.find(|(_, derivation)| derivation.name == name);
        found.map(|(id, _)| id).expect("there is one")
    }
}

fn script(name: &str, used: &[(DerivationId, Role)]) -> Derivation {
    let exec = Exec {
        platform: Target::X86_64,
        argv: vec!["/in/run".to_owned(), name.to_owned()],
        env: BTreeMap::new(),
        uid: 1000,
        limits: Limits::default(),
        copy_source: false,
        at: None,
    };
    let executed_on = name.starts_with("tool").then_some(Target::X86_64);
    Derivation {
        executed_on,
        ..step(name, Builder::Exec(exec), used)
    }
}

/// A file of this name with this text.
fn text(name: &str, text: &str) -> Derivation {
    let node = put_file(&Memory::default(), text.as_bytes());
    let tree = put_directory(&Memory::default(), vec![(name, node)]);
    let file = LocalFile {
        name: name.to_owned(),
        content: LocalContent::Text(text.to_owned()),
        executable: false,
    };
    let origin = LocalOrigin::Files(vec![file]);
    step(name, Builder::Local(Local { tree, origin }), &[])
}

fn step(name: &str, builder: Builder, used: &[(DerivationId, Role)]) -> Derivation {
    let input = |(number, (derivation, role)): (usize, &(DerivationId, Role))| Input {
        derivation: *derivation,
        output: OUT.to_owned(),
        role: *role,
        at: match builder {
            Builder::Archive => "/".to_owned(),
            Builder::Rootfs(_) => format!("layer-{number}"),
            _ => format!("/in/{number}"),
        },
    };
    Derivation {
        name: name.to_owned(),
        description: String::new(),
        target: None,
        executed_on: None,
        inputs: used.iter().enumerate().map(input).collect(),
        builder,
        outputs: vec![OUT.to_owned()],
    }
}

fn put_file(objects: &dyn Objects, bytes: &[u8]) -> Node {
    let stored = objects.put_file(&mut Cursor::new(bytes), false);
    let (content, size) = stored.expect("it can be stored");
    Node::File {
        content,
        size,
        executable: false,
    }
}

fn put_directory(objects: &dyn Objects, entries: Vec<(&str, Node)>) -> TreeId {
    let entries = entries.into_iter().map(|(name, node)| Entry {
        name: Name::new(name).expect("a name"),
        node,
    });
    let directory = Directory::new(entries.collect()).expect("names differ");
    objects.put_directory(&directory).expect("it can be stored")
}

/// A machine with a store of its own.
pub struct Site {
    pub store: Store,
    _directory: tempfile::TempDir,
}

/// What came of a build.
pub struct Outcome {
    pub report: Report,
    /// What was built here, sorted.
    pub ran: Vec<String>,
    /// What was said of caches that did not do as they should.
    pub troubles: Vec<String>,
}

impl Site {
    /// With an empty store.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store"), &OpenOptions::default());
        Self {
            store: store.expect("it is made"),
            _directory: directory,
        }
    }

    /// Builds the image, asking `backend`, if any, for what `key` signed.
    pub fn build(
        &self,
        project: &Project,
        backend: Option<(Box<dyn Backend>, &SecretKey)>,
    ) -> Outcome {
        let (policy, caches) = match backend {
            None => (Policy::default(), Vec::new()),
            Some((backend, key)) => (believing(key), vec![self.cache(backend)]),
        };
        let cancel = Cancel::new().expect("an eventfd");
        let heard = Heard::default();
        let others = (!caches.is_empty()).then(|| {
            let told = (&heard as &dyn Listener, &cancel);
            Caches::new(&self.store, &policy, &caches, project.subjects(), told)
                .expect("the store can be read")
        });
        let workshop = Workshop::new(&self.store, others);
        let options = Options {
            jobs: 2,
            downloads: 4,
            keep_going: false,
            bytes: true,
        };
        let roots = [project.image];
        let report = execute(&project.graph, &roots, &workshop, &options, &heard, &cancel);
        let report = report.expect("this machine does not fail");
        assert!(report.is_success(), "{:?}", report.failures);
        let mut ran = workshop.ran.into_inner().expect("no panic");
        ran.sort();
        Outcome {
            report,
            ran,
            troubles: heard.0.into_inner().expect("no panic"),
        }
    }

    /// Shares all that a build realised, found by `subjects`.
    pub fn share(
        &self,
        project: &Project,
        report: &Report,
        backend: Box<dyn Backend>,
        key: &SecretKey,
    ) -> Shared {
        let share = Share {
            store: &self.store,
            cache: &self.cache(backend),
            key,
            subjects: &project.subjects().all(),
            project: &recipes::project("reach"),
            sources: false,
            watch: &(),
        };
        let shared = share.run(&project.graph, &[project.image], &report.realised);
        shared.expect("a cache in a directory takes all")
    }

    fn cache(&self, backend: Box<dyn Backend>) -> Cache {
        Cache::new("far", backend, &self.store).expect("its directory can be made")
    }

    /// What `trees`, all of which are here, take in a cache, packed, in bytes.
    pub fn packed_bytes(&self, trees: &[TreeId]) -> u64 {
        let backend = MemoryCache::default();
        let push = Push {
            backend: &backend,
            objects: &self.store,
            base: &[],
            remembered: &Remembered::nowhere(),
            watch: &(),
        };
        push.run(trees).expect("they are here");
        let packs = backend.list("packs/").expect("memory");
        let packs = packs.into_iter().flatten();
        packs.map(|pack| pack.size_bytes).sum()
    }
}

/// Everything that this key signed.
pub fn believing(key: &SecretKey) -> Policy {
    let trusted = TrustedKey::new(key.public(), BTreeMap::new(), &[]);
    Policy {
        keys: vec![trusted.expect("no globs")],
        ..Policy::default()
    }
}

/// A machine on which scripts make something up.
struct Workshop<'w> {
    machine: Machine<'w>,
    ran: Mutex<Vec<String>>,
}

impl<'w> Workshop<'w> {
    fn new(store: &'w Store, others: Option<Caches<'w>>) -> Self {
        Self {
            machine: Machine {
                store,
                fetch: None,
                find_sandbox: &|_| unreachable!("no script is run"),
                user: None,
                cores: 1,
                fetcher: OnceLock::new(),
                leases: Mutex::default(),
                sandboxing: OnceLock::new(),
                others,
                builds: true,
            },
            ran: Mutex::default(),
        }
    }
}

impl World for Workshop<'_> {
    fn known(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError> {
        self.machine.known(action)
    }

    fn is_present(&self, tree: &TreeId) -> Result<bool, BuildError> {
        self.machine.is_present(tree)
    }

    fn lock(&self, action: &ActionKey, waiting: &dyn Fn()) -> Result<Box<dyn Send>, BuildError> {
        self.machine.lock(action, waiting)
    }

    fn build(&self, job: &Job<'_>) -> Result<Built, BuildError> {
        let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        ran.push(job.subject.name.clone());
        drop(ran);
        for input in &job.inputs {
            assert!(self.is_present(&input.tree)?, "{}", job.subject.name);
        }
        if !matches!(job.derivation.builder, Builder::Exec(_)) {
            return self.machine.build(job);
        }
        let is_last = job.subject.name == format!("part-{}", SCRIPTS - 1);
        let mut part = vec![0; if is_last { LAST_BYTES } else { PART_BYTES }];
        let key = job.keys.action.to_string();
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes()).finalize_xof().fill(&mut part);
        let store = self.machine.store;
        let tree = put_directory(store, vec![("part", put_file(store, &part))]);
        Ok(Built {
            outputs: vec![(OUT.to_owned(), tree)],
            ..Built::default()
        })
    }

    fn register(&self, realisation: Realisation) -> Result<(), BuildError> {
        self.machine.register(realisation)
    }

    fn others(&self) -> Option<&dyn Others> {
        self.machine.others()
    }
}

/// Remembers what went wrong with caches.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Listener for Heard {
    fn event(&self, event: &Event) {
        let trouble = match event {
            Event::CacheSkipped { why, .. } | Event::ClaimRefused { why, .. } => why.clone(),
            Event::PullFailed { derivation, .. } => format!("no {}", derivation.name),
            _ => return,
        };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(trouble);
    }
}
