//! Sharing what was built here: packs first, then signed claims, then hints and
//! what the recipes are made of. So whoever finds a claim finds its bytes, and a
//! share that is ended leaves nothing that misleads.

use std::collections::{HashMap, HashSet};

use kiln_store::cache;
use kiln_store::cache::claims::{self, ClaimError, Written};
use kiln_store::cache::error::CacheError;
use kiln_store::cache::hint;
use kiln_store::cache::push::{Push, Pushed};
use kiln_store::cache::recipes::Recipe;
use kiln_store::cache::watch::Watch;
use kiln_store::hash::{Digest, RecipeKey, TreeId};
use kiln_store::realisation::{OutputMap, Realisation, SignedRealisation};
use kiln_store::store::Store;
use kiln_store::trust::key::SecretKey;

use super::{Cache, parallel, recipes};
use crate::build::error::{BuildError, FailureClass};
use crate::build::{object_error, store_error};
use crate::derivation::Builder;
use crate::derivation::resolve::Keys;
use crate::graph::{DerivationId, Graph};

/// What is shared.
pub struct Share<'a> {
    /// From where.
    pub store: &'a Store,
    /// To where.
    pub cache: &'a Cache,
    /// Whose claims they will be.
    pub key: &'a SecretKey,
    /// What hints lead to it: sketches and labels.
    pub subjects: &'a [Digest],
    /// The project that it is of: see [`recipes::project`].
    pub project: &'a Digest,
    /// Also files that others can fetch from where they were fetched here.
    pub sources: bool,
    /// Told how it goes on.
    pub watch: &'a dyn Watch,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Shared {
    /// Claims that the cache did not have.
    pub claims: usize,
    /// Claims that it had, of this key.
    pub known_claims: usize,
    /// Derivations that were not built here, and so are not claimed.
    pub not_built_here: usize,
    /// Trees that the cache did not have.
    pub trees: u64,
    /// Packs that were written.
    pub packs: u64,
    /// Bytes of packs, and of all that describes them.
    pub bytes: u64,
}

impl Share<'_> {
    /// Shares `realised` derivations of `graph`; the bytes of `roots` in any case.
    pub fn run(
        &self,
        graph: &Graph,
        roots: &[DerivationId],
        realised: &[(DerivationId, Keys, OutputMap)],
    ) -> Result<Shared, BuildError> {
        let mut shared = Shared::default();
        let mut signed = Vec::new();
        let mut trees = Vec::new();
        for (id, keys, outputs) in realised {
            let Some(own) = self.own(keys, outputs)? else {
                shared.not_built_here += 1;
                continue;
            };
            signed.push(own.signed_by(self.key));
            let builder = &graph.get(*id).builder;
            let fetched = matches!(builder, Builder::Fetch(_) | Builder::Local(_));
            if self.sources || !fetched || roots.contains(id) {
                trees.extend(outputs.iter().map(|(_, tree)| *tree));
            }
        }
        let known = self.known_claims()?;
        let pushed = self.push(&trees, &known)?;
        (shared.trees, shared.packs, shared.bytes) = (pushed.trees, pushed.packs, pushed.bytes);
        self.claim(&signed, &known, &mut shared)?;
        let backend = &*self.cache.backend;
        let key = self.key.public();
        for subject in self.subjects {
            hint::write(backend, subject, &key, signed.clone())
                .map_err(|error| unavailable(&error))?;
        }
        let recipes = claimed_recipes(graph, realised, &signed);
        cache::recipes::add(backend, self.project, &key, recipes)
            .map_err(|error| unavailable(&error))?;
        Ok(shared)
    }

    /// This store's own claim that the action gave these outputs.
    fn own(&self, keys: &Keys, outputs: &OutputMap) -> Result<Option<Realisation>, BuildError> {
        let claims = self.store.realisations_of_action(&keys.action);
        let claims = claims.map_err(store_error)?.into_iter();
        let own = claims.filter(|it| it.signature.is_none() && it.realisation.outputs == *outputs);
        Ok(own.map(|it| it.realisation).next())
    }

    /// Claims of this key that hints lead to: most of those that the cache has.
    fn known_claims(&self) -> Result<Vec<SignedRealisation>, BuildError> {
        let key = self.key.public();
        let mut known = Vec::new();
        for subject in self.subjects {
            let claims = hint::read(&*self.cache.backend, subject, &key);
            let claims = claims.map_err(|error| unavailable(&error))?;
            known.extend(claims.into_iter().filter(|it| it.signer() == Ok(Some(key))));
        }
        Ok(known)
    }

    /// Trees that are here whole. Older ones of the same project tell which packs
    /// the cache has.
    fn push(&self, trees: &[TreeId], known: &[SignedRealisation]) -> Result<Pushed, BuildError> {
        let mut here = Vec::new();
        let mut leases = Vec::new();
        for tree in trees {
            // What gc let go is claimed without its bytes.
            if self.store.has_tree(tree).map_err(store_error)? {
                leases.push(self.store.lease(tree).map_err(store_error)?);
                here.push(*tree);
            }
        }
        let outputs = known.iter().flat_map(|it| &it.realisation.outputs);
        let base: Vec<TreeId> = outputs.map(|(_, tree)| *tree).collect();
        let push = Push {
            backend: &*self.cache.backend,
            objects: self.store,
            base: &base,
            remembered: &self.cache.remembered,
            watch: self.watch,
        };
        push.run(&here).map_err(cache_error)
    }

    fn claim(
        &self,
        signed: &[SignedRealisation],
        known: &[SignedRealisation],
        shared: &mut Shared,
    ) -> Result<(), BuildError> {
        let is_new = |claim: &&SignedRealisation| {
            let (recipe, outputs) = (claim.realisation.recipe, &claim.realisation.outputs);
            !known
                .iter()
                .any(|it| it.realisation.recipe == recipe && it.realisation.outputs == *outputs)
        };
        let new: Vec<_> = signed.iter().filter(is_new).collect();
        shared.known_claims += signed.len() - new.len();
        let written = parallel::map(&new, |claim| claims::write(&*self.cache.backend, claim));
        for written in written {
            match written {
                Ok(Written::New) => shared.claims += 1,
                Ok(Written::Known) => shared.known_claims += 1,
                Err(error) => return Err(claim_error(error)),
            }
        }
        Ok(())
    }
}

/// What the claims are made of.
fn claimed_recipes(
    graph: &Graph,
    realised: &[(DerivationId, Keys, OutputMap)],
    signed: &[SignedRealisation],
) -> Vec<Recipe> {
    let claimed: HashSet<RecipeKey> = signed.iter().map(|it| it.realisation.recipe).collect();
    let known: HashMap<usize, &(DerivationId, Keys, OutputMap)> =
        realised.iter().map(|it| (it.0.index(), it)).collect();
    let look = |id: DerivationId| {
        let (_, keys, outputs) = known.get(&id.index())?;
        Some((*keys, outputs.clone()))
    };
    let claimed = realised
        .iter()
        .filter(|(_, keys, _)| claimed.contains(&keys.recipe));
    claimed
        .filter_map(|(id, ..)| recipes::of_realised(graph, *id, &look))
        .collect()
}

/// How a failure of a cache is classed.
pub(super) fn cache_error(error: CacheError) -> BuildError {
    match error {
        CacheError::Store(error) => store_error(error),
        CacheError::Object(error) => object_error(&error),
        CacheError::Cancelled => BuildError::new(FailureClass::Cancelled, "it was asked to stop"),
        CacheError::Damaged { .. } => {
            BuildError::new(FailureClass::HashMismatch, error.to_string())
        }
        error => unavailable(&error),
    }
}

fn claim_error(error: ClaimError) -> BuildError {
    match error {
        ClaimError::Backend(error) => unavailable(&error),
        error => BuildError::new(FailureClass::Untrusted, error.to_string()),
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> BuildError {
    BuildError::new(FailureClass::Unavailable, error.to_string())
}
