//! The plan: which derivations are realised already, which have to be built,
//! and which can be started now.
//!
//! A derivation's key needs its inputs' outputs, so a plan cannot be made in
//! one go: it is advanced again each time something was built. It asks an
//! [`Oracle`] what is known and decides; it neither builds nor blocks.
//!
//! ```text
//!             every input has outputs
//! Unresolved ───────────────────────► Known ──bytes wanted, and absent──► Missing
//!     │                  realisation ▲                                      │
//!     └── no realisation ────────────┼───────────────────────► Missing      │ start
//!                                    │                            └────────►│
//!                                  Done ◄── finish ── Running ◄─────────────┘
//!                                           fail ──► Failed;  what needs it ──► Skipped
//! ```
//!
//! That a realisation is known never means that its bytes are present. Bytes
//! are wanted only by what is asked for and by the builders that run.

use kiln_store::hash::{ActionKey, TreeId};
use kiln_store::realisation::OutputMap;

use crate::derivation::Derivation;
use crate::derivation::resolve::{Keys, ResolvedInput, keys};
use crate::graph::{DerivationId, Graph};

/// Answers what a plan needs to know.
pub trait Oracle {
    /// Why it cannot answer.
    type Error;

    /// The outputs that an action is known to have.
    fn outputs(&self, action: &ActionKey) -> Result<Option<OutputMap>, Self::Error>;

    /// Whether all bytes of a tree are present.
    fn is_present(&self, tree: &TreeId) -> Result<bool, Self::Error>;
}

/// Where a derivation stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Not in the closure of what is wanted.
    Unwanted,
    /// Some input's outputs are not known yet.
    Unresolved,
    /// Realised earlier.
    Known(Keys, OutputMap),
    /// Has to be built.
    Missing(Keys),
    /// Its builder runs.
    Running(Keys),
    /// Built now.
    Done(Keys, OutputMap),
    /// Its builder failed.
    Failed,
    /// Something it needs failed.
    Skipped,
}

impl State {
    fn outputs(&self) -> Option<(&Keys, &OutputMap)> {
        match self {
            State::Known(keys, outputs) | State::Done(keys, outputs) => Some((keys, outputs)),
            _ => None,
        }
    }
}

/// The plan for one graph.
pub struct Plan<'g> {
    graph: &'g Graph,
    states: Vec<State>,
    /// Whose bytes are wanted.
    wanted: Vec<bool>,
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

    /// What was asked for.
    pub fn roots(&self) -> &[DerivationId] {
        &self.roots
    }

    /// Resolves what can be resolved and returns what can be started now, in
    /// the graph's order.
    pub fn advance<O: Oracle>(&mut self, oracle: &O) -> Result<Vec<DerivationId>, O::Error> {
        self.resolve(oracle)?;
        self.demand(oracle)?;
        let startable = self
            .graph
            .iter()
            .filter(|(id, derivation)| self.is_startable(*id, derivation));
        Ok(startable.map(|(id, _)| id).collect())
    }

    fn resolve<O: Oracle>(&mut self, oracle: &O) -> Result<(), O::Error> {
        for (id, derivation) in self.graph.iter() {
            if *self.state(id) != State::Unresolved {
                continue;
            }
            if self.has_failed_input(derivation) {
                self.states[id.index()] = State::Skipped;
            } else if let Some(inputs) = self.resolved_inputs(derivation) {
                let keys = keys(derivation, &inputs);
                self.states[id.index()] = match oracle.outputs(&keys.action)? {
                    Some(outputs) => State::Known(keys, outputs),
                    None => State::Missing(keys),
                };
            }
        }
        Ok(())
    }

    fn has_failed_input(&self, derivation: &Derivation) -> bool {
        let failed = |id| matches!(self.state(id), State::Failed | State::Skipped);
        derivation.inputs.iter().any(|i| failed(i.derivation))
    }

    /// What a derivation's inputs are, once all of them are known.
    pub fn resolved_inputs(&self, derivation: &Derivation) -> Option<Vec<ResolvedInput>> {
        let resolve = |input: &crate::derivation::Input| {
            let (keys, outputs) = self.state(input.derivation).outputs()?;
            let (_, tree) = outputs.iter().find(|(name, _)| *name == input.output)?;
            Some(ResolvedInput {
                tree: *tree,
                lineage: keys.lineage,
            })
        };
        derivation.inputs.iter().map(resolve).collect()
    }

    /// Spreads the wish for bytes from what has to run to its inputs; a known
    /// derivation whose wanted bytes are gone has to run again.
    fn demand<O: Oracle>(&mut self, oracle: &O) -> Result<(), O::Error> {
        for (id, derivation) in self.graph.iter().rev() {
            if let State::Known(keys, outputs) = self.state(id)
                && self.wanted[id.index()]
                && !all_present(oracle, outputs)?
            {
                self.states[id.index()] = State::Missing(*keys);
            }
            if matches!(self.state(id), State::Missing(_)) {
                for input in &derivation.inputs {
                    self.wanted[input.derivation.index()] = true;
                }
            }
        }
        Ok(())
    }

    fn is_startable(&self, id: DerivationId, derivation: &Derivation) -> bool {
        let ready = |id| self.state(id).outputs().is_some();
        matches!(self.state(id), State::Missing(_))
            && derivation.inputs.iter().all(|i| ready(i.derivation))
    }

    /// Notes that a builder was started.
    pub fn start(&mut self, id: DerivationId) {
        if let State::Missing(keys) = *self.state(id) {
            self.states[id.index()] = State::Running(keys);
        }
    }

    /// Notes what a builder made.
    pub fn finish(&mut self, id: DerivationId, outputs: OutputMap) {
        if let State::Running(keys) = *self.state(id) {
            self.states[id.index()] = State::Done(keys, outputs);
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
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, HashSet};
    use std::convert::Infallible;

    use kiln_store::hash::Digest;

    use super::*;
    use crate::derivation::{Builder, Input, Local, LocalOrigin, OUT, Role};

    /// Knows what it is told, and remembers it.
    #[derive(Default)]
    struct World {
        known: RefCell<BTreeMap<ActionKey, OutputMap>>,
        present: RefCell<HashSet<TreeId>>,
    }

    impl Oracle for World {
        type Error = Infallible;

        fn outputs(&self, action: &ActionKey) -> Result<Option<OutputMap>, Infallible> {
            Ok(self.known.borrow().get(action).cloned())
        }

        fn is_present(&self, tree: &TreeId) -> Result<bool, Infallible> {
            Ok(self.present.borrow().contains(tree))
        }
    }

    fn tree(text: &str) -> TreeId {
        TreeId(Digest::of(text.as_bytes()))
    }

    fn step(name: &str, source: &str, inputs: &[DerivationId]) -> Derivation {
        let input = |&derivation| Input {
            derivation,
            output: OUT.to_owned(),
            role: Role::Material,
            at: "/src".to_owned(),
        };
        Derivation {
            name: name.to_owned(),
            description: String::new(),
            target: None,
            executed_on: None,
            builder: Builder::Local(Local {
                tree: tree(source),
                origin: LocalOrigin::Files(Vec::new()),
            }),
            inputs: inputs.iter().map(input).collect(),
            outputs: vec![OUT.to_owned()],
        }
    }

    /// source → compile → image, the source's content as given.
    fn chain(source: &str) -> (Graph, [DerivationId; 3]) {
        let mut graph = Graph::default();
        let a = graph.add(step("source", source, &[]));
        let b = graph.add(step("compile", "cc", &[a]));
        let c = graph.add(step("image", "pack", &[b]));
        (graph, [a, b, c])
    }

    /// Runs a plan to its end; `make` says what a derivation's output is.
    fn run(
        world: &World,
        graph: &Graph,
        root: DerivationId,
        make: &dyn Fn(&str) -> String,
    ) -> Vec<String> {
        let mut plan = Plan::new(graph, &[root], true);
        let mut built = Vec::new();
        loop {
            let Ok(ready) = plan.advance(world);
            let Some(&id) = ready.first() else {
                return built;
            };
            plan.start(id);
            let State::Running(keys) = *plan.state(id) else {
                unreachable!()
            };
            let name = graph.get(id).name.clone();
            let output = tree(&make(&name));
            let outputs = vec![(OUT.to_owned(), output)];
            world.present.borrow_mut().insert(output);
            world
                .known
                .borrow_mut()
                .insert(keys.action, outputs.clone());
            plan.finish(id, outputs);
            built.push(name);
        }
    }

    #[test]
    fn builds_each_once_and_then_nothing() {
        let world = World::default();
        let (graph, [_, _, root]) = chain("v1");
        let make = |name: &str| name.to_owned();
        assert_eq!(
            run(&world, &graph, root, &make),
            ["source", "compile", "image"]
        );
        assert_eq!(run(&world, &graph, root, &make), Vec::<String>::new());
    }

    #[test]
    fn stops_where_an_output_did_not_change() {
        let world = World::default();
        let make = |name: &str| name.to_owned();
        let (graph, [_, _, root]) = chain("v1");
        run(&world, &graph, root, &make);
        let (changed, [_, _, root]) = chain("v2: a comment");
        // The source differs, but what is made of it does not.
        assert_eq!(run(&world, &changed, root, &make), ["source"]);
    }

    #[test]
    fn does_not_ask_for_bytes_that_no_one_reads() {
        let world = World::default();
        let make = |name: &str| name.to_owned();
        let (graph, [_, _, root]) = chain("v1");
        run(&world, &graph, root, &make);
        world.present.borrow_mut().remove(&tree("source"));
        world.present.borrow_mut().remove(&tree("compile"));
        assert_eq!(run(&world, &graph, root, &make), Vec::<String>::new());
        world.present.borrow_mut().remove(&tree("image"));
        assert_eq!(
            run(&world, &graph, root, &make),
            ["source", "compile", "image"]
        );
    }

    #[test]
    fn skips_what_needs_a_failure_and_nothing_else() {
        let world = World::default();
        let mut graph = Graph::default();
        let a = graph.add(step("a", "1", &[]));
        let b = graph.add(step("b", "2", &[a]));
        let c = graph.add(step("c", "3", &[]));
        let d = graph.add(step("d", "4", &[b, c]));
        let mut plan = Plan::new(&graph, &[d], true);
        let Ok(ready) = plan.advance(&world);
        assert_eq!(ready, [a, c]);
        plan.start(a);
        plan.fail(a);
        let Ok(ready) = plan.advance(&world);
        assert_eq!(ready, [c]);
        assert_eq!(*plan.state(b), State::Skipped);
        assert_eq!(*plan.state(d), State::Skipped);
    }
}
