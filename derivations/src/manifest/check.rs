//! What must hold of a manifest beyond its types.
//!
//! Two passes: [`written`] over the tables as they stand in the files, so that
//! a mistake in a template is told once; [`expanded`] over what they come to for
//! each target.

mod cycle;
mod package;
mod source;
mod system;
mod uses;
mod variant;

use super::assemble::Manifest;
use super::problem::Problem;
use super::reference::{Found, Kind};
use super::schema::{Import, Package, Table, Texts};
use super::sharing;
use super::span::{At, Span};
use super::units::is_clean_absolute;

pub(super) use uses::{runtime, uses};

/// What a build root can be.
pub(super) const ROOTS: [Kind; 3] = [Kind::Seed, Kind::Compose, Kind::Package];
/// What can be executed beside the root.
pub(super) const TOOLS: [Kind; 2] = [Kind::Package, Kind::Compose];
/// What can be read.
pub(super) const MATERIALS: [Kind; 6] = [
    Kind::Package,
    Kind::Compose,
    Kind::Source,
    Kind::Seed,
    Kind::Rootfs,
    Kind::Image,
];
/// What can stand for another in a variant.
pub(super) const REPLACEABLE: [Kind; 2] = [Kind::Package, Kind::Compose];
/// What can be merged into a tree.
pub(super) const LAYERS: [Kind; 4] = [Kind::Package, Kind::Compose, Kind::Seed, Kind::Source];

/// Checks the tables as they were written.
pub(super) fn written<'m>(
    manifest: &'m Manifest,
    templates: &'m Table<Package>,
    imports: &Table<Import>,
    problems: &mut Vec<Problem>,
) {
    let mut check = Check { manifest, problems };
    for (name, import) in imports {
        check.import(name, import);
    }
    for (name, source) in &manifest.sources {
        check.source(name, source);
    }
    for seed in manifest.seeds.values() {
        check.seed(seed);
    }
    check.runners();
    sharing::check(&manifest.caches, manifest.trust.as_ref(), check.problems);
    for package in templates.values().chain(manifest.packages.values()) {
        check.package(package, templates);
    }
    for (name, compose) in &manifest.composes {
        check.compose(name, compose);
    }
    for rootfs in manifest.rootfs.values() {
        check.rootfs(rootfs);
        rootfs.target.values().for_each(|upper| check.rootfs(upper));
    }
    for (name, image) in &manifest.images {
        check.whole_image(name, image);
    }
    for format in manifest.formats.values() {
        check.format(format);
    }
    for variant in manifest.variants.values() {
        check.variant(variant);
    }
    for boot in manifest.boot_checks.values() {
        check.boot(boot);
    }
}

/// Checks what templates and overrides come to.
pub(super) fn expanded(manifest: &Manifest, problems: &mut Vec<Problem>) {
    if let Some(cycle) = cycle::find(manifest) {
        problems.push(cycle);
        return;
    }
    let mut check = Check { manifest, problems };
    for name in manifest.packages.keys() {
        check.complete(name);
    }
}

struct Check<'m, 'p> {
    manifest: &'m Manifest,
    problems: &'p mut Vec<Problem>,
}

impl<'m> Check<'m, '_> {
    fn push(&mut self, span: Span, message: impl Into<String>, label: &str) {
        self.problems.push(Problem::at(span, message, label));
    }

    fn missing(&mut self, span: Span, key: &str, why: &str) {
        self.push(span, format!("missing key `{key}`"), why);
    }

    fn reference(&mut self, text: &'m At<String>, kinds: &[Kind]) -> Option<Found<'m>> {
        match self.manifest.find(text, kinds) {
            Ok(found) => self.output(text, found),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    /// Whether the output that a reference names exists.
    fn output(&mut self, text: &At<String>, found: Found<'m>) -> Option<Found<'m>> {
        let Some(output) = found.output else {
            return Some(found);
        };
        let outputs: Vec<&str> = match found.manifest.packages.get(found.name) {
            Some(package) if found.kind == Kind::Package => match &package.outputs {
                Some(outputs) => outputs.iter().map(|o| o.value.as_str()).collect(),
                None => vec!["out"],
            },
            _ => vec!["out"],
        };
        if outputs.contains(&output) {
            return Some(found);
        }
        let message = format!("`{}` has no output `{output}`", found.name.value);
        let problem = Problem::at(text.span, message, "names an output after `#`");
        self.problems.push(problem.suggest(output, outputs));
        None
    }

    fn references(&mut self, texts: &'m Texts, kinds: &[Kind]) {
        for text in texts {
            self.reference(text, kinds);
        }
    }

    fn tools(&mut self, texts: &'m Texts) {
        for text in texts {
            if let Some(found) = self.reference(text, &TOOLS)
                && !is_tool(found)
            {
                let name = &found.name.value;
                let message =
                    format!("`{name}` is used as a tool, but does not say that it is one");
                let problem =
                    Problem::at(text.span, message, "executed in this build").help(format!(
                        "write `tool = true` into `[{}.{name}]`, or use it as a material",
                        found.kind
                    ));
                self.problems.push(problem);
            }
        }
    }

    fn root(&mut self, text: &'m At<String>) {
        let Some(found) = self.reference(text, &ROOTS) else {
            return;
        };
        let name = found.name.value.as_str();
        let manifest = found.manifest;
        let fits = match found.kind {
            Kind::Seed => manifest.seeds.get(name).is_some_and(|seed| seed.is_root()),
            Kind::Compose => manifest
                .composes
                .get(name)
                .is_some_and(|c| c.skeleton == Some(true)),
            _ => is_tool(found),
        };
        if !fits {
            let key = if found.kind == Kind::Package {
                "tool"
            } else {
                "skeleton"
            };
            let message = format!("`{name}` is no build root");
            let problem = Problem::at(text.span, message, "used as `/`").help(format!(
                "write `{key} = true` into `[{}.{name}]`",
                found.kind
            ));
            self.problems.push(problem);
        }
    }

    fn absolute<'a>(&mut self, paths: impl IntoIterator<Item = &'a At<String>>) {
        for path in paths {
            if !is_clean_absolute(path) {
                let message = format!("`{}` is no absolute path", path.value);
                self.push(
                    path.span,
                    message,
                    "expected a path from `/`, without `.` and `..`",
                );
            }
        }
    }

    fn globs<'a>(&mut self, globs: impl IntoIterator<Item = &'a At<String>>) {
        for glob in globs {
            if let Err(error) = globset::Glob::new(glob) {
                let message = format!("`{}` is no glob", glob.value);
                self.push(glob.span, message, &error.kind().to_string());
            }
        }
    }
}

/// Whether the entry may be executed in builds.
pub(super) fn is_tool(found: Found<'_>) -> bool {
    let name = found.name.value.as_str();
    match found.kind {
        Kind::Package => found
            .manifest
            .packages
            .get(name)
            .is_some_and(Package::is_tool),
        Kind::Compose => found
            .manifest
            .composes
            .get(name)
            .is_some_and(|c| c.tool == Some(true)),
        _ => false,
    }
}

/// Whether the entry is built for each target apart. There must be no cycle.
pub(super) fn varies(found: Found<'_>) -> bool {
    let name = found.name.value.as_str();
    let manifest = found.manifest;
    match found.kind {
        Kind::Package => manifest
            .packages
            .get(name)
            .is_some_and(Package::is_per_target),
        Kind::Compose => manifest.composes.get(name).is_some_and(|compose| {
            if compose.tool == Some(true) {
                return false;
            }
            let layers = compose.packages.iter();
            layers
                .filter_map(|text| manifest.look_up(text, &LAYERS))
                .any(varies)
        }),
        Kind::Source | Kind::Variant => false,
        Kind::Seed | Kind::Rootfs | Kind::Image | Kind::Format => true,
    }
}
