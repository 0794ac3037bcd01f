//! Sources and seeds.

use super::{EvaluateError, Evaluator, Layer, Scope};
use crate::derivation::{
    Builder, Compose, Derivation, Fetch, LocalOrigin, OUT, Role, Target, Unpack,
};
use crate::graph::DerivationId;
use crate::image::packaged::META;
use crate::manifest::lock::{PinnedPackage, PinnedSeed, PinnedSource};
use crate::manifest::problem::Problem;
use crate::manifest::schema::Source;
use crate::manifest::span::At;

impl Evaluator<'_> {
    pub(super) fn source(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
    ) -> Result<DerivationId, EvaluateError> {
        let source = &scope.manifest.sources[name.value.as_str()];
        let pinned = scope
            .lock
            .source(name, source)
            .map_err(|why| scope.out_of_date("source", name, why))?;
        let Some(pinned) = pinned else {
            return self.folder(scope, name, source);
        };
        Ok(self.add(Derivation {
            name: format!("source.{}", name.value),
            description: source.description.clone().unwrap_or_default(),
            target: None,
            executed_on: None,
            builder: Builder::Fetch(fetch(source, pinned)),
            inputs: Vec::new(),
            outputs: vec![OUT.to_owned()],
        }))
    }

    fn folder(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        source: &Source,
    ) -> Result<DerivationId, EvaluateError> {
        let path = source.path.as_ref().unwrap_or(name);
        let place = scope.locate(path.span, path)?;
        let ignore = plain(source.ignore.iter().flatten());
        let tree = self.files.tree(&place, &ignore).map_err(|error| {
            let message = format!("cannot read the folder `{}`: {error}", path.value);
            let label = format!("looked for {}", place.display());
            scope.refuse(Problem::at(path.span, message, label))
        })?;
        let origin = LocalOrigin::Directory {
            path: place,
            ignore,
        };
        Ok(self.local(format!("source.{}", name.value), tree, origin))
    }

    /// A seed's packages, composed: for `target`, or for the build platform.
    pub(super) fn seed(
        &mut self,
        scope: Scope<'_>,
        name: &At<String>,
        target: Option<Target>,
    ) -> Result<DerivationId, EvaluateError> {
        let seed = &scope.manifest.seeds[name.value.as_str()];
        let pinned = scope
            .lock
            .seed(name, seed)
            .map_err(|why| scope.out_of_date("seed", name, why))?;
        let packages = pinned.packages(target.unwrap_or(self.platform));
        let inputs = packages
            .iter()
            .map(|package| {
                let derivation = self.deb(pinned, package);
                Layer {
                    name: package.name.clone(),
                    derivation,
                    output: OUT.to_owned(),
                    role: Role::Material,
                }
                .input(&package.name)
            })
            .collect();
        Ok(self.add(Derivation {
            name: format!("seed.{}", name.value),
            description: seed.description.clone().unwrap_or_default(),
            target,
            executed_on: self.executed_on(target.is_none()),
            builder: Builder::Compose(Compose {
                usr_merge: true,
                skeleton: seed.is_root(),
                remove: plain(&seed.remove),
                links: owned(&seed.links),
                prefer: owned(&seed.prefer),
                seed: Some(pinned.digest()),
            }),
            inputs,
            outputs: vec![OUT.to_owned()],
        }))
    }

    fn deb(&mut self, seed: &PinnedSeed, package: &PinnedPackage) -> DerivationId {
        if let Some(&id) = self.debs.get(&package.sha256) {
            return id;
        }
        let id = self.add(Derivation {
            name: format!("{}_{}.deb", package.name, package.version),
            description: String::new(),
            target: None,
            executed_on: None,
            builder: Builder::Fetch(Fetch {
                urls: vec![format!("debian:{}", package.path)],
                first_seen: seed.first_seen.clone(),
                hash: package.sha256.clone(),
                size_bytes: package.size,
                unpack: Unpack::Deb,
            }),
            inputs: Vec::new(),
            outputs: vec![META.to_owned(), OUT.to_owned()],
        });
        self.debs.insert(package.sha256.clone(), id);
        id
    }
}

fn fetch(source: &Source, pinned: &PinnedSource) -> Fetch {
    let is_git = source.git.is_some();
    let unpack = if is_git {
        Unpack::Git
    } else if source.raw == Some(true) {
        let url = source.urls().next().map_or("", |url| url.value.as_str());
        let name = url.rsplit(['/', ':']).next().unwrap_or(url);
        Unpack::Raw {
            name: name.to_owned(),
        }
    } else {
        Unpack::Tar {
            strip: source.strip.unwrap_or(1),
            keep: plain(source.keep.iter().flatten()),
        }
    };
    Fetch {
        urls: pinned
            .urls
            .iter()
            .chain(&pinned.candidates)
            .cloned()
            .collect(),
        first_seen: pinned.first_seen.clone(),
        hash: if is_git { &pinned.rev } else { &pinned.sha256 }.clone(),
        size_bytes: pinned.size,
        unpack,
    }
}

/// The texts without their places.
pub(super) fn plain<'a>(texts: impl IntoIterator<Item = &'a At<String>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value.clone()).collect()
}

/// A table without the places of its keys.
pub(super) fn owned(
    table: &std::collections::BTreeMap<At<String>, String>,
) -> std::collections::BTreeMap<String, String> {
    table
        .iter()
        .map(|(key, value)| (key.value.clone(), value.clone()))
        .collect()
}
