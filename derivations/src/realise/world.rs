//! The world of this machine: its store, its network, its sandbox.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use kiln_store::error::StoreError;
use kiln_store::hash::{ActionKey, TreeId};
use kiln_store::import::Rules;
use kiln_store::lease::Lease;
use kiln_store::objects::{ObjectError, Objects};
use kiln_store::realisation::{OutputMap, Realisation, SignedRealisation};
use kiln_store::store::Store;

use super::caches::Caches;
use super::execute::World;
use super::others::Others;
use crate::build::error::{BuildError, FailureClass};
use crate::build::exec::{self, Host};
use crate::build::{Built, Job, builtin, fetch, store_error};
use crate::compose::glob_set;
use crate::derivation::{Builder, Local, LocalOrigin, OUT, Target};
use crate::fetch::{FetchConfig, Fetcher};
use crate::sandbox::facts::{self, Facts};
use crate::sandbox::seccomp::Architecture;
use crate::sandbox::{Bwrap, Emulator, HostUser, Resident, probe};

/// A bubblewrap that works, and what builders can see of this machine with it.
#[derive(Clone, Debug)]
pub struct Sandboxing {
    /// How to start bubblewrap.
    pub bwrap: Bwrap,
    /// What builders run in whose platform is not the machine's own.
    pub emulator: Option<Emulator>,
    /// Recorded with every build, sorted by name.
    pub facts: Vec<(String, String)>,
}

impl Sandboxing {
    /// Tries `bwrap` as `user`.
    pub fn try_out(bwrap: Bwrap, user: Option<HostUser>) -> Result<Self, probe::Lack> {
        let works = probe::check(&bwrap, user)?;
        Ok(Self {
            bwrap,
            emulator: None,
            facts: Facts::of_this_host(&works).pairs(),
        })
    }

    /// The same for builders of `platform`, run by QEMU's emulator below `root`,
    /// which is tried as `user`, with the programs of `resident` kept in memory.
    /// Says what is wrong.
    pub fn emulating(
        self,
        platform: Target,
        root: &Path,
        resident: Option<(&Path, &[String])>,
        user: Option<HostUser>,
    ) -> Result<Self, String> {
        let interpreter = root.join("usr/bin").join(format!("qemu-{platform}"));
        probe::check_emulation(&self.bwrap, user, &interpreter)
            .map_err(|lack| format!("{lack}; {}", lack.remedy()))?;
        let emulator = Emulator {
            architecture: match platform {
                Target::X86_64 => Architecture::X86_64,
                Target::Aarch64 => Architecture::Aarch64,
            },
            interpreter,
            resident: resident.map(|(root, programs)| Resident {
                client: root.join("client"),
                server: root.join(format!("server-{platform}.so")),
                programs: programs.to_vec(),
            }),
        };
        let mut facts = self.facts;
        facts.extend(facts::of_emulator(&emulator).map_err(|error| error.to_string())?);
        facts.sort();
        Ok(Self {
            emulator: Some(emulator),
            facts,
            ..self
        })
    }
}

/// Says how files are fetched: it asks the machine, which takes its time.
pub type FetchHow<'a> = dyn Fn() -> FetchConfig + Sync + 'a;

/// Finds bubblewrap, and an emulator if one is needed, when the first script is
/// about to run; it is told for which build platform.
pub type FindSandbox<'a> = dyn Fn(Target) -> Result<Sandboxing, BuildError> + Sync + 'a;

/// This machine.
pub struct Machine<'a> {
    /// The store.
    pub store: &'a Store,
    /// Says how files are fetched, when the first one is; `None` if they must
    /// not be.
    pub fetch: Option<&'a FetchHow<'a>>,
    /// Finds bubblewrap.
    pub find_sandbox: &'a FindSandbox<'a>,
    /// As root, who bubblewrap is started as.
    pub user: Option<HostUser>,
    /// `KILN_JOBS`.
    pub cores: usize,
    /// Made when the first download starts.
    pub fetcher: OnceLock<Fetcher>,
    /// What is relied on, and so kept from gc, until this is dropped.
    pub leases: Mutex<Vec<Lease>>,
    /// Found when the first script starts, for its platform and so for all:
    /// a graph has one.
    pub sandboxing: OnceLock<Sandboxing>,
    /// What others built, if anybody is asked.
    pub others: Option<Caches<'a>>,
    /// Whether anything may be built or downloaded here, or only be had from
    /// others.
    pub builds: bool,
}

impl World for Machine<'_> {
    fn known(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError> {
        let claims = self.store.realisations_of_action(action);
        let mut claims = claims.map_err(store_error)?;
        // Others' claims count by the policy, and are asked for by recipe.
        claims.retain(|claim| claim.signature.is_none());
        // Of several claims one whose bytes are here serves best.
        for claim in &claims {
            let outputs = &claim.realisation.outputs;
            let mut present = true;
            for (_, tree) in outputs {
                present &= self.store.has_tree(tree).map_err(store_error)?;
            }
            if present {
                return Ok(Some(outputs.clone()));
            }
        }
        Ok(claims.into_iter().next().map(|it| it.realisation.outputs))
    }

    fn is_present(&self, tree: &TreeId) -> Result<bool, BuildError> {
        match self.store.lease(tree) {
            Ok(lease) => {
                let mut leases = self.leases.lock().unwrap_or_else(|e| e.into_inner());
                leases.push(lease);
                Ok(true)
            }
            Err(StoreError::Object(ObjectError::Missing { .. })) => Ok(false),
            Err(error) => Err(store_error(error)),
        }
    }

    fn lock(&self, action: &ActionKey, waiting: &dyn Fn()) -> Result<Box<dyn Send>, BuildError> {
        if let Some(lock) = self.store.try_lock_build(action).map_err(store_error)? {
            return Ok(Box::new(lock));
        }
        waiting();
        let lock = self.store.lock_build(action).map_err(store_error)?;
        Ok(Box::new(lock))
    }

    fn build(&self, job: &Job<'_>) -> Result<Built, BuildError> {
        if !self.builds {
            let text = format!(
                "`{}` is claimed by nobody that the policy trusts, or no cache has it; \
                 `kiln build` builds it",
                job.subject.name
            );
            return Err(BuildError::new(FailureClass::Untrusted, text));
        }
        match &job.derivation.builder {
            Builder::Exec(exec) => exec::build(&self.host(exec.platform)?, job, exec),
            _ => self.build_without_script(job, self.store, self.store),
        }
    }

    fn others(&self) -> Option<&dyn Others> {
        self.others.as_ref().map(|caches| caches as &dyn Others)
    }

    fn register(&self, realisation: Realisation) -> Result<(), BuildError> {
        let signed = SignedRealisation {
            realisation,
            signature: None,
        };
        self.store.register(&[signed]).map_err(store_error)
    }
}

impl Machine<'_> {
    /// Makes the outputs of a derivation that kiln itself builds: reads and
    /// writes `objects`, takes local files into `files`.
    pub fn build_without_script(
        &self,
        job: &Job<'_>,
        objects: &dyn Objects,
        files: &Store,
    ) -> Result<Built, BuildError> {
        let tree = match &job.derivation.builder {
            Builder::Fetch(spec) => return fetch::build(objects, self.fetcher(job)?, job, spec),
            Builder::Exec(_) => {
                let text = "a script is no builder of kiln's own";
                return Err(BuildError::new(FailureClass::Sandbox, text));
            }
            Builder::Local(local) => local_files(files, job, local)?,
            Builder::Compose(options) => builtin::composition(objects, job, options)?,
            Builder::Rootfs(spec) => builtin::root_file_system(objects, job, spec)?,
            Builder::Archive => builtin::tar_archive(objects, job)?,
        };
        Ok(Built {
            outputs: vec![(OUT.to_owned(), tree)],
            ..Built::default()
        })
    }

    /// What scripts of a build platform need of this machine.
    pub fn host(&self, platform: Target) -> Result<Host<'_>, BuildError> {
        let sandboxing = match self.sandboxing.get() {
            Some(found) => found,
            None => {
                let found = (self.find_sandbox)(platform)?;
                self.sandboxing.get_or_init(|| found)
            }
        };
        Ok(Host {
            store: self.store,
            bwrap: &sandboxing.bwrap,
            emulator: sandboxing.emulator.as_ref(),
            facts: &sandboxing.facts,
            user: self.user,
            cores: self.cores,
        })
    }

    fn fetcher(&self, job: &Job<'_>) -> Result<&Fetcher, BuildError> {
        if let Some(fetcher) = self.fetcher.get() {
            return Ok(fetcher);
        }
        let Some(how) = self.fetch else {
            let text = format!(
                "`{}` has to be downloaded, and --offline forbids it",
                job.subject.name
            );
            return Err(BuildError::new(FailureClass::Unavailable, text));
        };
        let fetcher = Fetcher::new(how());
        let fetcher =
            fetcher.map_err(|error| BuildError::new(FailureClass::Machine, error.to_string()))?;
        Ok(self.fetcher.get_or_init(|| fetcher))
    }
}

/// Takes local files into the store; they have to be what they were when
/// the manifest was evaluated.
fn local_files(store: &Store, job: &Job<'_>, local: &Local) -> Result<TreeId, BuildError> {
    let tree = match &local.origin {
        LocalOrigin::Files(files) => builtin::local_files(store, files)?,
        LocalOrigin::Directory { path, ignore } => local_directory(store, path, ignore)?,
    };
    if tree == local.tree {
        return Ok(tree);
    }
    let text = format!(
        "the local files of `{}` changed while kiln read them; run it again",
        job.subject.name
    );
    Err(BuildError::new(FailureClass::Changed, text))
}

fn local_directory(store: &Store, path: &Path, ignore: &[String]) -> Result<TreeId, BuildError> {
    let globs = glob_set(ignore)
        .map_err(|error| BuildError::new(FailureClass::Compose, error.to_string()))?;
    let ignored = |path: &Path, _is_directory: bool| globs.is_match(format!("/{}", path.display()));
    let rules = Rules {
        ignore: Some(&ignored),
        ..Rules::source()
    };
    let imported = store.import_path(path, &rules);
    match imported {
        Ok(imported) => Ok(imported.tree),
        Err(kiln_store::import::ImportError::Store(error)) => Err(store_error(error)),
        Err(error) => Err(BuildError::new(
            FailureClass::Machine,
            format!("{}: {error}", path.display()),
        )),
    }
}
