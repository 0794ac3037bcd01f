//! What must hold of a manifest beyond its types.
//!
//! Two passes: [`written`] over the tables as they stand in the files, so that
//! a mistake in a template is told once; [`expanded`] over what they come to for
//! each target.

mod cycle;

use super::assemble::Manifest;
use super::interpolate::interpolate;
use super::problem::Problem;
use super::reference::{Found, Kind};
use super::schema::{
    BootCheck, FileList, Format, Image, Import, Package, Rootfs, Source, Table, Texts,
};
use super::span::{At, Span};
use super::units::{is_clean_absolute, is_clean_relative};
use crate::derivation::Target;

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
    check.runners();
    for package in templates.values().chain(manifest.packages.values()) {
        check.package(package, templates, false);
    }
    for name in manifest.composes.keys() {
        if let Some((package, _)) = manifest.packages.get_key_value(name) {
            let message = format!("`{}` is both a package and a composition", name.value);
            check.problems.push(
                Problem::at(name.span, message, "this name").and(package.span, "the package"),
            );
        }
    }
    for compose in manifest.composes.values() {
        check.references(&compose.packages, &LAYERS);
        check.absolute(compose.links.keys());
        check.globs(compose.remove.iter().chain(compose.prefer.keys()));
        if compose.tool == Some(true) {
            check.tools(&compose.packages);
        }
    }
    for seed in manifest.seeds.values() {
        check.absolute(seed.links.keys());
        check.globs(seed.remove.iter().chain(seed.prefer.keys()));
    }
    for rootfs in manifest.rootfs.values() {
        check.rootfs(rootfs);
        rootfs.target.values().for_each(|upper| check.rootfs(upper));
    }
    for (name, image) in &manifest.images {
        check.image(image);
        image.target.values().for_each(|upper| check.image(upper));
        if image.rootfs.is_none() {
            check.missing(name.span, "rootfs", "an image needs a root file system");
        }
    }
    for format in manifest.formats.values() {
        check.format(format);
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

    fn runners(&mut self) {
        for runner in self.manifest.emulator.iter().chain(&self.manifest.sandbox) {
            self.reference(&runner.root, &ROOTS);
        }
    }

    fn import(&mut self, name: &At<String>, import: &Import) {
        if Kind::of(name).is_some() {
            let message = format!("an import cannot be called `{}`", name.value);
            self.push(name.span, message, "this word stands for a kind of entry");
        }
        match (&import.path, &import.git) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(path), Some(_)) => {
                self.push(path.span, "both `path` and `git`", "expected one of them")
            }
            (None, None) => self.missing(name.span, "path", "expected `path` or `git`"),
        }
        self.commit(name, import.git.as_ref(), import.rev.as_ref());
    }

    fn commit(&mut self, name: &At<String>, git: Option<&At<String>>, rev: Option<&At<String>>) {
        match (git, rev) {
            (Some(_), None) => self.missing(name.span, "rev", "`git` needs a commit"),
            (None, Some(rev)) => self.push(rev.span, "`rev` without `git`", "belongs to `git`"),
            (Some(_), Some(rev)) if !is_commit(rev) => {
                let message = format!("`{}` is no commit", rev.value);
                self.push(
                    rev.span,
                    message,
                    "expected 40 or 64 lower-case hexadecimal digits",
                );
            }
            _ => {}
        }
    }

    fn source(&mut self, name: &At<String>, source: &Source) {
        let ways = [
            ("url", source.url.as_ref().map(|url| url.span)),
            (
                "urls",
                source
                    .urls
                    .as_ref()
                    .map(|urls| urls.first().map_or(name.span, |u| u.span)),
            ),
            ("path", source.path.as_ref().map(|path| path.span)),
            ("git", source.git.as_ref().map(|git| git.span)),
        ];
        let used: Vec<(&str, Span)> = ways.iter().filter_map(|(k, s)| Some((*k, (*s)?))).collect();
        match used[..] {
            [] => self.missing(name.span, "url", "expected `url`, `urls`, `path` or `git`"),
            [_] => {}
            [(first, _), (second, span), ..] => {
                self.push(
                    span,
                    format!("both `{first}` and `{second}`"),
                    "expected one of them",
                );
            }
        }
        for url in source.urls() {
            const SCHEMES: [&str; 4] = ["debian:", "https://", "http://", "file:"];
            if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
                let message = format!("`{}` is no URL that can be fetched", url.value);
                self.push(
                    url.span,
                    message,
                    "expected `debian:`, `https:`, `http:` or `file:`",
                );
            }
        }
        if source.urls.as_ref().is_some_and(Vec::is_empty) {
            self.push(name.span, "`urls` is empty", "expected at least one");
        }
        self.globs(source.keep.iter().chain(&source.ignore).flatten());
        self.commit(name, source.git.as_ref(), source.rev.as_ref());
    }

    fn package(&mut self, package: &'m Package, templates: &Table<Package>, is_override: bool) {
        if let Some(template) = &package.template
            && templates.get(template).is_none()
        {
            let message = format!("unknown template `{}`", template.value);
            let names = templates.keys().map(|name| name.value.as_str());
            let problem = Problem::at(template.span, message, "nothing has this name");
            self.problems.push(problem.suggest(template, names));
        }
        if let Some(root) = &package.root {
            self.root(root);
        }
        for source in package
            .source
            .iter()
            .chain(package.sources.iter().flat_map(Table::values))
        {
            self.reference(source, &[Kind::Source]);
        }
        package.tools.iter().for_each(|tools| self.tools(tools));
        for texts in package.materials.iter().chain(&package.runtime) {
            self.references(texts, &MATERIALS);
        }
        for input in package.inputs.iter().flat_map(Table::values) {
            self.reference(input, &MATERIALS);
        }
        let named = package.sources.iter().flat_map(Table::keys);
        for name in named.chain(package.inputs.iter().flat_map(Table::keys)) {
            if name.value == "recipe" || name.contains('/') {
                let message = format!("nothing can be mounted at `/in/{}`", name.value);
                self.push(
                    name.span,
                    message,
                    "expected a plain name other than `recipe`",
                );
            }
        }
        self.environment(package.env.iter().flat_map(Table::keys));
        self.files(package.files.as_ref());
        if let Some(uid) = package.uid {
            self.uid(uid);
        }
        for output in package.outputs.iter().flatten() {
            if !is_clean_relative(output) || output.contains('/') {
                self.push(
                    output.span,
                    format!("`{}` is no output name", output.value),
                    "",
                );
            }
        }
        for upper in package.target.values() {
            self.package(upper, templates, true);
        }
        if is_override {
            self.overridable(package);
        }
    }

    /// Some keys cannot differ between targets.
    fn overridable(&mut self, upper: &Package) {
        let why = "it holds for all targets";
        if let Some(template) = &upper.template {
            self.push(template.span, "`template` cannot differ for a target", why);
        }
        if let Some((target, _)) = upper.target.first_key_value() {
            self.push(target.span, "`target` inside `target`", why);
        }
    }

    fn environment<'a>(&mut self, names: impl Iterator<Item = &'a At<String>>) {
        for name in names {
            if name.starts_with("KILN_") || name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("`{}` cannot be set", name.value);
                self.push(
                    name.span,
                    message,
                    "`KILN_…` is kiln's own, and `=` ends a name",
                );
            }
        }
    }

    fn files(&mut self, files: Option<&FileList>) {
        if let Some(FileList::Named(table)) = files {
            for name in table.keys().filter(|name| !is_clean_relative(name)) {
                let message = format!("`{}` is no name of a file", name.value);
                self.push(name.span, message, "expected a relative path without `..`");
            }
        }
    }

    fn uid(&mut self, uid: At<u32>) {
        if uid.value != 0 && uid.value != 1000 {
            let message = format!("a build cannot see itself as user {}", uid.value);
            self.push(uid.span, message, "expected 1000 or 0");
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

    fn rootfs(&mut self, rootfs: &'m Rootfs) {
        self.globs(rootfs.remove.iter().flatten());
        self.globs(rootfs.prefer.iter().flat_map(Table::keys));
        rootfs
            .packages
            .iter()
            .for_each(|p| self.references(p, &LAYERS));
        self.absolute(rootfs.files.iter().flat_map(Table::keys));
        self.absolute(rootfs.directories.iter().flat_map(Table::keys));
        self.absolute(rootfs.links.iter().flat_map(Table::keys));
        self.absolute(rootfs.modes.iter().flat_map(Table::keys));
        for (path, file) in rootfs.files.iter().flatten() {
            match (&file.from, &file.text) {
                (Some(_), None) | (None, Some(_)) => {}
                (Some(from), Some(_)) => {
                    self.push(from.span, "both `from` and `text`", "expected one of them")
                }
                (None, None) => self.missing(path.span, "from", "expected `from` or `text`"),
            }
        }
        for (lines, counts, form) in [
            (&rootfs.users, [6, 7], "name:uid:gid:comment:home:shell"),
            (&rootfs.groups, [2, 4], "name:gid or name:gid:members"),
        ] {
            for line in lines.iter().flatten() {
                let fields = line.split(':').count();
                if !(counts[0]..=counts[1]).contains(&fields) || line.contains('\n') {
                    let message = format!("`{}` has {fields} fields", line.value);
                    self.push(line.span, message, &format!("expected `{form}`"));
                }
            }
        }
    }

    fn image(&mut self, image: &'m Image) {
        self.globs(image.remove.iter().flatten());
        if let Some(rootfs) = &image.rootfs {
            self.reference(rootfs, &[Kind::Rootfs]);
        }
        if let Some(kernel) = &image.kernel {
            self.reference(kernel, &[Kind::Package, Kind::Compose]);
        }
        for format in image.formats.iter().flatten() {
            self.reference(format, &[Kind::Format]);
        }
    }

    fn format(&mut self, format: &'m Format) {
        self.root(&format.root);
        self.tools(&format.tools);
        self.environment(format.env.keys());
        self.files(format.files.as_ref());
        if let Some(uid) = format.uid {
            self.uid(uid);
        }
    }

    fn boot(&mut self, boot: &'m BootCheck) {
        let Some(image) = self.reference(&boot.image, &[Kind::Image]) else {
            return;
        };
        let image = image.manifest.images.get(image.name);
        let known: Vec<&str> = image
            .and_then(|image| image.formats.as_ref())
            .map_or(Vec::new(), |formats| {
                formats.iter().map(|f| f.value.as_str()).collect()
            });
        for format in boot.formats.iter().flatten() {
            if !known.contains(&format.value.as_str()) {
                let message = format!(
                    "image `{}` has no format `{}`",
                    boot.image.value, format.value
                );
                let problem = Problem::at(format.span, message, "not packed in this format");
                self.problems
                    .push(problem.suggest(format, known.iter().copied()));
            }
        }
    }

    /// A package with its templates and overrides must be whole.
    fn complete(&mut self, name: &'m At<String>) {
        let manifest = self.manifest;
        let Some(base) = manifest.packages.get(name) else {
            return;
        };
        if !base.is_per_target()
            && let Some((target, _)) = base.target.first_key_value()
        {
            let message = format!("`{}` is the same for all targets", name.value);
            self.push(target.span, message, "so nothing can differ for one");
            return;
        }
        let before = self.problems.len();
        for target in per_target(manifest, base.is_per_target()) {
            self.complete_for(name, target);
            // The same mistake for the next target says nothing new.
            if self.problems.len() > before {
                return;
            }
        }
    }

    fn complete_for(&mut self, name: &At<String>, target: Option<Target>) {
        let Some(package) = self.manifest.package_for(name, target) else {
            return;
        };
        if package.root.is_none() {
            self.missing(name.span, "root", "a package needs a build root");
        }
        match (&package.script, &package.command) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(command)) => {
                let span = command.first().map_or(name.span, |c| c.span);
                self.push(span, "both `script` and `command`", "expected one of them");
            }
            (None, None) => {
                self.missing(name.span, "script", "a package needs a script or a command")
            }
        }
        if package.copy_source == Some(true) && package.source.is_none() {
            self.missing(name.span, "source", "`copy-source` needs one");
        }
        self.texts(&package, target);
        if target.is_none() {
            self.shared(name, &package);
        }
    }

    /// Every text can be interpolated.
    fn texts(&mut self, package: &Package, target: Option<Target>) {
        let variables = self.manifest.variables(target);
        let files = package
            .files
            .iter()
            .flat_map(FileList::entries)
            .map(|(_, path)| path);
        let texts = package
            .env
            .iter()
            .flat_map(Table::values)
            .chain(&package.script)
            .chain(package.command.iter().flatten())
            .chain(package.patches.iter().flatten())
            .chain(files);
        for text in texts {
            if let Err(problem) = interpolate(text, variables) {
                self.problems.push(problem);
            }
        }
    }

    /// What is the same for all targets cannot be made of what is not.
    fn shared(&mut self, name: &At<String>, package: &Package) {
        let used = package.tools.iter().chain(&package.materials).flatten();
        for text in used.chain(package.inputs.iter().flat_map(Table::values)) {
            let Some(found) = self.manifest.look_up(text, &MATERIALS) else {
                continue;
            };
            // A seed is then the one for the build platform.
            if found.kind != Kind::Seed && varies(found) {
                let message = format!(
                    "`{}` is the same for all targets, `{}` is not",
                    name.value, text.value
                );
                let problem = Problem::at(text.span, message, "built for each target apart").help(
                    format!("write `per-target = true` into `[package.{}]`", name.value),
                );
                self.problems.push(problem);
            }
        }
    }
}

/// The targets that something is looked at for.
fn per_target(manifest: &Manifest, varies: bool) -> Vec<Option<Target>> {
    if varies {
        manifest.targets().into_iter().map(Some).collect()
    } else {
        vec![None]
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
        Kind::Source => false,
        Kind::Seed | Kind::Rootfs | Kind::Image | Kind::Format => true,
    }
}

fn is_commit(text: &str) -> bool {
    (text.len() == 40 || text.len() == 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
