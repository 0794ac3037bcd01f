//! From the tables of all files to one manifest.
//!
//! Pure. Entries of included files are put together, templates are expanded,
//! and `check` looks at every reference, so that whoever holds a
//! [`Manifest`] may rely on each name standing for something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::check;
use super::interpolate::Variables;
use super::lock::Lock;
use super::parse::parse_file;
use super::problem::{ManifestError, Problem, SourceFile};
use super::reference::Kind;
use super::schema::{
    BootCheck, Cache, Compose, Document, Emulation, Flake, Format, Image, Import, Mirrors, Overlay,
    Package, Rootfs, Runner, Seed, Source, Table, Trust, Variant, Verify,
};
use super::span::{At, FileId, Span};
use crate::derivation::Target;

/// All entries of a manifest and of the files that it includes.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The folder of `flake-like.toml`; paths in entries are relative to the
    /// file they stand in, which is somewhere below it.
    pub root: PathBuf,
    /// The checkout of an import by git: no path of a manifest in it may lead
    /// out, or a stranger's flake could have this machine's files built in.
    pub confined: Option<PathBuf>,
    /// The files, `flake-like.toml` first.
    pub files: Vec<SourceFile>,
    /// Name, targets, includes.
    pub flake: At<Flake>,
    /// Where `debian:` URLs are looked up.
    pub mirrors: Mirrors,
    /// What emulators run from.
    pub emulator: Option<Runner>,
    /// What runs builders of another build platform than this machine's own.
    pub emulation: Option<Emulation>,
    /// What bubblewrap runs from if the host's cannot be used.
    pub sandbox: Option<Runner>,
    /// What `kiln verify` varies builds with.
    pub verify: Verify,
    /// Where others share what they built.
    pub caches: Table<Cache>,
    /// Whom to believe.
    pub trust: Option<At<Trust>>,
    /// Pinned binary packages.
    pub seeds: Table<Seed>,
    /// What is fetched.
    pub sources: Table<Source>,
    /// What scripts build; templates are expanded.
    pub packages: Table<Package>,
    /// Merged outputs.
    pub composes: Table<Compose>,
    /// Root file systems.
    pub rootfs: Table<Rootfs>,
    /// Images.
    pub images: Table<Image>,
    /// How root file systems are packed.
    pub formats: Table<Format>,
    /// What stands for what in other ways to build the same.
    pub variants: Table<Variant>,
    /// What images must show.
    pub boot_checks: Table<BootCheck>,
    /// Other flakes by the name under which they are imported.
    pub imports: BTreeMap<String, Imported>,
}

/// Another flake with its own lock.
#[derive(Debug)]
pub struct Imported {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its lock.
    pub lock: Lock,
}

impl Manifest {
    /// What artefacts are built for.
    pub fn targets(&self) -> Vec<Target> {
        if self.flake.targets.is_empty() {
            return Target::ALL.to_vec();
        }
        self.flake
            .targets
            .iter()
            .map(|target| target.value)
            .collect()
    }

    /// All names that can be built, for completions: each as short as it can
    /// be said.
    pub fn names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for kind in Kind::BUILT {
            for key in self.keys(kind) {
                if !names.insert(key.value.clone()) {
                    names.insert(format!("{kind}.{}", key.value));
                }
            }
        }
        for (import, imported) in &self.imports {
            let theirs = imported.manifest.names().into_iter();
            names.extend(theirs.map(|name| format!("{import}.{name}")));
        }
        names.into_iter().collect()
    }

    /// The package of this name as it is for `target`.
    pub(super) fn package_for(&self, name: &str, target: Option<Target>) -> Option<Package> {
        let mut package = self.packages.get(name)?.clone();
        overlay_target(&mut package, target, |p| std::mem::take(&mut p.target));
        Some(package)
    }

    /// The root file system of this name as it is for `target`.
    pub(super) fn rootfs_for(&self, name: &str, target: Target) -> Option<Rootfs> {
        let mut rootfs = self.rootfs.get(name)?.clone();
        overlay_target(&mut rootfs, Some(target), |r| std::mem::take(&mut r.target));
        Some(rootfs)
    }

    /// The image of this name as it is for `target`.
    pub(super) fn image_for(&self, name: &str, target: Target) -> Option<Image> {
        let mut image = self.images.get(name)?.clone();
        overlay_target(&mut image, Some(target), |i| std::mem::take(&mut i.target));
        Some(image)
    }

    /// What `${…}` stands for.
    pub(super) fn variables(&self, target: Option<Target>) -> Variables<'_> {
        Variables {
            flake: &self.flake.name,
            target,
        }
    }

    /// The place on this machine of a path that stands at `span`.
    pub(super) fn locate(&self, span: Span, path: &str) -> Result<PathBuf, Problem> {
        let file = self.files.get(span.file.0 as usize);
        let folder = file.and_then(|file| Path::new(&file.name).parent());
        let folder = self.root.join(folder.unwrap_or(Path::new("")));
        let place = normalise(&folder.join(path));
        self.confine(span, &place)?;
        Ok(place)
    }

    /// Refuses a place out of bounds.
    pub(super) fn confine(&self, span: Span, place: &Path) -> Result<(), Problem> {
        match &self.confined {
            Some(bounds) if !place.starts_with(bounds) => {
                let message = format!("{} is not in the imported repository", place.display());
                Err(Problem::at(span, message, "leads out of it"))
            }
            _ => Ok(()),
        }
    }

    /// An error of one mistake in this manifest.
    pub(super) fn error(&self, problem: Problem) -> ManifestError {
        ManifestError::one(problem, &self.files)
    }
}

fn overlay_target<T: Overlay>(
    table: &mut T,
    target: Option<Target>,
    overrides: impl FnOnce(&mut T) -> BTreeMap<At<Target>, T>,
) {
    let overrides = overrides(table);
    let upper = overrides.iter().find(|(of, _)| Some(of.value) == target);
    if let Some((_, upper)) = upper {
        table.overlay(upper);
    }
}

/// Takes `.` and `..` out of a path by its letters, without asking a disk.
pub(super) fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// A manifest while its files come in.
#[derive(Debug)]
pub struct Assembly {
    manifest: Manifest,
    templates: Table<Package>,
    declared: Table<Import>,
    problems: Vec<Problem>,
}

impl Assembly {
    /// Begins with the text of `flake-like.toml`, which lies in `root`.
    pub fn new(root: PathBuf, name: &str, text: &str) -> Self {
        Self::confined(root, None, name, text)
    }

    /// The same for an import by git, whose files are all below `confined`.
    pub fn confined(root: PathBuf, confined: Option<PathBuf>, name: &str, text: &str) -> Self {
        let mut assembly = Self {
            manifest: Manifest {
                root,
                confined,
                ..Manifest::default()
            },
            templates: Table::new(),
            declared: Table::new(),
            problems: Vec::new(),
        };
        let document = assembly.read(name, text);
        match &document.flake {
            Some(flake) => assembly.manifest.flake = flake.clone(),
            None if assembly.problems.is_empty() => assembly.problems.push(
                Problem::at(Span::default(), "there is no table `[flake]`", "")
                    .help("begin with `[flake]` and `name = \"…\"`"),
            ),
            None => {}
        }
        assembly.take(document);
        assembly
    }

    /// The folder of `flake-like.toml`.
    pub fn root(&self) -> &Path {
        &self.manifest.root
    }

    /// What the manifest includes.
    pub fn includes(&self) -> &[At<String>] {
        &self.manifest.flake.include
    }

    /// The imports that it and its included files declare.
    pub fn imports(&self) -> &Table<Import> {
        &self.declared
    }

    /// Adds an included file; `name` is relative to the root.
    pub fn include(&mut self, name: &str, text: &str) {
        let document = self.read(name, text);
        if let Some(flake) = &document.flake {
            let message = "an included file has no `[flake]`";
            let problem = Problem::at(flake.span, message, "only `flake-like.toml` has one");
            self.problems.push(problem);
        }
        self.take(document);
    }

    /// Adds what another flake turned out to be.
    pub fn import(&mut self, name: &str, imported: Imported) {
        self.manifest.imports.insert(name.to_owned(), imported);
    }

    /// Adds a mistake that was found while loading.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The place on this machine of a path that stands at `span`.
    pub fn locate(&self, span: Span, path: &str) -> Result<PathBuf, Problem> {
        self.manifest.locate(span, path)
    }

    /// Expands templates and checks everything.
    pub fn finish(mut self) -> Result<Manifest, ManifestError> {
        // References are not looked at before all tables were read: what a
        // broken entry defines would be missed everywhere.
        let readable = self.problems.is_empty();
        if readable {
            check::written(
                &self.manifest,
                &self.templates,
                &self.declared,
                &mut self.problems,
            );
            self.expand();
        }
        if self.problems.is_empty() {
            check::expanded(&self.manifest, &mut self.problems);
        }
        ManifestError::check(self.problems, &self.manifest.files)?;
        Ok(self.manifest)
    }

    fn read(&mut self, name: &str, text: &str) -> Document {
        let file = FileId(u32::try_from(self.manifest.files.len()).unwrap_or(u32::MAX));
        self.manifest.files.push(SourceFile {
            name: name.to_owned(),
            text: text.into(),
        });
        let (document, problems) = parse_file(file, text);
        self.problems.extend(problems);
        document
    }

    fn take(&mut self, document: Document) {
        let manifest = &mut self.manifest;
        let problems = &mut self.problems;
        manifest
            .mirrors
            .debian
            .extend(document.mirrors.iter().flat_map(|m| m.debian.clone()));
        manifest
            .mirrors
            .snapshot
            .extend(document.mirrors.iter().flat_map(|m| m.snapshot.clone()));
        single(
            "emulator",
            &mut manifest.emulator,
            document.emulator,
            |it| it.root.span,
            problems,
        );
        single(
            "emulation",
            &mut manifest.emulation,
            document.emulation,
            |it| it.root.span,
            problems,
        );
        let root = |it: &Runner| it.root.span;
        single(
            "sandbox",
            &mut manifest.sandbox,
            document.sandbox,
            root,
            problems,
        );
        let verify = document.verify.unwrap_or_default();
        let (clock, locale) = (&mut manifest.verify.clock, &mut manifest.verify.locale);
        single("verify.clock", clock, verify.clock, root, problems);
        single("verify.locale", locale, verify.locale, root, problems);
        match (&manifest.trust, document.trust) {
            (Some(first), Some(second)) => {
                problems.push(twice("`[trust]`".to_owned(), second.span, first.span));
            }
            (None, found) => manifest.trust = found,
            (Some(_), None) => {}
        }
        table("cache", &mut manifest.caches, document.cache, problems);
        table("import", &mut self.declared, document.import, problems);
        table("template", &mut self.templates, document.template, problems);
        table("seed", &mut manifest.seeds, document.seed, problems);
        table("source", &mut manifest.sources, document.source, problems);
        table(
            "package",
            &mut manifest.packages,
            document.package,
            problems,
        );
        table(
            "compose",
            &mut manifest.composes,
            document.compose,
            problems,
        );
        table("rootfs", &mut manifest.rootfs, document.rootfs, problems);
        table("image", &mut manifest.images, document.image, problems);
        table("format", &mut manifest.formats, document.format, problems);
        table(
            "variant",
            &mut manifest.variants,
            document.variant,
            problems,
        );
        table(
            "boot-check",
            &mut manifest.boot_checks,
            document.boot_check,
            problems,
        );
    }

    fn expand(&mut self) {
        for package in self.manifest.packages.values_mut() {
            let mut seen = Vec::new();
            while let Some(name) = package.template.take() {
                // An unknown template was reported already.
                let Some(template) = self.templates.get(&name) else {
                    break;
                };
                if seen.contains(&name.value) {
                    seen.push(name.value.clone());
                    let message = format!("templates in a circle: {}", seen.join(" → "));
                    self.problems
                        .push(Problem::at(name.span, message, "leads back"));
                    break;
                }
                seen.push(name.value);
                let upper = std::mem::replace(package, template.clone());
                package.overlay(&upper);
            }
        }
    }
}

fn single<T>(
    kind: &str,
    slot: &mut Option<T>,
    found: Option<T>,
    place: impl Fn(&T) -> Span,
    problems: &mut Vec<Problem>,
) {
    match (&slot, found) {
        (Some(first), Some(second)) => {
            problems.push(twice(format!("`[{kind}]`"), place(&second), place(first)));
        }
        (None, Some(found)) => *slot = Some(found),
        (_, None) => {}
    }
}

fn table<T>(kind: &str, into: &mut Table<T>, found: Table<T>, problems: &mut Vec<Problem>) {
    for (name, value) in found {
        match into.get_key_value(&name) {
            Some((first, _)) => {
                let what = format!("{kind} `{}`", name.value);
                problems.push(twice(what, name.span, first.span));
            }
            None => {
                into.insert(name, value);
            }
        }
    }
}

/// Something that is defined in two files.
pub(super) fn twice(what: String, second: Span, first: Span) -> Problem {
    let message = format!("{what} is defined twice");
    Problem::at(second, message, "the second time").and(first, "first defined here")
}
