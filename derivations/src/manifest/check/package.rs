//! What must hold of packages and compositions.

use super::{Check, LAYERS, MATERIALS, varies};
use crate::derivation::Target;
use crate::manifest::assemble::Manifest;
use crate::manifest::interpolate::{Variables, interpolate};
use crate::manifest::problem::Problem;
use crate::manifest::reference::Kind;
use crate::manifest::schema::{Compose, FileList, Package, Table};
use crate::manifest::span::{At, Span};
use crate::manifest::units::is_clean_relative;

impl<'m> Check<'m, '_> {
    pub(super) fn package(&mut self, package: &'m Package, templates: &Table<Package>) {
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
        if let Some(variant) = &package.variant {
            self.reference(variant, &[Kind::Variant]);
        }
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
        for (target, upper) in &package.target {
            self.package(upper, templates);
            self.overridable(target.span, upper);
        }
    }

    /// Some keys cannot differ between targets.
    fn overridable(&mut self, place: Span, upper: &Package) {
        let why = "it holds for all targets";
        if let Some(template) = &upper.template {
            self.push(template.span, "`template` cannot differ for a target", why);
        }
        for (key, is_said) in [
            ("tool", upper.tool.is_some()),
            ("per-target", upper.per_target.is_some()),
        ] {
            if is_said {
                self.push(place, format!("`{key}` cannot differ for a target"), why);
            }
        }
        if let Some((target, _)) = upper.target.first_key_value() {
            self.push(target.span, "`target` inside `target`", why);
        }
    }

    pub(super) fn environment<'a>(&mut self, names: impl Iterator<Item = &'a At<String>>) {
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

    pub(super) fn files(&mut self, files: Option<&FileList>) {
        if let Some(FileList::Named(table)) = files {
            for name in table.keys().filter(|name| !is_clean_relative(name)) {
                let message = format!("`{}` is no name of a file", name.value);
                self.push(name.span, message, "expected a relative path without `..`");
            }
        }
    }

    pub(super) fn uid(&mut self, uid: At<u32>) {
        if uid.value != 0 && uid.value != 1000 {
            let message = format!("a build cannot see itself as user {}", uid.value);
            self.push(uid.span, message, "expected 1000 or 0");
        }
    }

    /// A package with its templates and overrides must be whole.
    pub(super) fn complete(&mut self, name: &'m At<String>) {
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
            self.text(text, variables);
        }
    }

    pub(super) fn text(&mut self, text: &At<String>, variables: Variables<'_>) {
        if let Err(problem) = interpolate(text, variables) {
            self.problems.push(problem);
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

    pub(super) fn compose(&mut self, name: &At<String>, compose: &'m Compose) {
        if let Some((package, _)) = self.manifest.packages.get_key_value(name) {
            let message = format!("`{}` is both a package and a composition", name.value);
            let problem = Problem::at(name.span, message, "this name");
            self.problems.push(problem.and(package.span, "the package"));
        }
        self.references(&compose.packages, &LAYERS);
        self.absolute(compose.links.keys());
        self.globs(compose.remove.iter().chain(compose.prefer.keys()));
        if compose.tool == Some(true) {
            self.tools(&compose.packages);
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
