//! The plan: which derivations are realised already, which are had from others,
//! which have to be built, and which can be started now.
//!
//! A derivation's key needs its inputs' outputs, so a plan cannot be made in
//! one go: it is advanced again each time something was built. It asks an
//! [`Oracle`] what is known and decides; it neither builds nor blocks.
//!
//! ```text
//!              own realisation
//! Unresolved ─────────────────► Known ───bytes wanted, and absent──► Missing
//!     │ │                         └──────── and others have them ──► Absent
//!     │ │   claimed by others
//!     │ └─────────────────────► Claimed ─bytes wanted, and absent──► Absent
//!     │   neither
//!     └───────────────────────► Missing
//!
//! Missing ─ start ─► Running ─ finish ─► Done
//! Absent ── start ─► Pulling ─ finish ─► Done        (refuse ─► Unresolved)
//!                       any ── fail ───► Failed;  what needs it ─► Skipped
//! ```
//!
//! What is one's own is found by the action key, which needs every input's
//! outputs. What others claim is found by the recipe key, which needs those of
//! materials only: so an image can be had from others without anything that it
//! was built with. Each derivation is therefore needed for its outputs, or for
//! its lineage alone, or not at all ([`Need`]).
//!
//! That a realisation is known never means that its bytes are present. Bytes
//! are wanted only by what is asked for and by the builders that run.

use kiln_store::hash::{ActionKey, RecipeKey, TreeId};
use kiln_store::realisation::OutputMap;

use crate::derivation::resolve::{
    Keys, Lineage, RecipeInput, RecipeKeys, ResolvedInput, keys, pinned_seed, recipe_keys,
};
use crate::derivation::{Builder, Derivation, Input, OUT};
use crate::graph::{DerivationId, Graph};

/// A question about others' claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked<'g> {
    /// The derivation's name, for which a policy may trust some keys only.
    pub name: &'g str,
    /// Its recipe key.
    pub recipe: RecipeKey,
}

/// What others claim, and the policy believes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The action key of one who built it.
    pub action: ActionKey,
    /// What it made.
    pub outputs: OutputMap,
}

/// Answers what a plan needs to know.
pub trait Oracle {
    /// Why it cannot answer.
    type Error;

    /// The outputs that an action is known to have.
    fn outputs(&self, action: &ActionKey) -> Result<Option<OutputMap>, Self::Error>;

    /// Whether all bytes of a tree are present.
    fn is_present(&self, tree: &TreeId) -> Result<bool, Self::Error>;

    /// Whether others are asked at all.
    fn asks_others(&self) -> bool {
        false
    }

    /// What others claim about each of `asked`.
    fn claimed(&self, asked: &[Asked<'_>]) -> Result<Vec<Option<Claim>>, Self::Error> {
        Ok(vec![None; asked.len()])
    }
}

/// Where a derivation stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Not in the closure of what is wanted.
    Unwanted,
    /// Not found, and not known to be missing.
    Unresolved,
    /// Realised earlier.
    Known(Keys, OutputMap),
    /// Realised by others. The action key is one of theirs. So are files of this
    /// machine that something is built from: their digests are known before they
    /// are in any store.
    Claimed(Keys, OutputMap),
    /// Known or claimed, and its bytes have to be pulled.
    Absent(Keys, OutputMap),
    /// They are being pulled.
    Pulling(Keys, OutputMap),
    /// Has to be built.
    Missing(Keys),
    /// Its builder runs.
    Running(Keys),
    /// Built or pulled now.
    Done(Keys, OutputMap),
    /// Its builder failed.
    Failed,
    /// Something it needs failed.
    Skipped,
}

impl State {
    /// The keys and outputs, once they are known.
    pub fn outputs(&self) -> Option<(&Keys, &OutputMap)> {
        match self {
            State::Known(keys, outputs)
            | State::Claimed(keys, outputs)
            | State::Absent(keys, outputs)
            | State::Pulling(keys, outputs)
            | State::Done(keys, outputs) => Some((keys, outputs)),
            _ => None,
        }
    }

    /// Whether its outputs are known and nothing has to be done for its bytes.
    fn is_at_hand(&self) -> bool {
        matches!(
            self,
            State::Known(..) | State::Claimed(..) | State::Done(..)
        )
    }
}

/// What a derivation is needed for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Need {
    /// Nothing.
    No,
    /// The recipe key of something that executes it.
    Lineage,
    /// What it makes.
    Outputs,
}

/// The plan for one graph.
pub struct Plan<'g> {
    graph: &'g Graph,
    states: Vec<State>,
    /// Whose bytes are wanted.
    wanted: Vec<bool>,
    /// Whether others are asked at all.
    asks_others: bool,
    /// Others were asked about it, and are not asked again.
    asked: Vec<bool>,
    /// Its action key was looked up.
    looked: Vec<bool>,
    /// What others claimed, and could not give.
    refused: Vec<Option<OutputMap>>,
    lineages: Vec<Option<Lineage>>,
    roots: Vec<DerivationId>,
}

impl<'g> Plan<'g> {
    /// A plan for `roots`; `bytes` says whether their content is wanted, or
    /// only their digests.
    pub fn new(graph: &'g Graph, roots: &[DerivationId], bytes: bool) -> Self {
        let closure = graph.closure(roots).into_iter();
        let state = |wanted| match wanted {
            true => State::Unresolved,
            false => State::Unwanted,
        };
        let mut wanted = vec![false; graph.len()];
        for root in roots {
            wanted[root.index()] = bytes;
        }
        Self {
            graph,
            states: closure.map(state).collect(),
            wanted,
            asks_others: false,
            asked: vec![false; graph.len()],
            looked: vec![false; graph.len()],
            refused: vec![None; graph.len()],
            lineages: vec![None; graph.len()],
            roots: roots.to_vec(),
        }
    }

    /// Where a derivation stands.
    pub fn state(&self, id: DerivationId) -> &State {
        &self.states[id.index()]
    }

    /// All derivations of the closure and where they stand.
    pub fn states(&self) -> impl Iterator<Item = (DerivationId, &State)> {
        let all = self.graph.iter().map(|(id, _)| (id, self.state(id)));
        all.filter(|(_, state)| **state != State::Unwanted)
    }

    /// Derivations whose outputs are still needed.
    pub fn unfinished(&self) -> Vec<DerivationId> {
        let needs = self.needs();
        let unfinished = |(id, state): &(DerivationId, &State)| {
            needs[id.index()] == Need::Outputs && state.outputs().is_none()
        };
        let states = self.states().filter(unfinished);
        states.map(|(id, _)| id).collect()
    }

    /// What was asked for.
    pub fn roots(&self) -> &[DerivationId] {
        &self.roots
    }

    /// What others claimed that a derivation makes, if they could not give it.
    pub fn refused(&self, id: DerivationId) -> Option<&OutputMap> {
        self.refused[id.index()].as_ref()
    }

    /// Resolves what can be resolved and returns what can be started now, in
    /// the graph's order: builders of what is missing, pulls of what is absent.
    pub fn advance<O: Oracle>(&mut self, oracle: &O) -> Result<Vec<DerivationId>, O::Error> {
        self.asks_others = oracle.asks_others();
        self.resolve(oracle)?;
        self.demand(oracle)?;
        let needs = self.needs();
        let startable = self
            .graph
            .iter()
            .filter(|(id, _)| needs[id.index()] == Need::Outputs)
            .filter(|(id, derivation)| self.is_startable(*id, derivation));
        Ok(startable.map(|(id, _)| id).collect())
    }

    /// Finds what is one's own, then asks others, level by level, about what is
    /// still needed; what neither has is missing.
    fn resolve<O: Oracle>(&mut self, oracle: &O) -> Result<(), O::Error> {
        loop {
            self.resolve_own(oracle)?;
            let asked = match self.asks_others {
                true => self.questions(),
                false => Vec::new(),
            };
            if asked.is_empty() && !self.settle() {
                return Ok(());
            }
            self.ask(oracle, &asked)?;
        }
    }

    fn resolve_own<O: Oracle>(&mut self, oracle: &O) -> Result<(), O::Error> {
        for (id, derivation) in self.graph.iter() {
            if *self.state(id) != State::Unresolved || self.looked[id.index()] {
                continue;
            }
            if let Some(inputs) = self.resolved_inputs(derivation) {
                let keys = keys(derivation, &inputs);
                self.looked[id.index()] = true;
                self.lineages[id.index()] = Some(keys.lineage);
                if let Some(outputs) = oracle.outputs(&keys.action)? {
                    self.states[id.index()] = State::Known(keys, outputs);
                } else if let Some(tree) = self.here(id).filter(|_| self.asks_others) {
                    let outputs = vec![(OUT.to_owned(), tree)];
                    self.states[id.index()] = State::Claimed(keys, outputs);
                }
            }
        }
        Ok(())
    }

    /// What others can be asked about now.
    fn questions(&mut self) -> Vec<(DerivationId, RecipeKeys)> {
        let mut asked = Vec::new();
        let needs = self.needs();
        for (id, derivation) in self.graph.iter() {
            let need = needs[id.index()];
            if *self.state(id) != State::Unresolved || need == Need::No {
                continue;
            }
            let Some(inputs) = self.recipe_inputs(derivation) else {
                continue;
            };
            let keys = recipe_keys(derivation, &inputs);
            self.lineages[id.index()] = Some(keys.lineage);
            if need == Need::Outputs && !self.asked[id.index()] {
                asked.push((id, keys));
            }
        }
        asked
    }

    fn ask<O: Oracle>(
        &mut self,
        oracle: &O,
        asked: &[(DerivationId, RecipeKeys)],
    ) -> Result<(), O::Error> {
        if asked.is_empty() {
            return Ok(());
        }
        let asking = asked.iter().map(|(id, keys)| Asked {
            name: &self.graph.get(*id).name,
            recipe: keys.recipe,
        });
        let claims = oracle.claimed(&asking.collect::<Vec<_>>())?;
        for ((id, keys), claim) in asked.iter().zip(claims) {
            self.asked[id.index()] = true;
            if let Some(Claim { action, outputs }) = claim {
                let keys = Keys {
                    action,
                    recipe: keys.recipe,
                    lineage: keys.lineage,
                };
                self.states[id.index()] = State::Claimed(keys, outputs);
            }
        }
        Ok(())
    }

    /// What is needed and nobody has is missing, or skipped if what it needs
    /// failed. Returns whether that changed what others can be asked.
    fn settle(&mut self) -> bool {
        let needs = self.needs();
        let mut changed = false;
        for (id, derivation) in self.graph.iter() {
            let asked = self.asked[id.index()] || !self.asks_others;
            if *self.state(id) != State::Unresolved || needs[id.index()] != Need::Outputs {
                continue;
            }
            if self.has_failed_input(derivation) {
                self.states[id.index()] = State::Skipped;
            } else if let (true, Some(inputs)) = (asked, self.resolved_inputs(derivation)) {
                self.states[id.index()] = State::Missing(keys(derivation, &inputs));
                changed = self.asks_others;
            }
        }
        changed
    }

    /// What each derivation is needed for. Others are asked first; only what they
    /// do not have needs all that it is built from.
    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::No; self.graph.len()];
        for root in &self.roots {
            needs[root.index()] = Need::Outputs;
        }
        for (id, derivation) in self.graph.iter().rev() {
            let need = needs[id.index()];
            if need == Need::No || self.state(id).outputs().is_some() {
                continue;
            }
            let asked = self.asked[id.index()] || !self.asks_others;
            let unresolved = *self.state(id) == State::Unresolved;
            let builds = !unresolved || (need == Need::Outputs && asked);
            for input in self.needed_inputs(derivation, builds) {
                let (input, need) = input;
                let slot = &mut needs[input.derivation.index()];
                *slot = need.max(*slot);
            }
        }
        needs
    }

    fn needed_inputs<'d>(
        &self,
        derivation: &'d Derivation,
        builds: bool,
    ) -> impl Iterator<Item = (&'d Input, Need)> {
        let pinned = !builds && pinned_seed(derivation).is_some();
        let inputs = derivation.inputs.iter().filter(move |_| !pinned);
        inputs.map(move |input| match builds || !input.role.is_executed() {
            true => (input, Need::Outputs),
            false => (input, Need::Lineage),
        })
    }

    fn has_failed_input(&self, derivation: &Derivation) -> bool {
        let failed = |id| matches!(self.state(id), State::Failed | State::Skipped);
        derivation.inputs.iter().any(|i| failed(i.derivation))
    }

    /// What a derivation's inputs are, once all of them are known.
    pub fn resolved_inputs(&self, derivation: &Derivation) -> Option<Vec<ResolvedInput>> {
        let resolve = |input: &Input| {
            let (keys, _) = self.state(input.derivation).outputs()?;
            Some(ResolvedInput {
                tree: self.tree(input)?,
                lineage: keys.lineage,
            })
        };
        derivation.inputs.iter().map(resolve).collect()
    }

    fn recipe_inputs(&self, derivation: &Derivation) -> Option<Vec<RecipeInput>> {
        if pinned_seed(derivation).is_some() {
            return Some(Vec::new());
        }
        let part = |input: &Input| match input.role.is_executed() {
            true => self.lineage(input.derivation).map(RecipeInput::Executed),
            false => self.tree(input).map(RecipeInput::Read),
        };
        derivation.inputs.iter().map(part).collect()
    }

    fn lineage(&self, id: DerivationId) -> Option<Lineage> {
        let known = self.state(id).outputs();
        known
            .map(|(keys, _)| keys.lineage)
            .or(self.lineages[id.index()])
    }

    fn tree(&self, input: &Input) -> Option<TreeId> {
        let (_, outputs) = self.state(input.derivation).outputs()?;
        let found = outputs.iter().find(|(name, _)| *name == input.output)?;
        Some(found.1)
    }

    /// Spreads the wish for bytes from what has to run to its inputs. What is
    /// known and has lost its bytes is had from others, or runs again.
    fn demand<O: Oracle>(&mut self, oracle: &O) -> Result<(), O::Error> {
        for (id, derivation) in self.graph.iter().rev() {
            let (keys, outputs) = match self.state(id) {
                State::Missing(_) => {
                    for input in &derivation.inputs {
                        self.wanted[input.derivation.index()] = true;
                    }
                    continue;
                }
                State::Known(keys, outputs) | State::Claimed(keys, outputs)
                    if self.wanted[id.index()] =>
                {
                    (*keys, outputs.clone())
                }
                _ => continue,
            };
            if all_present(oracle, &outputs)? {
                continue;
            }
            let claimed = matches!(self.state(id), State::Claimed(..));
            let here = self.here(id).is_some();
            if !here && (claimed || self.others_have(oracle, id, &keys, &outputs)?) {
                self.states[id.index()] = State::Absent(keys, outputs);
                continue;
            }
            self.states[id.index()] = State::Missing(keys);
            for input in &derivation.inputs {
                self.wanted[input.derivation.index()] = true;
            }
        }
        Ok(())
    }

    /// The digest of files of this machine that something is built from: nobody
    /// needs to be asked about them, and reading them is less work than a pull.
    fn here(&self, id: DerivationId) -> Option<TreeId> {
        match &self.graph.get(id).builder {
            Builder::Local(local) if !self.roots.contains(&id) => Some(local.tree),
            _ => None,
        }
    }

    /// Whether others claim just these outputs, and did not fail to give them.
    fn others_have<O: Oracle>(
        &mut self,
        oracle: &O,
        id: DerivationId,
        keys: &Keys,
        outputs: &OutputMap,
    ) -> Result<bool, O::Error> {
        if self.asked[id.index()] || !self.asks_others {
            return Ok(false);
        }
        self.asked[id.index()] = true;
        let claims = oracle.claimed(&[Asked {
            name: &self.graph.get(id).name,
            recipe: keys.recipe,
        }])?;
        let mut claims = claims.into_iter().flatten();
        Ok(claims.any(|claim| claim.outputs == *outputs))
    }

    fn is_startable(&self, id: DerivationId, derivation: &Derivation) -> bool {
        match self.state(id) {
            State::Absent(..) => true,
            State::Missing(_) => {
                let mut inputs = derivation.inputs.iter();
                inputs.all(|input| self.state(input.derivation).is_at_hand())
            }
            _ => false,
        }
    }

    /// Notes that a builder or a pull was started.
    pub fn start(&mut self, id: DerivationId) {
        let state = &mut self.states[id.index()];
        match state {
            State::Missing(keys) => *state = State::Running(*keys),
            State::Absent(keys, outputs) => {
                *state = State::Pulling(*keys, std::mem::take(outputs));
            }
            _ => {}
        }
    }

    /// Notes what a builder made, or that a pull went well.
    pub fn finish(&mut self, id: DerivationId, outputs: OutputMap) {
        let state = &mut self.states[id.index()];
        if let State::Running(keys) | State::Pulling(keys, _) = *state {
            *state = State::Done(keys, outputs);
        }
    }

    /// Notes that others could not give what they claimed: it is built instead.
    pub fn refuse(&mut self, id: DerivationId) {
        let state = &mut self.states[id.index()];
        if let State::Pulling(_, outputs) = state {
            self.refused[id.index()] = Some(std::mem::take(outputs));
            self.asked[id.index()] = true;
            *state = State::Unresolved;
        }
    }

    /// Notes that a builder failed.
    pub fn fail(&mut self, id: DerivationId) {
        self.states[id.index()] = State::Failed;
    }
}

fn all_present<O: Oracle>(oracle: &O, outputs: &OutputMap) -> Result<bool, O::Error> {
    for (_, tree) in outputs {
        if !oracle.is_present(tree)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
