//! What happens while derivations are realised, as data.
//!
//! Whoever shows progress, keeps an event log or tests what was built listens
//! here; nothing below the listener knows a terminal. The JSON form has a
//! version of its own: `docs/formats.md`, "Events".

use std::collections::BTreeMap;

use kiln_store::hash::{ActionKey, RecipeKey, TreeId};
use serde::Serialize;

/// The version of the JSON form of events.
pub const EVENTS_VERSION: u32 = 1;

/// Something that happened. Sizes are bytes, times seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first event: what is wanted.
    Start {
        /// [`EVENTS_VERSION`].
        version: u32,
        /// Derivations in the closure of what is wanted.
        derivations: usize,
    },
    /// A derivation was found realised, and is not built.
    Reused {
        /// Which.
        derivation: Subject,
    },
    /// Others built a derivation, and it is not built here.
    Claimed {
        /// Which.
        derivation: Subject,
    },
    /// The outputs of a claimed derivation were had from others.
    Pulled {
        /// Which.
        derivation: Subject,
        /// From where.
        from: String,
        /// Its outputs.
        outputs: BTreeMap<String, TreeId>,
        /// Bytes that were transferred.
        bytes: u64,
        /// Wall time of the transfer.
        wall_s: f64,
    },
    /// Others could not give what they claim; it is built here.
    PullFailed {
        /// Which.
        derivation: Subject,
        /// What was wrong.
        why: String,
    },
    /// Something in a cache is forged, damaged or old, and does not count.
    ClaimRefused {
        /// Where it is.
        cache: String,
        /// What was wrong.
        why: String,
    },
    /// A cache does not serve, and is not asked again.
    CacheSkipped {
        /// Where it is.
        cache: String,
        /// What was wrong.
        why: String,
    },
    /// A push got further.
    Sending {
        /// To which cache.
        to: String,
        /// Bytes of content so far, unpacked.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A push is over, and the cache has all of it.
    Sent {
        /// To which cache.
        to: String,
        /// Trees that it did not have.
        trees: u64,
        /// Claims that it did not have.
        claims: usize,
        /// Bytes that were transferred, packed.
        bytes: u64,
        /// Wall time of the push.
        wall_s: f64,
    },
    /// A builder starts.
    Started {
        /// Which.
        derivation: Subject,
    },
    /// Another kiln builds the same thing; this one waits for it.
    Waiting {
        /// Which.
        derivation: Subject,
    },
    /// A download got further.
    Downloaded {
        /// Which.
        derivation: Subject,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A download's candidate did not serve, and the next one is tried.
    CandidateFailed {
        /// Which.
        derivation: Subject,
        /// From where.
        url: String,
        /// What was wrong with it.
        why: String,
    },
    /// A builder wrote a line to its log.
    Log {
        /// Which.
        derivation: Subject,
        /// The line, without its end, lossily decoded.
        line: String,
    },
    /// A builder's output has something that is likely a mistake.
    Lint {
        /// Which.
        derivation: Subject,
        /// The file.
        path: String,
        /// What is odd about it.
        why: String,
    },
    /// A builder ended well, and its outputs are in the store.
    Built {
        /// Which.
        derivation: Subject,
        /// The recipe key.
        recipe: RecipeKey,
        /// Its outputs.
        outputs: BTreeMap<String, TreeId>,
        /// Wall time of the builder.
        wall_s: f64,
        /// CPU time of the builder's processes; 0 for kiln's own builders.
        cpu_s: f64,
    },
    /// A builder failed.
    Failed {
        /// Which.
        derivation: Subject,
        /// The class of the failure, such as `exit` or `hash-mismatch`.
        class: &'static str,
        /// What happened, for people.
        message: String,
    },
    /// A derivation was built once more, and what came of it was compared with what
    /// is in the store.
    BuiltAgain {
        /// Which.
        derivation: Subject,
        /// The factors that were unlike an ordinary build.
        varied: Vec<&'static str>,
        /// The factors that were held still.
        held: Vec<&'static str>,
        /// What came of it: `same`, `differs` or `failed`.
        result: &'static str,
        /// Wall time of the build.
        wall_s: f64,
        /// CPU time of the builder's processes; 0 for kiln's own builders.
        cpu_s: f64,
    },
    /// The last event.
    End {
        /// How many were built, downloads included.
        built: usize,
        /// How many of those were downloads.
        fetched: usize,
        /// How many were found realised.
        reused: usize,
        /// How many failed.
        failed: usize,
        /// How many were not tried, because of a failure or a cancellation.
        skipped: usize,
        /// Bytes that were downloaded.
        fetched_bytes: u64,
        /// How many others had built.
        claimed: usize,
        /// How many of those were pulled.
        pulled: usize,
        /// Bytes that were pulled.
        pulled_bytes: u64,
    },
}

/// Which derivation an event is about.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its builder: `fetch`, `compose`, `exec`, …
    pub builder: &'static str,
    /// What its artefacts run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<&'static str>,
    /// The action key.
    pub action: ActionKey,
}

/// Listens to events, from any thread.
pub trait Listener: Sync {
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// Listens to nothing.
pub struct Silent;

impl Listener for Silent {
    fn event(&self, _event: &Event) {}
}

/// Several listeners as one.
impl<L: Listener + ?Sized> Listener for Vec<Box<L>> {
    fn event(&self, event: &Event) {
        for listener in self {
            listener.event(event);
        }
    }
}
