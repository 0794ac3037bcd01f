//! What runs at one time, and how much of it may.

use super::execute::Options;
use crate::derivation::{Builder, Derivation};

/// Of which kind something that runs is; each has its own limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It loads the machine.
    Build,
    /// It loads the network.
    Download,
}

impl Place {
    pub(super) fn of(derivation: &Derivation) -> Self {
        match derivation.builder {
            Builder::Fetch(_) => Place::Download,
            _ => Place::Build,
        }
    }
}

/// What runs. A builder gives its place back once its outputs are in the store;
/// its thread goes on until they are durable.
#[derive(Default)]
pub(super) struct Running {
    builds: usize,
    downloads: usize,
    pub(super) threads: usize,
}

impl Running {
    /// Takes a place and a thread, if there is one free.
    pub(super) fn take(&mut self, place: Place, options: &Options) -> bool {
        let (count, limit) = match place {
            Place::Download => (&mut self.downloads, options.downloads),
            Place::Build => (&mut self.builds, options.jobs),
        };
        let free = *count < limit;
        *count += usize::from(free);
        self.threads += usize::from(free);
        free
    }

    /// Gives a place back, but not the thread.
    pub(super) fn leave(&mut self, place: Place) {
        match place {
            Place::Download => self.downloads -= 1,
            Place::Build => self.builds -= 1,
        }
    }
}
