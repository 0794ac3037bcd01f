//! What an entry names in its manifest: the edges that evaluation follows from
//! it.

use super::{LAYERS, MATERIALS, REPLACEABLE, ROOTS, TOOLS};
use crate::derivation::Target;
use crate::manifest::assemble::Manifest;
use crate::manifest::reference::Kind;
use crate::manifest::schema::{Image, Package};
use crate::manifest::span::{At, Span};

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
    let mut uses = Uses {
        manifest,
        all: Vec::new(),
    };
    match kind {
        Kind::Package => {
            let package = manifest.package_for(name, target).unwrap_or_default();
            uses.package(&package);
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
            uses.image(&image.unwrap_or_default());
        }
        Kind::Format => {
            if let Some(format) = manifest.formats.get(name) {
                uses.add([&format.root], &ROOTS);
                uses.add(&format.tools, &TOOLS);
            }
        }
        Kind::Source | Kind::Seed | Kind::Variant => {}
    }
    uses.all
}

struct Uses<'m> {
    manifest: &'m Manifest,
    all: Vec<Use>,
}

impl Uses<'_> {
    fn add<'a>(&mut self, texts: impl IntoIterator<Item = &'a At<String>>, kinds: &'static [Kind]) {
        for text in texts {
            self.all.push(Use {
                text: text.clone(),
                kinds,
            });
            let found = self.manifest.look_up(text, kinds);
            if let Some(found) = found.filter(|found| found.import.is_none())
                && let Some(variant) = found.variant
            {
                self.puts_in(text.span, variant);
            }
        }
    }

    fn package(&mut self, package: &Package) {
        self.add(&package.root, &ROOTS);
        self.add(package.tools.iter().flatten(), &TOOLS);
        self.add(package.materials.iter().flatten(), &MATERIALS);
        let inputs = package.inputs.iter().flat_map(|inputs| inputs.values());
        self.add(inputs, &MATERIALS);
        self.variant(package.variant.as_ref());
    }

    fn image(&mut self, image: &Image) {
        self.add(&image.rootfs, &[Kind::Rootfs]);
        self.add(&image.kernel, &REPLACEABLE);
        self.add(image.formats.iter().flatten(), &[Kind::Format]);
        self.variant(image.variant.as_ref());
    }

    fn variant(&mut self, name: Option<&At<String>>) {
        let Some(name) = name else { return };
        let found = self.manifest.look_up(name, &[Kind::Variant]);
        // What is imported cannot refer back.
        if let Some(found) = found.filter(|found| found.import.is_none()) {
            self.puts_in(name.span, found.name);
        }
    }

    /// All that the variant puts in is needed where it is asked for.
    fn puts_in(&mut self, span: Span, variant: &str) {
        let variant = self.manifest.variants.get(variant);
        let texts = variant.into_iter().flat_map(|it| it.replace.values());
        let kinds = &REPLACEABLE;
        self.all.extend(texts.map(|text| Use {
            text: At::new(text.value.clone(), span),
            kinds,
        }));
    }
}

/// What users of a package need with it.
pub(in crate::manifest) fn runtime(
    manifest: &Manifest,
    name: &str,
    target: Option<Target>,
) -> Vec<Use> {
    let package = manifest.package_for(name, target).unwrap_or_default();
    let mut uses = Uses {
        manifest,
        all: Vec::new(),
    };
    uses.add(package.runtime.iter().flatten(), &MATERIALS);
    uses.all
}
