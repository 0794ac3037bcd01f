//! The claimed recipes of a project, and which of them to compare with.

use kiln_store::cache::recipes::{self, Field, Recipe};
use kiln_store::hash::Digest;
use kiln_store::trust::key::PublicKey;

use super::super::recipes::platform;
use super::super::{Caches, ask, parallel};
use crate::derivation::Derivation;
use crate::derivation::fields::differences;

/// Of another name, at least this share of the fields has to be the same.
const ALIKE: f64 = 0.7;

/// A recipe that was shared.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// By whom.
    pub key: PublicKey,
    /// What it is made of.
    pub recipe: Recipe,
}

/// All recipes of a project that keys which may count have shared.
pub(super) struct Lists(Vec<Shared>);

impl Lists {
    /// Reads the lists of every key from every cache that answers.
    pub fn read(caches: &Caches<'_>, project: &Digest) -> Self {
        let keys = ask::keys_to_ask(caches);
        let of_cache = |cache| keys.iter().map(move |key| (cache, *key));
        let requests: Vec<_> = caches.alive().flat_map(of_cache).collect();
        let read = parallel::map(&requests, |(cache, key)| {
            match recipes::read(&*cache.backend, project, key) {
                Ok(recipes) => recipes,
                Err(error) => {
                    ask::refuse(caches, cache, error.into());
                    Vec::new()
                }
            }
        });
        let named = requests.iter().zip(read).flat_map(|((_, key), recipes)| {
            recipes
                .into_iter()
                .map(|recipe| Shared { key: *key, recipe })
        });
        Self(named.collect())
    }

    /// What to compare with a derivation of these fields, nearest first.
    pub fn candidates(&self, derivation: &Derivation, fields: &[Field]) -> Vec<Shared> {
        let target = platform(derivation.target);
        let executed_on = platform(derivation.executed_on);
        let rank = |shared: &Shared| {
            let recipe = &shared.recipe;
            let count = differences(fields, &recipe.fields).len();
            let named = recipe.name == derivation.name;
            let share = 1.0 - count as f64 / fields.len().max(1) as f64;
            (named || share >= ALIKE).then_some((
                !named,
                recipe.target != target,
                recipe.executed_on != executed_on,
                count,
            ))
        };
        let ranked = self.0.iter().filter_map(|it| Some((rank(it)?, it)));
        let mut ranked: Vec<_> = ranked.collect();
        // Of equally near ones the newest comes first, as in the list.
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked
            .into_iter()
            .map(|(_, shared)| shared.clone())
            .collect()
    }

    /// The recipe that has `content` as an output or lineage; of several that of
    /// the derivation's own name.
    pub fn made(&self, content: &str, derivation: &Derivation) -> Option<Shared> {
        let content: Digest = content.parse().ok()?;
        let made = |shared: &&Shared| {
            let recipe = &shared.recipe;
            let mut outputs = recipe.outputs.iter();
            recipe.lineage == content || outputs.any(|(_, tree)| *tree.digest() == content)
        };
        let own = |shared: &&Shared| shared.recipe.name == derivation.name;
        let mut all = self.0.iter().filter(made);
        let mut named = self.0.iter().filter(made).filter(own);
        named.next().or_else(|| all.next()).cloned()
    }
}
