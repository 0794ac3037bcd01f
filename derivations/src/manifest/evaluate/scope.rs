//! Where names are looked up, and what a variant makes of them.

use std::path::PathBuf;

use super::EvaluateError;
use crate::derivation::Target;
use crate::manifest::assemble::Manifest;
use crate::manifest::check::REPLACEABLE;
use crate::manifest::lock::{Lock, LockOutOfDate, Stale};
use crate::manifest::problem::Problem;
use crate::manifest::reference::{Found, Kind};
use crate::manifest::schema::Table;
use crate::manifest::span::{At, Span};

/// The manifest that names are looked up in, its lock, and the variant that
/// what is found is built in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'m> {
    pub(super) manifest: &'m Manifest,
    pub(super) lock: &'m Lock,
    pub(super) variant: Option<Variant<'m>>,
}

/// A variant, with the manifest that its names are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Variant<'m> {
    manifest: &'m Manifest,
    lock: &'m Lock,
    name: &'m str,
    replace: &'m Table<At<String>>,
}

/// Which variant, as part of a key.
pub(super) type VariantKey = Option<(usize, String)>;

impl<'m> Variant<'m> {
    /// What takes the place of `found`.
    fn instead_of(&self, found: Found<'_>) -> Option<Found<'m>> {
        let look_up = |text: &'m At<String>| self.manifest.look_up(text, &REPLACEABLE);
        let mut pairs = self.replace.iter();
        let (_, by) = pairs.find(|(of, _)| look_up(of).is_some_and(|of| of.is(&found)))?;
        look_up(by)
    }
}

impl<'m> Scope<'m> {
    /// Names as they stand in a manifest, in no variant.
    pub(super) fn new(manifest: &'m Manifest, lock: &'m Lock) -> Self {
        Self {
            manifest,
            lock,
            variant: None,
        }
    }

    /// Where the names inside what was found are looked up. What a variant puts
    /// in is itself built without it, or a compiler would need itself.
    pub(super) fn of(self, found: Found<'m>) -> Self {
        let scope = match found.home {
            Some((manifest, lock)) => Scope::new(manifest, lock),
            None => self,
        };
        found.import.map_or(scope, |import| Scope {
            manifest: &import.manifest,
            lock: &import.lock,
            variant: scope.variant,
        })
    }

    /// The same, in the variant that the entry asks for itself if it does.
    pub(super) fn inside(
        self,
        found: Found<'m>,
        target: Option<Target>,
    ) -> Result<Self, EvaluateError> {
        let scope = self.of(found);
        match asked(found, target) {
            Some(text) => scope.in_variant(text),
            None => Ok(scope),
        }
    }

    /// Names in the variant that `text` names.
    fn in_variant(self, text: &'m At<String>) -> Result<Self, EvaluateError> {
        let found = self.manifest.find(text, &[Kind::Variant]);
        let found = found.map_err(|problem| self.refuse(problem))?;
        let there = Scope::new(self.manifest, self.lock).of(found);
        let variants = &there.manifest.variants;
        let table = variants.get_key_value(found.name.value.as_str());
        Ok(Scope {
            variant: table.map(|(name, table)| Variant {
                manifest: there.manifest,
                lock: there.lock,
                name,
                replace: &table.replace,
            }),
            ..self
        })
    }

    pub(super) fn find(
        self,
        text: &'m At<String>,
        kinds: &[Kind],
    ) -> Result<Found<'m>, EvaluateError> {
        let found = self.manifest.find(text, kinds);
        self.varied(found.map_err(|problem| self.refuse(problem))?)
    }

    /// What stands for `found` in the variant that is named with it, or in this
    /// scope's.
    pub(super) fn varied(self, found: Found<'m>) -> Result<Found<'m>, EvaluateError> {
        let variant = match found.variant {
            Some(name) => self.of(found).in_variant(name)?.variant,
            None => self.variant,
        };
        let Some((variant, by)) = variant.and_then(|it| Some((it, it.instead_of(found)?))) else {
            return Ok(found);
        };
        Ok(Found {
            output: found.output,
            home: Some((variant.manifest, variant.lock)),
            ..by
        })
    }

    /// The name of an entry's derivation: with its variant, if it has one.
    pub(super) fn label(self, name: &str) -> String {
        match self.variant {
            Some(variant) => format!("{name}@{}", variant.name),
            None => name.to_owned(),
        }
    }

    /// Which variant it is.
    pub(super) fn variant_key(self) -> VariantKey {
        let variant = self.variant?;
        let manifest = std::ptr::from_ref(variant.manifest) as usize;
        Some((manifest, variant.name.to_owned()))
    }

    pub(super) fn refuse(self, problem: Problem) -> EvaluateError {
        EvaluateError::Manifest(Box::new(self.manifest.error(problem)))
    }

    /// The text with its `${…}` replaced.
    pub(super) fn text(
        self,
        text: &At<String>,
        target: Option<Target>,
    ) -> Result<String, EvaluateError> {
        crate::manifest::interpolate::interpolate(text, self.manifest.variables(target))
            .map_err(|problem| self.refuse(problem))
    }

    /// The place on this machine of a path that stands at `span`.
    pub(super) fn locate(self, span: Span, path: &str) -> Result<PathBuf, EvaluateError> {
        let place = self.manifest.locate(span, path);
        place.map_err(|problem| self.refuse(problem))
    }

    pub(super) fn out_of_date(self, kind: &'static str, name: &str, why: String) -> EvaluateError {
        EvaluateError::Lock(LockOutOfDate {
            changes: vec![Stale {
                kind,
                name: name.to_owned(),
                why,
            }],
        })
    }
}

/// The variant that an entry is to be built in: the one that is named with it, or
/// that it says itself.
pub(super) fn asked<'m>(found: Found<'m>, target: Option<Target>) -> Option<&'m At<String>> {
    let manifest = found.manifest;
    let name = found.name.value.as_str();
    if found.variant.is_some() {
        return found.variant;
    }
    match found.kind {
        Kind::Package => {
            let package = manifest.packages.get(name)?;
            let upper = package
                .target
                .iter()
                .find(|(of, _)| Some(of.value) == target);
            let said = upper.and_then(|(_, upper)| upper.variant.as_ref());
            said.or(package.variant.as_ref())
        }
        Kind::Image => {
            let image = manifest.images.get(name)?;
            let upper = image.target.iter().find(|(of, _)| Some(of.value) == target);
            let said = upper.and_then(|(_, upper)| upper.variant.as_ref());
            said.or(image.variant.as_ref())
        }
        _ => None,
    }
}
