//! A machine that is not there: files in memory, and locks that pin everything.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kiln_derivations::derivation::resolve::{Keys, ResolvedInput, keys};
use kiln_derivations::derivation::{Builder, Derivation, Target};
use kiln_derivations::manifest::assemble::Assembly;
use kiln_derivations::manifest::evaluate::{FileBytes, Files};
use kiln_derivations::manifest::lock::{PinnedPackage, PinnedSeed, PinnedSource, request};
use kiln_derivations::manifest::{Evaluation, Lock, Manifest, ManifestError, Request, evaluate};
use kiln_store::hash::{Digest, TreeId};
use miette::{Diagnostic, NarratableReportHandler};

/// Where the manifest lies that is not there.
pub(super) const ROOT: &str = "/flake";

/// Files by path.
#[derive(Default)]
pub(super) struct Memory(pub(super) BTreeMap<PathBuf, FileBytes>);

impl Memory {
    pub(super) fn with(mut self, path: &str, text: &str) -> Self {
        let file = FileBytes {
            bytes: text.as_bytes().to_vec(),
            executable: text.starts_with("#!"),
        };
        self.0.insert(PathBuf::from(path), file);
        self
    }
}

impl Files for Memory {
    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<FileBytes> {
        let file = self.0.get(path).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn tree(&self, path: &Path, ignore: &[String]) -> io::Result<TreeId> {
        // Not what a disk would say, but as dependent on what is there.
        let below = self.0.iter().filter(|(p, _)| p.starts_with(path));
        let text = format!("{:?} {ignore:?}", below.collect::<Vec<_>>());
        Ok(TreeId(Digest::of(text.as_bytes())))
    }
}

pub(super) fn manifest_in(root: &str, text: &str) -> Result<Manifest, ManifestError> {
    Assembly::new(PathBuf::from(root), "flake-like.toml", text).finish()
}

pub(super) fn manifest(text: &str) -> Manifest {
    manifest_in(ROOT, text).unwrap_or_else(|error| panic!("{}", render(&error)))
}

/// A lock that pins everything in `manifest`; hashes follow from names.
pub(super) fn lock(manifest: &Manifest) -> Lock {
    let mut lock = Lock::default();
    for (name, source) in &manifest.sources {
        if source.path.is_some() {
            continue;
        }
        let urls = source.git.iter().chain(source.urls());
        let rev = source.rev.as_ref().map_or("", |rev| rev);
        let hash = if rev.is_empty() {
            hash(name)
        } else {
            String::new()
        };
        let pinned = PinnedSource {
            name: name.value.clone(),
            urls: urls.map(|url| url.value.clone()).collect(),
            candidates: Vec::new(),
            size: 1000,
            sha256: hash.clone(),
            blake3: hash,
            rev: rev.to_owned(),
            first_seen: "20261121T000000Z".to_owned(),
        };
        lock.pin(pinned).expect("names differ, so hashes do");
    }
    for (name, seed) in &manifest.seeds {
        let packages = |platform: Target| {
            let packages = seed.packages.iter();
            packages.map(|package| deb(package, platform)).collect()
        };
        let pinned = PinnedSeed {
            name: name.value.clone(),
            debian: seed.debian.value.clone(),
            request: request(seed),
            first_seen: "20261121T000000Z".to_owned(),
            x86_64: packages(Target::X86_64),
            aarch64: packages(Target::Aarch64),
        };
        lock.seeds.insert(name.value.clone(), pinned);
    }
    lock
}

fn deb(name: &str, platform: Target) -> PinnedPackage {
    let hash = hash(&format!("{name} {platform}"));
    PinnedPackage {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        path: format!("pool/{name}_1.0_{}.deb", platform.debian()),
        size: 100,
        sha256: hash.clone(),
        blake3: hash,
        installed_kib: 10,
    }
}

fn hash(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

/// Evaluates `want` for `targets` on an x86_64 machine.
pub(super) fn evaluated(
    text: &str,
    want: &[&str],
    targets: &[Target],
    files: &Memory,
) -> Evaluation {
    let manifest = manifest(text);
    let lock = lock(&manifest);
    let request = requested(want, targets);
    evaluate(&manifest, &lock, &request, files).unwrap_or_else(|error| panic!("{}", render(&error)))
}

pub(super) fn requested(want: &[&str], targets: &[Target]) -> Request {
    Request {
        build_platform: Target::X86_64,
        targets: targets.to_vec(),
        want: want
            .iter()
            .map(|w| w.parse().expect("never fails"))
            .collect(),
    }
}

/// The keys of every derivation, as if each output were named after what made
/// it: tools and seeds after the platform too, as theirs really differ.
pub(super) fn all_keys(evaluation: &Evaluation, platform: Target) -> Vec<Keys> {
    let mut found: Vec<(Keys, TreeId)> = Vec::new();
    for (_, derivation) in evaluation.graph.iter() {
        let inputs = derivation.inputs.iter().map(|input| {
            let (keys, tree) = found[input.derivation.index()];
            ResolvedInput {
                tree,
                lineage: keys.lineage,
            }
        });
        let inputs: Vec<ResolvedInput> = inputs.collect();
        let keys = keys(derivation, &inputs);
        found.push((keys, output(derivation, &keys, platform)));
    }
    found.into_iter().map(|(keys, _)| keys).collect()
}

fn output(derivation: &Derivation, keys: &Keys, platform: Target) -> TreeId {
    if let Builder::Local(local) = &derivation.builder {
        return local.tree;
    }
    let platform = match derivation.executed_on {
        Some(_) => platform.name(),
        None => "",
    };
    TreeId(Digest::of(format!("{}{platform}", keys.recipe).as_bytes()))
}

/// What a person is shown, without colours and without the machine's width.
pub(super) fn render(error: &dyn Diagnostic) -> String {
    let mut out = String::new();
    NarratableReportHandler::new()
        .without_cause_chain()
        .render_report(&mut out, error)
        .expect("writing to memory");
    out
}
