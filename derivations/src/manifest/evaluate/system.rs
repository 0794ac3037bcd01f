//! Compositions, root file systems, images and boot checks.

use super::fetched::{owned, plain};
use super::local::Bundle;
use super::{
    BootCheckInfo, EvaluateError, Evaluator, FormatInfo, ImageInfo, Layer, Scope, unknown,
};
use crate::derivation::{
    Attributes, Builder, Compose, Derivation, Input, OUT, Role, Rootfs, Target,
};
use crate::graph::DerivationId;
use crate::image::packaged::{META, Said};
use crate::manifest::check::LAYERS;
use crate::manifest::problem::Problem;
use crate::manifest::reference::Kind;
use crate::manifest::schema::{self, Texts};
use crate::manifest::span::At;
use crate::manifest::units::{Mode, Owner};

/// The layer of files that stand in the manifest. No package can have this
/// name.
const FILES: &str = "(files)";
/// Limits of a boot check that says none.
const BOOT_LIMIT_S: u64 = 300;
const BOOT_MEMORY_BYTES: u64 = 256 << 20;

impl Evaluator<'_> {
    pub(super) fn compose(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        target: Option<Target>,
    ) -> Result<DerivationId, EvaluateError> {
        let compose = &scope.manifest.composes[name.value.as_str()];
        let is_tool = compose.tool == Some(true);
        let role = if is_tool { Role::Tool } else { Role::Material };
        let inputs = self.merge_inputs(scope, &compose.packages, role, target)?;
        Ok(self.add(Derivation {
            name: scope.label(name),
            description: compose.description.clone().unwrap_or_default(),
            target,
            executed_on: self.executed_on(is_tool),
            builder: Builder::Compose(Compose {
                usr_merge: compose.usr_merge.unwrap_or(false),
                skeleton: compose.skeleton.unwrap_or(false),
                remove: plain(&compose.remove),
                links: owned(&compose.links),
                prefer: owned(&compose.prefer),
                seed: None,
            }),
            inputs,
            outputs: vec![OUT.to_owned()],
        }))
    }

    /// What `texts` name and need at run time, in the order of names.
    fn merge_inputs<'a>(
        &mut self,
        scope: Scope<'_>,
        texts: impl IntoIterator<Item = &'a At<String>>,
        role: Role,
        target: Option<Target>,
    ) -> Result<Vec<Input>, EvaluateError> {
        let mut layers = Vec::new();
        for text in texts {
            self.closure(scope, text, (&LAYERS, role), target, &mut layers)?;
        }
        layers.sort_by(|(a, _), (b, _)| (&a.name, &a.output).cmp(&(&b.name, &b.output)));
        let inputs = layers.into_iter().map(|(layer, _)| {
            let name = layer.name.clone();
            layer.input(name)
        });
        Ok(inputs.collect())
    }

    pub(super) fn rootfs(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        target: Target,
    ) -> Result<DerivationId, EvaluateError> {
        let table = scope.manifest.rootfs_for(name, target).unwrap_or_default();
        let packages = table.packages.iter().flatten();
        let mut inputs = self.merge_inputs(scope, packages, Role::Material, Some(target))?;
        let said = inputs.iter().flat_map(|input| self.said(input));
        let said: Vec<_> = said.collect();
        inputs.extend(said);
        let mut rootfs = described(&table);
        let mut bundle = Bundle::default();
        for (path, file) in table.files.iter().flatten() {
            let wanted = self.rootfs_file(scope, (path, file), target, &mut bundle)?;
            if let Some(attributes) = wanted {
                rootfs.modes.insert(path.value.clone(), attributes);
            }
            // Whoever names a file in the manifest means it.
            rootfs
                .prefer
                .entry(globset::escape(path))
                .or_insert(FILES.to_owned());
        }
        if !bundle.is_empty() {
            let layer = Layer {
                name: FILES.to_owned(),
                derivation: self.bundled(format!("{}.files", name.value), bundle),
                output: OUT.to_owned(),
                role: Role::Material,
            };
            inputs.push(layer.input(FILES));
        }
        Ok(self.add(Derivation {
            name: scope.label(&format!("rootfs.{}", name.value)),
            description: table.description.unwrap_or_default(),
            target: Some(target),
            executed_on: None,
            builder: Builder::Rootfs(rootfs),
            inputs,
            outputs: vec![OUT.to_owned()],
        }))
    }

    /// What the Debian packages in a layer say of owners and modes: those it is
    /// composed of, however often.
    fn said(&self, layer: &Input) -> Vec<Input> {
        let mut said = Vec::new();
        let mut rest = vec![layer];
        while let Some(input) = rest.pop() {
            let derivation = self.graph.get(input.derivation);
            match derivation.builder {
                Builder::Compose(_) => rest.extend(&derivation.inputs),
                Builder::Fetch(_) if derivation.outputs.iter().any(|it| it == META) => {
                    said.push(Input {
                        output: META.to_owned(),
                        at: Said::input_name(&layer.at, &input.at),
                        ..input.clone()
                    });
                }
                _ => {}
            }
        }
        said.sort_by(|a, b| a.at.cmp(&b.at));
        said
    }

    /// Adds a file; the result is its mode and owner, if the tree cannot tell.
    fn rootfs_file(
        &mut self,
        scope: Scope<'_>,
        (path, file): (&At<String>, &schema::RootfsFile),
        target: Target,
        bundle: &mut Bundle,
    ) -> Result<Option<Attributes>, EvaluateError> {
        let name = path.trim_start_matches('/');
        let executable = file.mode.map(|mode| mode.0 & 0o111 != 0);
        let executable = match (&file.from, &file.text) {
            (Some(from), _) => {
                self.bundle(scope, bundle, (name, from), (Some(target), executable))?
            }
            (None, text) => {
                let text = text
                    .as_ref()
                    .map_or(String::new(), |text| text.value.clone());
                let executable = executable.unwrap_or(false);
                bundle
                    .text(name, text, executable)
                    .map_err(|why| scope.refuse(Problem::at(path.span, why, "this file")))?;
                executable
            }
        };
        let plain = if executable { 0o755 } else { 0o644 };
        let attributes = attributes(file.mode, file.owner, plain);
        Ok((attributes != self::attributes(None, None, plain)).then_some(attributes))
    }

    /// The root file system as `rootfs.tar`.
    pub(super) fn archive(&mut self, rootfs: DerivationId) -> DerivationId {
        let key = format!("archive {}", rootfs.index());
        if let Some(&id) = self.derived.get(&key) {
            return id;
        }
        let of = self.graph.get(rootfs);
        let derivation = Derivation {
            name: format!("{}.tar", of.name),
            description: String::new(),
            target: of.target,
            executed_on: None,
            builder: Builder::Archive,
            inputs: vec![Input {
                derivation: rootfs,
                output: OUT.to_owned(),
                role: Role::Material,
                at: "rootfs".to_owned(),
            }],
            outputs: vec![OUT.to_owned()],
        };
        let id = self.add(derivation);
        self.derived.insert(key, id);
        id
    }

    pub(super) fn image(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        target: Target,
    ) -> Result<DerivationId, EvaluateError> {
        let image = scope.manifest.image_for(name, target).unwrap_or_default();
        let formats = self.formats(scope, &image, target)?;
        let mut inputs = Vec::new();
        if let Some(text) = &image.kernel {
            let found = scope.find(text, &[Kind::Package, Kind::Compose])?;
            let layer = self.layer(scope, found, Role::Material, Some(target))?;
            inputs.push(layer.input("kernel"));
        }
        let mut packed: Vec<&FormatInfo> = formats.iter().collect();
        packed.sort_by(|a, b| a.name.cmp(&b.name));
        inputs.extend(packed.into_iter().map(|format| Input {
            derivation: format.derivation,
            output: OUT.to_owned(),
            role: Role::Material,
            at: format!("format.{}", format.name),
        }));
        let mut cmdline = String::new();
        if let Some(text) = &image.cmdline {
            cmdline = scope.text(text, Some(target))?;
            let mut bundle = Bundle::default();
            bundle
                .text("cmdline", format!("{cmdline}\n"), false)
                .map_err(|why| scope.refuse(Problem::at(text.span, why, "")))?;
            inputs.push(Input {
                derivation: self.bundled(format!("{}.cmdline", name.value), bundle),
                output: OUT.to_owned(),
                role: Role::Material,
                at: "cmdline".to_owned(),
            });
        }
        let derivation = self.add(Derivation {
            name: scope.label(&format!("image.{}", name.value)),
            description: image.description.unwrap_or_default(),
            target: Some(target),
            executed_on: None,
            builder: Builder::Compose(Compose {
                remove: plain(image.remove.iter().flatten()),
                ..Compose::default()
            }),
            inputs,
            outputs: vec![OUT.to_owned()],
        });
        self.images.push(ImageInfo {
            name: name.value.clone(),
            target,
            derivation,
            formats,
            cmdline,
        });
        Ok(derivation)
    }

    fn formats(
        &mut self,
        scope: Scope<'_>,
        image: &schema::Image,
        target: Target,
    ) -> Result<Vec<FormatInfo>, EvaluateError> {
        let mut formats = Vec::new();
        let Some(rootfs) = &image.rootfs else {
            return Ok(formats);
        };
        let found = scope.find(rootfs, &[Kind::Rootfs])?;
        let rootfs = self.layer(scope, found, Role::Material, Some(target))?;
        let archive = self.archive(rootfs.derivation);
        for text in image.formats.iter().flatten() {
            let found = scope.find(text, &[Kind::Format])?;
            let scope = scope.of(found);
            let format = &scope.manifest.formats[found.name.value.as_str()];
            let (derivation, file) =
                self.pack(scope, (found.name, format), archive, (target, image))?;
            let cmdline = match &format.cmdline {
                Some(text) => scope.text(text, Some(target))?,
                None => String::new(),
            };
            formats.push(FormatInfo {
                name: found.name.value.clone(),
                file,
                boot: format.boot,
                cmdline,
                derivation,
            });
        }
        Ok(formats)
    }

    pub(super) fn boot_check(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        target: Target,
    ) -> Result<BootCheckInfo, EvaluateError> {
        let (key, check) = scope
            .manifest
            .boot_checks
            .get_key_value(name)
            .ok_or_else(|| {
                unknown(
                    name,
                    scope.manifest.boot_checks.keys().map(|k| k.value.clone()),
                )
            })?;
        let found = scope.find(&check.image, &[Kind::Image])?;
        let image = self.layer(scope, found, Role::Material, Some(target))?;
        let image = self
            .images
            .iter()
            .find(|info| info.derivation == image.derivation);
        let image = image
            .cloned()
            .ok_or_else(|| scope.refuse(Problem::at(key.span, "this check has no image", "")))?;
        let optional = |text: &Option<At<String>>| match text {
            Some(text) => scope.text(text, Some(target)),
            None => Ok(String::new()),
        };
        Ok(BootCheckInfo {
            name: key.value.clone(),
            formats: boot_formats(check.formats.as_ref(), &image),
            image,
            expect: scope.text(&check.expect, Some(target))?,
            refuse: plain(&check.refuse),
            input: optional(&check.input)?,
            expect_then: plain(&check.expect_then),
            cmdline: optional(&check.cmdline)?,
            limit_s: check.limit.map_or(BOOT_LIMIT_S, |limit| limit.0),
            memory_bytes: check.memory.map_or(BOOT_MEMORY_BYTES, |memory| memory.0),
            cpus: check.cpus.unwrap_or(1),
        })
    }
}

fn boot_formats(wanted: Option<&Texts>, image: &ImageInfo) -> Vec<String> {
    match wanted {
        // `kiln.ext4` names the format `ext4` of an import.
        Some(wanted) => wanted
            .iter()
            .map(|text| {
                let own = image
                    .formats
                    .iter()
                    .find(|f| text.value == f.name || text.ends_with(&format!(".{}", f.name)));
                own.map_or(text.value.clone(), |format| format.name.clone())
            })
            .collect(),
        None => {
            let bootable = image.formats.iter().filter(|format| format.boot.is_some());
            bootable.map(|format| format.name.clone()).collect()
        }
    }
}

/// What a table says of its root file system besides files and packages.
fn described(table: &schema::Rootfs) -> Rootfs {
    let directories = table.directories.iter().flatten();
    let modes = table.modes.iter().flatten();
    let devices = table.devices.iter().flatten();
    let users = table
        .users
        .iter()
        .flatten()
        .map(|line| passwd(line))
        .collect::<Vec<_>>();
    Rootfs {
        modes: modes
            .map(|(path, it)| (path.value.clone(), attributes(Some(it.mode), it.owner, 0)))
            .collect(),
        devices: devices
            .map(|line| (line.path.clone(), line.device))
            .collect(),
        directories: directories
            .map(|(path, it)| (path.value.clone(), attributes(it.mode, it.owner, 0o755)))
            .collect(),
        links: owned(table.links.as_ref().unwrap_or(&schema::Table::new())),
        groups: groups(table, &users),
        users,
        remove: plain(table.remove.iter().flatten()),
        prefer: owned(table.prefer.as_ref().unwrap_or(&schema::Table::new())),
    }
}

fn attributes(mode: Option<Mode>, owner: Option<Owner>, default: u32) -> Attributes {
    let Owner { uid, gid } = owner.unwrap_or_default();
    Attributes {
        mode: mode.map_or(default, |mode| mode.0),
        uid,
        gid,
    }
}

/// `name:uid:gid:comment:home:shell` with the password field that is missing;
/// a whole line as it is.
fn passwd(line: &str) -> String {
    match line.split_once(':') {
        Some((name, rest)) if line.split(':').count() == 6 => format!("{name}:x:{rest}"),
        _ => line.to_owned(),
    }
}

/// The lines that the manifest has, and the own group of every user that has
/// none.
fn groups(table: &schema::Rootfs, users: &[String]) -> Vec<String> {
    let lines = table.groups.iter().flatten();
    let mut groups: Vec<String> = lines.map(|line| group(line)).collect();
    for user in users {
        let fields: Vec<&str> = user.split(':').collect();
        let [name, _, _, gid, ..] = fields[..] else {
            continue;
        };
        if !groups
            .iter()
            .any(|line| line.split(':').nth(2) == Some(gid))
        {
            groups.push(format!("{name}:x:{gid}:"));
        }
    }
    groups
}

/// `name:gid` or `name:gid:members` as a line of `/etc/group`.
fn group(line: &str) -> String {
    let fields: Vec<&str> = line.split(':').collect();
    match fields[..] {
        [name, gid] => format!("{name}:x:{gid}:"),
        [name, gid, members] => format!("{name}:x:{gid}:{members}"),
        _ => line.to_owned(),
    }
}
