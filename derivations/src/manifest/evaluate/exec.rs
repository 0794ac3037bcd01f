//! Packages and formats: what is mounted where, and what runs.

use std::collections::btree_map::{BTreeMap, Entry};

use super::local::Bundle;
use super::{EvaluateError, Evaluator, For, Layer, Scope};
use crate::derivation::{Builder, Compose, Derivation, Exec, Input, Limits, OUT, Role, Target};
use crate::graph::DerivationId;
use crate::manifest::check::{MATERIALS, ROOTS, TOOLS};
use crate::manifest::problem::Problem;
use crate::manifest::reference::{Found, Kind};
use crate::manifest::schema::{self, FileList, Format, Table};
use crate::manifest::span::{At, Span};

/// Where recipe files are mounted.
const RECIPE: &str = "/in/recipe";
/// What runs a script if the manifest does not say.
const INTERPRETER: [&str; 2] = ["/bin/sh", "-eu"];

/// What is mounted where, while a step is put together.
#[derive(Default)]
struct Mounts(BTreeMap<String, Vec<Layer>>);

/// The keys that packages and formats share.
#[derive(Default)]
struct Recipe<'a> {
    script: Option<&'a At<String>>,
    interpreter: Option<&'a schema::Texts>,
    command: Option<&'a schema::Texts>,
    files: Option<&'a FileList>,
    patches: Option<&'a schema::Texts>,
}

impl Evaluator<'_> {
    pub(super) fn package(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        target: Option<Target>,
    ) -> Result<DerivationId, EvaluateError> {
        let package = scope.manifest.package_for(name, target).unwrap_or_default();
        let mut mounts = Mounts::default();
        self.mount_sources(scope, &package, &mut mounts)?;
        self.mount(
            scope,
            package.tools.iter().flatten(),
            Role::Tool,
            target,
            &mut mounts,
        )?;
        self.mount(
            scope,
            package.materials.iter().flatten(),
            Role::Material,
            target,
            &mut mounts,
        )?;
        for (at, text) in package.inputs.iter().flatten() {
            let found = scope.find(text, &MATERIALS)?;
            let layer = self.layer(scope, found, Role::Material, target)?;
            mounts.only(scope, at.span, format!("/in/{}", at.value), layer)?;
        }
        let recipe = Recipe {
            script: package.script.as_ref(),
            interpreter: package.interpreter.as_ref(),
            command: package.command.as_ref(),
            files: package.files.as_ref(),
            patches: package.patches.as_ref(),
        };
        let argv = self.recipe(scope, name, &recipe, target, &mut mounts)?;
        let mut env = environment(scope, package.env.as_ref(), target)?;
        if let Some(target) = target {
            env.insert("KILN_TARGET".to_owned(), target.name().to_owned());
        }
        let exec = Exec {
            platform: self.platform,
            argv,
            env,
            uid: package.uid.map_or(1000, |uid| uid.value),
            limits: limits(package.limits.as_ref()),
            copy_source: package.copy_source.unwrap_or(false),
            at: package.at.map(|at| at.value),
        };
        let mut outputs = package
            .outputs
            .map_or(vec![OUT.to_owned()], |o| super::fetched::plain(&o));
        outputs.sort();
        outputs.dedup();
        let inputs = self.inputs(scope, package.root.as_ref(), mounts)?;
        Ok(self.add(Derivation {
            name: scope.label(name),
            description: package.description.unwrap_or_default(),
            target,
            executed_on: self.executed_on(package.tool.unwrap_or(false)),
            builder: Builder::Exec(exec),
            inputs,
            outputs,
        }))
    }

    /// Packs `archive`, which holds `rootfs.tar`; the file's name is the
    /// second part of the result.
    pub(super) fn pack(
        &mut self,
        scope: Scope<'_>,
        (name, format): (&At<String>, &Format),
        archive: DerivationId,
        (target, image): (Target, &schema::Image),
    ) -> Result<(DerivationId, String), EvaluateError> {
        let mut mounts = Mounts::default();
        let layer = Layer {
            name: "rootfs".to_owned(),
            derivation: archive,
            output: OUT.to_owned(),
            role: Role::Material,
        };
        mounts.only(scope, name.span, "/in/rootfs".to_owned(), layer)?;
        self.mount(scope, &format.tools, Role::Tool, Some(target), &mut mounts)?;
        let recipe = Recipe {
            script: Some(&format.script),
            interpreter: format.interpreter.as_ref(),
            files: format.files.as_ref(),
            ..Recipe::default()
        };
        let argv = self.recipe(scope, name, &recipe, Some(target), &mut mounts)?;
        let file = match &format.file {
            Some(file) => scope.text(file, Some(target))?,
            None => name.value.clone(),
        };
        let mut env = environment(scope, Some(&format.env), Some(target))?;
        env.insert("KILN_TARGET".to_owned(), target.name().to_owned());
        env.insert("KILN_FILE".to_owned(), file.clone());
        if let Some(size) = image.size {
            env.insert("KILN_IMAGE_SIZE".to_owned(), size.0.to_string());
        }
        if let Some(label) = &image.label {
            let label = scope.text(label, Some(target))?;
            env.insert("KILN_IMAGE_LABEL".to_owned(), label);
        }
        let exec = Exec {
            platform: self.platform,
            argv,
            env,
            uid: format.uid.map_or(1000, |uid| uid.value),
            limits: limits(format.limits.as_ref()),
            copy_source: false,
            at: None,
        };
        let inputs = self.inputs(scope, Some(&format.root), mounts)?;
        let derivation = Derivation {
            name: scope.label(&format!("format.{}", name.value)),
            description: format.description.clone().unwrap_or_default(),
            target: Some(target),
            executed_on: None,
            builder: Builder::Exec(exec),
            inputs,
            outputs: vec![OUT.to_owned()],
        };
        Ok((self.add(derivation), file))
    }

    fn mount_sources(
        &mut self,
        scope: Scope<'_>,
        package: &schema::Package,
        mounts: &mut Mounts,
    ) -> Result<(), EvaluateError> {
        let main = package
            .source
            .iter()
            .map(|text| (text.span, "/src".to_owned(), text));
        let named = package.sources.iter().flatten();
        let named = named.map(|(at, text)| (at.span, format!("/in/{}", at.value), text));
        for (span, at, text) in main.chain(named) {
            let found = scope.find(text, &[Kind::Source])?;
            let layer = self.layer(scope, found, Role::Material, None)?;
            mounts.only(scope, span, at, layer)?;
        }
        Ok(())
    }

    /// Mounts what `texts` name, with what that needs at run time, each where
    /// it says itself.
    fn mount<'a>(
        &mut self,
        scope: Scope<'_>,
        texts: impl IntoIterator<Item = &'a At<String>>,
        role: Role,
        target: Option<Target>,
        mounts: &mut Mounts,
    ) -> Result<(), EvaluateError> {
        let kinds: &[Kind] = if role == Role::Tool {
            &TOOLS
        } else {
            &MATERIALS
        };
        for text in texts {
            let mut layers = Vec::new();
            self.closure(scope, text, (kinds, role), target, &mut layers)?;
            for (layer, at) in layers {
                if !is_mount_point(&at) {
                    let message = format!("`{}` cannot be mounted at `{at}`", layer.name);
                    let label = "mounted in this build";
                    let help = "expected `at` to be `/sysroot`, `/toolchain` or `/in/NAME`; or mount it with `inputs`";
                    return Err(scope.refuse(Problem::at(text.span, message, label).help(help)));
                }
                mounts.share(at, layer);
            }
        }
        Ok(())
    }

    /// What `text` names and needs at run time, with the places they say.
    pub(super) fn closure(
        &mut self,
        scope: Scope<'_>,
        text: &At<String>,
        (kinds, role): (&[Kind], Role),
        target: Option<Target>,
        layers: &mut Vec<(Layer, String)>,
    ) -> Result<(), EvaluateError> {
        let found = scope.find(text, kinds)?;
        let layer = self.layer(scope, found, role, target)?;
        if layers.iter().any(|(known, _)| *known == layer) {
            return Ok(());
        }
        let scope = scope.inside(found, target)?;
        let name = found.name.value.as_str();
        let mut at = None;
        let mut runtime = None;
        match found.kind {
            Kind::Package => {
                let package = scope.manifest.package_for(name, target).unwrap_or_default();
                (at, runtime) = (package.at, package.runtime);
            }
            Kind::Compose => at = scope.manifest.composes.get(name).and_then(|c| c.at.clone()),
            _ => {}
        }
        let at = at.map_or_else(|| format!("/in/{name}"), |at| at.value);
        layers.push((layer, at));
        for text in runtime.iter().flatten() {
            self.closure(scope, text, (&MATERIALS, role), target, layers)?;
        }
        Ok(())
    }

    /// The output that a reference stands for.
    pub(super) fn layer(
        &mut self,
        scope: Scope<'_>,
        found: Found<'_>,
        role: Role,
        target: Option<Target>,
    ) -> Result<Layer, EvaluateError> {
        Ok(Layer {
            name: found.name.value.clone(),
            derivation: self.entry(scope, found, For::Target(target))?,
            output: found.output.unwrap_or(OUT).to_owned(),
            role,
        })
    }

    /// Mounts the recipe's files; the result is the command.
    fn recipe(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        recipe: &Recipe<'_>,
        target: Option<Target>,
        mounts: &mut Mounts,
    ) -> Result<Vec<String>, EvaluateError> {
        let mut bundle = Bundle::default();
        let mut argv = Vec::new();
        if let Some(script) = recipe.script {
            let written = scope.text(script, target)?;
            let file = written.rsplit('/').next().unwrap_or(&written);
            self.bundle(scope, &mut bundle, (file, script), (target, None))?;
            argv = match recipe.interpreter {
                Some(words) => texts(scope, words, target)?,
                None => INTERPRETER.map(str::to_owned).to_vec(),
            };
            argv.push(format!("{RECIPE}/{file}"));
        }
        for word in recipe.command.into_iter().flatten() {
            argv.push(scope.text(word, target)?);
        }
        for (file, path) in recipe.files.iter().flat_map(|files| files.entries()) {
            // Only a name that was made from its path has variables.
            let file = scope.text(&At::new(file, path.span), target)?;
            self.bundle(scope, &mut bundle, (&file, path), (target, None))?;
        }
        for (index, patch) in recipe.patches.into_iter().flatten().enumerate() {
            let written = scope.text(patch, target)?;
            let file = written.rsplit('/').next().unwrap_or(&written);
            let file = format!("patches/{:02}-{file}", index + 1);
            self.bundle(scope, &mut bundle, (&file, patch), (target, Some(false)))?;
        }
        if !bundle.is_empty() {
            let layer = Layer {
                name: "recipe".to_owned(),
                derivation: self.bundled(format!("{}.recipe", name.value), bundle),
                output: OUT.to_owned(),
                role: Role::Material,
            };
            mounts.only(scope, name.span, RECIPE.to_owned(), layer)?;
        }
        Ok(argv)
    }

    /// The root and all mounts as inputs, sorted by place; what shares a place
    /// is merged.
    fn inputs(
        &mut self,
        scope: Scope<'_>,
        root: Option<&At<String>>,
        mounts: Mounts,
    ) -> Result<Vec<Input>, EvaluateError> {
        let mut inputs = Vec::new();
        if let Some(text) = root {
            let found = scope.find(text, &ROOTS)?;
            let derivation = self.entry(scope, found, For::BuildPlatform)?;
            let layer = Layer {
                name: found.name.value.clone(),
                derivation,
                output: found.output.unwrap_or(OUT).to_owned(),
                role: Role::Root,
            };
            inputs.push(layer.input("/"));
        }
        for (at, mut layers) in mounts.0 {
            layers.sort_by(|a, b| a.name.cmp(&b.name));
            let layer = match layers.pop() {
                Some(only) if layers.is_empty() => only,
                Some(last) => {
                    layers.push(last);
                    self.merged(&at, layers)
                }
                None => continue,
            };
            inputs.push(layer.input(at));
        }
        Ok(inputs)
    }

    /// The composition that stands for several outputs of one place.
    fn merged(&mut self, at: &str, layers: Vec<Layer>) -> Layer {
        let is_tool = layers.iter().any(|layer| layer.role.is_executed());
        let target = layers
            .iter()
            .find_map(|layer| self.graph.get(layer.derivation).target);
        let key = format!("{layers:?}");
        let derivation = match self.derived.get(&key) {
            Some(&id) => id,
            None => {
                let inputs = layers.into_iter().map(|layer| {
                    let name = layer.name.clone();
                    layer.input(name)
                });
                let derivation = Derivation {
                    name: format!("merge.{}", at.trim_start_matches('/').replace('/', ".")),
                    description: String::new(),
                    target,
                    executed_on: self.executed_on(is_tool),
                    builder: Builder::Compose(Compose::default()),
                    inputs: inputs.collect(),
                    outputs: vec![OUT.to_owned()],
                };
                let id = self.add(derivation);
                self.derived.insert(key, id);
                id
            }
        };
        Layer {
            name: at.to_owned(),
            derivation,
            output: OUT.to_owned(),
            role: if is_tool { Role::Tool } else { Role::Material },
        }
    }
}

impl Mounts {
    /// Adds a layer to what is at `at`.
    fn share(&mut self, at: String, layer: Layer) {
        let layers = self.0.entry(at).or_default();
        match layers
            .iter_mut()
            .find(|known| known.derivation == layer.derivation && known.output == layer.output)
        {
            // Executed and read: the stronger role counts.
            Some(known) => known.role = known.role.min(layer.role),
            None => layers.push(layer),
        }
    }

    /// Puts a layer where nothing else may be.
    fn only(
        &mut self,
        scope: Scope<'_>,
        span: Span,
        at: String,
        layer: Layer,
    ) -> Result<(), EvaluateError> {
        match self.0.entry(at) {
            Entry::Vacant(free) => {
                free.insert(vec![layer]);
                Ok(())
            }
            Entry::Occupied(taken) => {
                let message = format!("two things are to be mounted at `{}`", taken.key());
                Err(scope.refuse(Problem::at(span, message, "the second of them")))
            }
        }
    }
}

/// Whether the sandbox has an empty directory there.
fn is_mount_point(at: &str) -> bool {
    matches!(at, "/sysroot" | "/toolchain")
        || at.strip_prefix("/in/").is_some_and(|name| {
            !name.is_empty() && !name.contains('/') && !name.starts_with('.') && name != "recipe"
        })
}

fn texts(
    scope: Scope<'_>,
    list: &schema::Texts,
    target: Option<Target>,
) -> Result<Vec<String>, EvaluateError> {
    list.iter().map(|text| scope.text(text, target)).collect()
}

fn environment(
    scope: Scope<'_>,
    table: Option<&Table<At<String>>>,
    target: Option<Target>,
) -> Result<BTreeMap<String, String>, EvaluateError> {
    let entries = table.into_iter().flatten();
    entries
        .map(|(name, value)| Ok((name.value.clone(), scope.text(value, target)?)))
        .collect()
}

fn limits(table: Option<&schema::Limits>) -> Limits {
    let Some(table) = table else {
        return Limits::default();
    };
    Limits {
        memory_bytes: table.memory.map(|bytes| bytes.0),
        processes: table.processes,
        output_bytes: table.output.map(|bytes| bytes.0),
        log_bytes: table.log.map(|bytes| bytes.0),
        wall_s: table.wall.map(|seconds| seconds.0),
        silence_s: table.silence.map(|seconds| seconds.0),
        hard: table.hard.unwrap_or(false),
    }
}
