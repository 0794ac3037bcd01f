//! What an entry names in its manifest: the edges that evaluation follows from
//! it.

use super::{LAYERS, MATERIALS, REPLACEABLE, ROOTS, TOOLS};
use crate::derivation::Target;
use crate::manifest::assemble::Manifest;
use crate::manifest::reference::Kind;
use crate::manifest::schema::{Image, Package};
use crate::manifest::span::At;

/// A reference, and the kinds that it may be to.
pub(in crate::manifest) struct Use {
    pub(in crate::manifest) text: At<String>,
    pub(in crate::manifest) kinds: &'static [Kind],
}

/// What an entry names for `target`, but for what its users need at run time. An
/// entry with a variant also names all that the variant puts in.
pub(in crate::manifest) fn uses(
    manifest: &Manifest,
    kind: Kind,
    name: &str,
    target: Option<Target>,
) -> Vec<Use> {
    let mut uses = Uses(Vec::new());
    match kind {
        Kind::Package => {
            let package = manifest.package_for(name, target).unwrap_or_default();
            uses.package(manifest, &package);
        }
        Kind::Compose => {
            let compose = manifest.composes.get(name);
            uses.add(compose.iter().flat_map(|c| &c.packages), &LAYERS);
        }
        Kind::Rootfs => {
            let rootfs = target.and_then(|target| manifest.rootfs_for(name, target));
            let packages = rootfs.iter().flat_map(|rootfs| &rootfs.packages);
            uses.add(packages.flatten(), &LAYERS);
        }
        Kind::Image => {
            let image = target.and_then(|target| manifest.image_for(name, target));
            uses.image(manifest, &image.unwrap_or_default());
        }
        Kind::Format => {
            if let Some(format) = manifest.formats.get(name) {
                uses.add([&format.root], &ROOTS);
                uses.add(&format.tools, &TOOLS);
            }
        }
        Kind::Source | Kind::Seed | Kind::Variant => {}
    }
    uses.0
}

struct Uses(Vec<Use>);

impl Uses {
    fn add<'a>(&mut self, texts: impl IntoIterator<Item = &'a At<String>>, kinds: &'static [Kind]) {
        let texts = texts.into_iter().cloned();
        self.0.extend(texts.map(|text| Use { text, kinds }));
    }

    fn package(&mut self, manifest: &Manifest, package: &Package) {
        self.add(&package.root, &ROOTS);
        self.add(package.tools.iter().flatten(), &TOOLS);
        self.add(package.materials.iter().flatten(), &MATERIALS);
        let inputs = package.inputs.iter().flat_map(|inputs| inputs.values());
        self.add(inputs, &MATERIALS);
        self.variant(manifest, package.variant.as_ref());
    }

    fn image(&mut self, manifest: &Manifest, image: &Image) {
        self.add(&image.rootfs, &[Kind::Rootfs]);
        self.add(&image.kernel, &REPLACEABLE);
        self.add(image.formats.iter().flatten(), &[Kind::Format]);
        self.variant(manifest, image.variant.as_ref());
    }

    fn variant(&mut self, manifest: &Manifest, name: Option<&At<String>>) {
        let found = name.and_then(|name| manifest.look_up(name, &[Kind::Variant]));
        // What is imported cannot refer back.
        let own = found.filter(|found| found.import.is_none());
        let variant = own.and_then(|found| manifest.variants.get(found.name));
        self.add(
            variant.iter().flat_map(|it| it.replace.values()),
            &REPLACEABLE,
        );
    }
}

/// What users of a package need with it.
pub(in crate::manifest) fn runtime(
    manifest: &Manifest,
    name: &str,
    target: Option<Target>,
) -> Vec<Use> {
    let package = manifest.package_for(name, target).unwrap_or_default();
    let mut uses = Uses(Vec::new());
    uses.add(package.runtime.iter().flatten(), &MATERIALS);
    uses.0
}
