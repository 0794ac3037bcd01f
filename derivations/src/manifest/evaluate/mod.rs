//! From a manifest and its lock to the derivations that are wanted.
//!
//! Demand-driven and memoised: the graph holds what was asked for and what that
//! is made of, nothing else, so that what a derivation hashes cannot depend on
//! entries it does not use. Pure but for local files, which are read through
//! [`Files`].
//!
//! - this module: requests, and the memo that the others build through.
//! - `scope`: where names are looked up; `variant`: what a variant reaches.
//! - `fetched`: sources and seeds.
//! - `local`: recipe files as trees.
//! - `exec`: packages and formats, their mounts and environment.
//! - `system`: compositions, root file systems, images.

mod exec;
mod fetched;
mod files;
mod local;
mod scope;
mod system;
mod variant;

use std::collections::HashMap;
use std::str::FromStr;

use super::assemble::Manifest;
use super::check::ROOTS;
use super::lock::{Lock, LockOutOfDate};
use super::problem::{ManifestError, Problem};
use super::reference::{Found, Kind};
use super::schema::{Attach, Runner};
use crate::derivation::{Derivation, Input, OUT, Role, Target};
use crate::graph::{DerivationId, Graph};
use scope::{Scope, VariantKey};

pub use files::{Disk, FileBytes, Files, Ignore};

/// What to evaluate.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where builders run.
    pub build_platform: Target,
    /// What the artefacts run on.
    pub targets: Vec<Target>,
    /// What is wanted, each for all targets.
    pub want: Vec<Wanted>,
}

/// Something that is wanted: `musl`, `rootfs.minsys`, `linux#debug`,
/// `minsys#ext4`, `kiln.busybox`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Wanted {
    /// The entry, as references in the manifest are written.
    pub name: String,
    /// An output of a package, a format of an image, `tar` of a root file
    /// system.
    pub part: Option<String>,
}

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, part) = match text.split_once(['#', ':']) {
            Some((name, part)) => (name, Some(part.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            name: name.to_owned(),
            part,
        })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Some(part) => write!(f, "{}#{part}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What came of a [`Request`].
#[derive(Debug, Default)]
pub struct Evaluation {
    /// The derivations.
    pub graph: Graph,
    /// What was wanted: for each entry one root a target, or one in all if it
    /// is the same for all targets.
    pub roots: Vec<Root>,
    /// The images among the roots.
    pub images: Vec<ImageInfo>,
}

/// One output that was wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// As it was asked for.
    pub wanted: Wanted,
    /// The kind of the entry.
    pub kind: Kind,
    /// What it runs on, if that matters to it.
    pub target: Option<Target>,
    /// Whose output.
    pub derivation: DerivationId,
    /// Which output.
    pub output: String,
}

/// What whoever boots an image needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageInfo {
    /// The image's name.
    pub name: String,
    /// What it runs on.
    pub target: Target,
    /// Its derivation: one folder with the kernel's files, a file for each
    /// format, and `cmdline`.
    pub derivation: DerivationId,
    /// Its formats in the manifest's order.
    pub formats: Vec<FormatInfo>,
    /// The kernel's command line.
    pub cmdline: String,
}

/// A format of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatInfo {
    /// Its name.
    pub name: String,
    /// The file it makes.
    pub file: String,
    /// How a machine boots from it.
    pub boot: Option<Attach>,
    /// What it adds to the kernel's command line.
    pub cmdline: String,
    /// The derivation that makes it.
    pub derivation: DerivationId,
}

/// What an image must show when it boots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootCheckInfo {
    /// The check's name.
    pub name: String,
    /// The image, with its formats and derivations.
    pub image: ImageInfo,
    /// The formats to boot from.
    pub formats: Vec<String>,
    /// What the console must show.
    pub expect: String,
    /// What is typed then.
    pub input: String,
    /// What the console must show after that, in this order.
    pub expect_then: Vec<String>,
    /// What it must not show.
    pub refuse: Vec<String>,
    /// What is added to the kernel's command line.
    pub cmdline: String,
    /// The longest it may take, in seconds.
    pub limit_s: u64,
    /// The machine's memory in bytes.
    pub memory_bytes: u64,
    /// The machine's processors.
    pub cpus: u32,
}

/// Why nothing could be evaluated.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum EvaluateError {
    /// The manifest is wrong, or a file it names is missing.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Manifest(#[from] Box<ManifestError>),
    /// The lock does not pin what is needed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockOutOfDate),
    /// Nothing has a name that was asked for.
    #[error("unknown name `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// What was probably meant.
        #[help]
        help: String,
    },
    /// An entry has no part that was asked for.
    #[error("{kind} `{name}` has no part `{part}`")]
    NoPart {
        /// The kind of the entry.
        kind: Kind,
        /// The entry.
        name: String,
        /// The part.
        part: String,
        /// What was probably meant.
        #[help]
        help: String,
    },
    /// The manifest is not for a target that was asked for.
    #[error("this manifest is not for target {target}")]
    NotForTarget {
        /// The target.
        target: Target,
        /// What it is for.
        #[help]
        help: String,
    },
}

/// Evaluates what `request` wants of `manifest`.
pub fn evaluate(
    manifest: &Manifest,
    lock: &Lock,
    request: &Request,
    files: &dyn Files,
) -> Result<Evaluation, EvaluateError> {
    for target in &request.targets {
        check_target(manifest, *target)?;
    }
    let mut evaluator = Evaluator::new(request.build_platform, files);
    let scope = Scope::new(manifest, lock);
    let mut roots = Vec::new();
    for wanted in &request.want {
        for target in &request.targets {
            let root = evaluator.wanted(scope, wanted, *target)?;
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
    }
    Ok(Evaluation {
        graph: evaluator.graph,
        roots,
        images: evaluator.images,
    })
}

/// Evaluates what emulators or bubblewrap run from, for the build platform.
pub fn runner(
    manifest: &Manifest,
    lock: &Lock,
    runner: &Runner,
    build_platform: Target,
    files: &dyn Files,
) -> Result<(Graph, DerivationId), EvaluateError> {
    let mut evaluator = Evaluator::new(build_platform, files);
    let scope = Scope::new(manifest, lock);
    let found = scope.find(&runner.root, &ROOTS)?;
    let id = evaluator.entry(scope, found, For::BuildPlatform)?;
    Ok((evaluator.graph, id))
}

/// Evaluates the boot check `name` for `target`.
pub fn boot_check(
    manifest: &Manifest,
    lock: &Lock,
    name: &str,
    (build_platform, target): (Target, Target),
    files: &dyn Files,
) -> Result<(Graph, BootCheckInfo), EvaluateError> {
    check_target(manifest, target)?;
    let mut evaluator = Evaluator::new(build_platform, files);
    let info = evaluator.boot_check(Scope::new(manifest, lock), name, target)?;
    Ok((evaluator.graph, info))
}

fn check_target(manifest: &Manifest, target: Target) -> Result<(), EvaluateError> {
    let targets = manifest.targets();
    if targets.contains(&target) {
        return Ok(());
    }
    let names: Vec<&str> = targets.iter().map(|t| t.name()).collect();
    Err(EvaluateError::NotForTarget {
        target,
        help: format!("it is for: {}", names.join(", ")),
    })
}

/// What an entry is evaluated for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum For {
    /// Its artefacts run on this target, or on all if `None`.
    Target(Option<Target>),
    /// It is executed where builders run.
    BuildPlatform,
}

/// An entry of one manifest, for one target: what is evaluated once.
type Memo = (usize, Kind, String, For, VariantKey);

/// An output that something is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Layer {
    /// The name that conflicts and mounts call it.
    name: String,
    derivation: DerivationId,
    output: String,
    role: Role,
}

impl Layer {
    fn input(self, at: impl Into<String>) -> Input {
        Input {
            derivation: self.derivation,
            output: self.output,
            role: self.role,
            at: at.into(),
        }
    }
}

struct Evaluator<'f> {
    platform: Target,
    files: &'f dyn Files,
    graph: Graph,
    memo: HashMap<Memo, DerivationId>,
    /// Whether an entry is another in a variant.
    affected: HashMap<Memo, bool>,
    /// Fetches of .debs by their hash: seeds share most of them.
    debs: HashMap<String, DerivationId>,
    /// Everything else that is derived from derivations, by what it is.
    derived: HashMap<String, DerivationId>,
    images: Vec<ImageInfo>,
}

impl<'f> Evaluator<'f> {
    fn new(platform: Target, files: &'f dyn Files) -> Self {
        Self {
            platform,
            files,
            graph: Graph::default(),
            memo: HashMap::new(),
            affected: HashMap::new(),
            debs: HashMap::new(),
            derived: HashMap::new(),
            images: Vec::new(),
        }
    }

    /// The derivation of an entry, evaluated at the first call.
    fn entry<'m>(
        &mut self,
        scope: Scope<'m>,
        found: Found<'m>,
        wanted: For,
    ) -> Result<DerivationId, EvaluateError> {
        let name = found.name.value.as_str();
        let wanted = match wanted {
            // Only a seed is executed as it is; all others are built for a
            // target or for all.
            For::BuildPlatform if found.kind == Kind::Seed => For::BuildPlatform,
            For::BuildPlatform => For::Target(None),
            For::Target(_) if !super::check::varies(found) => For::Target(None),
            For::Target(target) => For::Target(target),
        };
        let scope = self.within(scope, found, wanted)?;
        let place = std::ptr::from_ref(scope.manifest) as usize;
        let key = (
            place,
            found.kind,
            name.to_owned(),
            wanted,
            scope.variant_key(),
        );
        if let Some(&id) = self.memo.get(&key) {
            return Ok(id);
        }
        let target = match wanted {
            For::Target(target) => target,
            For::BuildPlatform => None,
        };
        let id = match found.kind {
            Kind::Source => self.source(scope, found.name)?,
            Kind::Seed => self.seed(scope, found.name, target)?,
            Kind::Package => self.package(scope, found.name, target)?,
            Kind::Compose => self.compose(scope, found.name, target)?,
            Kind::Rootfs => {
                self.rootfs(scope, found.name, self.needs_target(scope, found, target)?)?
            }
            Kind::Image => {
                self.image(scope, found.name, self.needs_target(scope, found, target)?)?
            }
            Kind::Format | Kind::Variant => unreachable!("formats are evaluated with their image"),
        };
        self.memo.insert(key, id);
        Ok(id)
    }

    fn needs_target(
        &self,
        scope: Scope<'_>,
        found: Found<'_>,
        target: Option<Target>,
    ) -> Result<Target, EvaluateError> {
        target.ok_or_else(|| {
            let message = format!("`{}` is built for each target apart", found.name.value);
            scope.refuse(Problem::at(
                found.name.span,
                message,
                "used by something that is not",
            ))
        })
    }

    /// Where an output is executed in builds, if it is.
    fn executed_on(&self, is_executed: bool) -> Option<Target> {
        is_executed.then_some(self.platform)
    }

    fn add(&mut self, derivation: Derivation) -> DerivationId {
        self.graph.add(derivation)
    }

    fn wanted(
        &mut self,
        scope: Scope<'_>,
        wanted: &Wanted,
        target: Target,
    ) -> Result<Root, EvaluateError> {
        let found = scope.manifest.look_up(&wanted.name, &Kind::BUILT);
        let found =
            found.ok_or_else(|| unknown(&wanted.name, names_like(scope.manifest, &wanted.name)))?;
        let found = scope.varied(found)?;
        // A seed by itself is one to run something from.
        let wanted_for = match found.kind {
            Kind::Seed => For::BuildPlatform,
            _ => For::Target(Some(target)),
        };
        let mut derivation = self.entry(scope, found, wanted_for)?;
        let mut output = OUT.to_owned();
        if let Some(part) = &wanted.part {
            match (found.kind, part.as_str()) {
                (Kind::Rootfs, "tar") => derivation = self.archive(derivation),
                (Kind::Image, part) => {
                    let info = self
                        .images
                        .iter()
                        .find(|info| info.derivation == derivation);
                    let formats = info.map(|info| info.formats.as_slice()).unwrap_or_default();
                    let format = formats.iter().find(|format| format.name == part);
                    derivation = match format {
                        Some(format) => format.derivation,
                        None => {
                            return Err(no_part(
                                found,
                                part,
                                formats.iter().map(|f| f.name.as_str()),
                            ));
                        }
                    };
                }
                (kind, part) => {
                    let outputs = &self.graph.get(derivation).outputs;
                    if !outputs.iter().any(|output| output == part) {
                        let tar = (kind == Kind::Rootfs).then_some("tar");
                        let parts = outputs.iter().map(String::as_str).chain(tar);
                        return Err(no_part(found, part, parts));
                    }
                    output = part.to_owned();
                }
            }
        } else if let Some(first) = self.graph.get(derivation).outputs.first()
            && !self.graph.get(derivation).outputs.contains(&output)
        {
            output.clone_from(first);
        }
        Ok(Root {
            wanted: wanted.clone(),
            kind: found.kind,
            target: self.graph.get(derivation).target,
            derivation,
            output,
        })
    }
}

/// What `name` may have been meant to be: variants of what stands before its `@`,
/// or any name.
fn names_like(manifest: &Manifest, name: &str) -> Vec<String> {
    let Some((entry, _)) = name.split_once('@') else {
        return manifest.names();
    };
    match manifest.look_up(entry, &Kind::BUILT) {
        Some(found) => {
            let variants = found.manifest.keys(Kind::Variant);
            variants
                .map(|key| format!("{entry}@{}", key.value))
                .collect()
        }
        None => manifest.names(),
    }
}

fn unknown(name: &str, names: impl IntoIterator<Item = String>) -> EvaluateError {
    let names: Vec<String> = names.into_iter().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Names are listed without their kinds, and may be given with them.
    let bare = name.rsplit_once('.').map_or(name, |(_, bare)| bare);
    let nearest = |name| super::problem::nearest(name, &names);
    let help = match nearest(name).or_else(|| nearest(bare)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the manifest has: {}", names.join(", ")),
    };
    EvaluateError::Unknown {
        name: name.to_owned(),
        help,
    }
}

fn no_part<'a>(
    found: Found<'_>,
    part: &str,
    parts: impl Iterator<Item = &'a str>,
) -> EvaluateError {
    let parts: Vec<&str> = parts.collect();
    let help = match super::problem::nearest(part, &parts) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has: {}", parts.join(", ")),
    };
    EvaluateError::NoPart {
        kind: found.kind,
        name: found.name.value.clone(),
        part: part.to_owned(),
        help,
    }
}
