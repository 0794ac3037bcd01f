//! The derivations of one evaluation, densely numbered.
//!
//! Inputs come before what uses them, so a walk from the first to the last is
//! a topological one, and a cycle cannot be expressed.

use crate::derivation::Derivation;

/// Which derivation of a [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DerivationId(u32);

impl DerivationId {
    /// The place in the graph's order.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Derivations in topological order.
#[derive(Debug, Default)]
pub struct Graph {
    derivations: Vec<Derivation>,
}

impl Graph {
    /// Adds a derivation whose inputs are all in the graph.
    ///
    /// # Panics
    /// If an input is not: that is a mistake of the evaluator, not of a user.
    pub fn add(&mut self, derivation: Derivation) -> DerivationId {
        let next = self.derivations.len();
        assert!(
            derivation
                .inputs
                .iter()
                .all(|i| i.derivation.index() < next),
            "`{}` was added before one of its inputs",
            derivation.name
        );
        self.derivations.push(derivation);
        DerivationId(u32::try_from(next).expect("fewer than 2^32 derivations"))
    }

    /// The derivation of this number.
    pub fn get(&self, id: DerivationId) -> &Derivation {
        &self.derivations[id.index()]
    }

    /// How many derivations there are.
    pub fn len(&self) -> usize {
        self.derivations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.derivations.is_empty()
    }

    /// All of them, inputs first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (DerivationId, &Derivation)> {
        self.derivations
            .iter()
            .enumerate()
            .map(|(index, derivation)| (DerivationId(index as u32), derivation))
    }

    /// Which derivations `roots` need, themselves included, by index.
    pub fn closure(&self, roots: &[DerivationId]) -> Vec<bool> {
        let mut wanted = vec![false; self.len()];
        for root in roots {
            wanted[root.index()] = true;
        }
        for (id, derivation) in self.iter().rev() {
            if wanted[id.index()] {
                for input in &derivation.inputs {
                    wanted[input.derivation.index()] = true;
                }
            }
        }
        wanted
    }
}
