//! Why something is not had from caches: what of it nobody claims, and by which
//! field its recipe differs from the nearest one that is claimed.
//!
//! A recipe key changes when anything does that it is made of, so most keys of a
//! closure differ because of one. The walk goes from what was asked for along the
//! inputs that differ, beside the recipe that those who shared had in the same
//! place, down to where a field of the derivation itself differs.
//!
//! - [`resolve`]: the fields here, as far as they are known.
//! - [`nearest`]: the claimed recipes to compare with.
//!
//! What a recipe is made of is the cache's word alone. That it was claimed, by a
//! key that counts, is checked.

mod nearest;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use kiln_store::cache::recipes::Recipe;
use kiln_store::hash::{ActionKey, Digest, RecipeKey, TreeId};
use kiln_store::realisation::OutputMap;
use kiln_store::trust::key::PublicKey;
use kiln_store::trust::policy::{Discounted, Judgement};

use super::{Asked, Caches, ask};
use crate::build::error::BuildError;
use crate::derivation::Target;
use crate::derivation::fields::{Difference, differences, input_of};
use crate::graph::{DerivationId, Graph};
use crate::realise::others::Others;
use crate::realise::plan::{Claim, Oracle, Plan};
use nearest::{Lists, Shared};
use resolve::Here;

/// What is to be said of one derivation.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub target: Option<Target>,
    /// The key that was looked for; none while something that it is made of is
    /// neither built nor claimed.
    pub recipe: Option<RecipeKey>,
    /// What there is.
    pub verdict: Verdict,
    /// What it was compared with.
    pub nearest: Option<Nearest>,
    /// By what it differs from that.
    pub differences: Vec<Different>,
}

/// What caches have of a derivation.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Verdict {
    /// It is claimed, and believed.
    Claimed {
        /// By whom.
        keys: Vec<PublicKey>,
        /// Outputs whose bytes no cache has: it is built in spite of the claim.
        lost: Vec<String>,
    },
    /// It is claimed by too few.
    TooFew {
        /// By so many that are distinct.
        have: usize,
        /// So many have to.
        need: usize,
    },
    /// Two that count claim different outputs.
    Contradiction,
    /// There are claims, and none counts.
    Discounted {
        /// Which, and why not.
        claims: Vec<Refused>,
    },
    /// Nobody claims it.
    Unclaimed,
    /// Its key is not known before these are built or claimed.
    Unknown {
        /// Names of inputs.
        waits_for: Vec<String>,
    },
}

/// A claim that does not count.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Refused {
    /// Where it is.
    pub cache: String,
    /// Whose.
    pub key: PublicKey,
    /// Why.
    pub why: Discounted,
}

/// A claimed recipe.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Nearest {
    /// Whose claim.
    pub key: PublicKey,
    /// The derivation's name there.
    pub name: String,
    /// The recipe key.
    pub recipe: RecipeKey,
}

/// A difference, and what it follows from.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Different {
    /// What differs: `ours` is here, `theirs` in what is claimed.
    #[serde(flatten)]
    pub difference: Difference,
    /// The input that differs itself, and is explained too.
    pub follows_from: Option<String>,
}

impl Explained {
    /// Whether it differs by something that no other difference explains.
    pub fn is_cause(&self) -> bool {
        let own = |it: &Different| it.follows_from.is_none();
        self.differences.iter().any(own) || self.differences.is_empty()
    }
}

/// Explains `root`, and then what its difference follows from. `own` knows what
/// was built here.
pub fn explain(
    caches: &Caches<'_>,
    own: &Own<'_>,
    graph: &Graph,
    root: DerivationId,
    project: &Digest,
) -> Result<Vec<Explained>, BuildError> {
    let mut plan = Plan::new(graph, &[root], false);
    plan.advance(&Digests { own, caches })?;
    let mut walk = Walk {
        caches,
        graph,
        here: resolve::here(graph, &plan),
        lists: Lists::read(caches, project),
        seen: HashSet::new(),
        explained: Vec::new(),
    };
    walk.explain(root, None)?;
    Ok(walk.explained)
}

/// The outputs that an action had here.
pub type Own<'o> = dyn Fn(&ActionKey) -> Result<Option<OutputMap>, BuildError> + 'o;

/// What a plan needs to know for keys alone: whether bytes are present is all the
/// same to them.
struct Digests<'o, 'c> {
    own: &'o Own<'o>,
    caches: &'o Caches<'c>,
}

impl Oracle for Digests<'_, '_> {
    type Error = BuildError;

    fn outputs(&self, action: &ActionKey) -> Result<Option<OutputMap>, BuildError> {
        (self.own)(action)
    }

    fn is_present(&self, _: &TreeId) -> Result<bool, BuildError> {
        Ok(true)
    }

    fn asks_others(&self) -> bool {
        true
    }

    fn claimed(&self, asked: &[Asked<'_>]) -> Result<Vec<Option<Claim>>, BuildError> {
        self.caches.claimed(asked)
    }
}

struct Walk<'w, 'c> {
    caches: &'w Caches<'c>,
    graph: &'w Graph,
    /// What is known here of each derivation.
    here: Vec<Here>,
    lists: Lists,
    seen: HashSet<usize>,
    explained: Vec<Explained>,
}

impl Walk<'_, '_> {
    /// Explains a derivation beside the recipe that had its place in `theirs`.
    fn explain(&mut self, id: DerivationId, theirs: Option<Shared>) -> Result<(), BuildError> {
        if !self.seen.insert(id.index()) {
            return Ok(());
        }
        let derivation = self.graph.get(id);
        let verdict = self.verdict(id)?;
        let is_claimed = matches!(verdict, Verdict::Claimed { .. });
        let nearest = match theirs {
            Some(theirs) => Some(theirs),
            None if is_claimed => None,
            None => self.nearest(id)?,
        };
        let found = nearest
            .as_ref()
            .map(|nearest| self.compare(id, &nearest.recipe));
        let place = self.explained.len();
        self.explained.push(Explained {
            name: derivation.name.clone(),
            target: derivation.target,
            recipe: self.here[id.index()].recipe(),
            verdict,
            nearest: nearest.as_ref().map(|nearest| Nearest {
                key: nearest.key,
                name: nearest.recipe.name.clone(),
                recipe: nearest.recipe.recipe,
            }),
            differences: Vec::new(),
        });
        let mut differences = Vec::new();
        for difference in found.into_iter().flatten() {
            let follows_from = self.follow(id, &difference)?;
            differences.push(Different {
                difference,
                follows_from,
            });
        }
        if nearest.is_none() && !is_claimed {
            // Nothing tells which of its inputs matter: what is unknown does.
            for input in self.here[id.index()].unknown(self.graph, id) {
                self.explain(input, None)?;
            }
        }
        self.explained[place].differences = differences;
        Ok(())
    }

    fn compare(&self, id: DerivationId, theirs: &Recipe) -> Vec<Difference> {
        let here = &self.here[id.index()];
        let found = differences(&here.fields, &theirs.fields);
        if !found.is_empty() || here.recipe() != Some(theirs.recipe) {
            return found;
        }
        // One recipe, and still something here is made of another output.
        let ours = here.outputs.iter().flatten();
        let differ = ours.filter(|output| !theirs.outputs.contains(output));
        differ
            .map(|(name, tree)| Difference {
                field: format!("output {name} of the same recipe"),
                ours: Some(tree.to_string()),
                theirs: output(theirs, name).map(|tree| tree.to_string()),
            })
            .collect()
    }

    /// Goes on with the input that a difference is about, if it is about one.
    fn follow(
        &mut self,
        id: DerivationId,
        difference: &Difference,
    ) -> Result<Option<String>, BuildError> {
        let inputs = &self.graph.get(id).inputs;
        let input = input_of(difference).and_then(|at| inputs.iter().find(|it| it.at == at));
        let (Some(input), Some(_), Some(content)) = (input, &difference.ours, &difference.theirs)
        else {
            return Ok(None);
        };
        let theirs = self.lists.made(content, self.graph.get(input.derivation));
        self.explain(input.derivation, theirs)?;
        Ok(Some(title(self.graph, input.derivation)))
    }

    /// The nearest recipe that is claimed by who counts.
    fn nearest(&self, id: DerivationId) -> Result<Option<Shared>, BuildError> {
        let candidates = self
            .lists
            .candidates(self.graph.get(id), &self.here[id.index()].fields);
        for candidate in candidates {
            if self.counts(&candidate)? {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn counts(&self, shared: &Shared) -> Result<bool, BuildError> {
        let asked = Asked {
            name: &shared.recipe.name,
            recipe: shared.recipe.recipe,
        };
        let heard = self.caches.heard(&[asked])?;
        Ok(heard.iter().any(|claims| !claims.is_empty()))
    }

    fn verdict(&self, id: DerivationId) -> Result<Verdict, BuildError> {
        let here = &self.here[id.index()];
        let Some(recipe) = here.recipe() else {
            let unknown = here.unknown(self.graph, id).into_iter();
            let waits_for = unknown.map(|input| title(self.graph, input)).collect();
            return Ok(Verdict::Unknown { waits_for });
        };
        let asked = Asked {
            name: &self.graph.get(id).name,
            recipe,
        };
        let heard = self.caches.heard(&[asked])?.pop().unwrap_or_default();
        let claims: Vec<_> = heard.into_iter().map(|counted| counted.claim).collect();
        let judgement = {
            let statements = self.caches.statements.lock();
            let statements = statements.unwrap_or_else(|e| e.into_inner());
            let policy = self.caches.policy;
            policy.judge(&statements, asked.name, &recipe, &claims)
        };
        Ok(match judgement {
            Judgement::Agreed { outputs, by } => Verdict::Claimed {
                keys: by.into_iter().map(|counted| counted.key).collect(),
                lost: ask::lost(self.caches, &outputs),
            },
            Judgement::Conflict(_) => Verdict::Contradiction,
            Judgement::TooFew { have, need } if have > 0 => Verdict::TooFew { have, need },
            Judgement::TooFew { .. } => match ask::refused(self.caches, asked) {
                claims if claims.is_empty() => Verdict::Unclaimed,
                claims => Verdict::Discounted { claims },
            },
        })
    }
}

fn output(recipe: &Recipe, name: &str) -> Option<TreeId> {
    let mut outputs = recipe.outputs.iter();
    outputs.find(|(it, _)| it == name).map(|(_, tree)| *tree)
}

/// A derivation for people.
fn title(graph: &Graph, id: DerivationId) -> String {
    let derivation = graph.get(id);
    match derivation.target {
        Some(target) => format!("{} ({target})", derivation.name),
        None => derivation.name.clone(),
    }
}
