//! Caches as [`Others`]: what they claim, judged by the policy, and their bytes.
//!
//! - [`ask`]: claims, from this store, from hints, and one by one.
//! - [`hints`]: what a hint is found by.
//! - [`share`]: the way back: what was built here, for others.
//! - [`recipes`], [`why`]: what claimed recipes are made of, and by which field
//!   one's own differs.
//! - [`parallel`]: many requests at one time.
//!
//! A cache is not trusted with anything. One that does not answer is told once
//! and skipped; what it says wrongly is told, and counts as not said.

mod ask;
pub mod hints;
mod parallel;
pub mod recipes;
pub mod share;
pub mod why;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use kiln_store::cache::backend::Backend;
use kiln_store::cache::error::CacheError;
use kiln_store::cache::pull;
use kiln_store::cache::remembered::Remembered;
use kiln_store::cache::version;
use kiln_store::cache::watch::Watch;
use kiln_store::error::StoreError;
use kiln_store::hash::TreeId;
use kiln_store::lease::Lease;
use kiln_store::realisation::SignedRealisation;
use kiln_store::store::Store;
use kiln_store::trust::policy::{Counted, Policy};
use kiln_store::trust::statement::Statements;

use super::others::{Others, Pull, PullError, Pulled};
use super::plan::{Asked, Claim};
use crate::build::error::{BuildError, FailureClass};
use crate::build::{object_error, store_error};
use crate::cancel::Cancel;
use crate::event::{Event, Listener};

/// A cache that is asked.
pub struct Cache {
    /// Its name for people.
    pub name: String,
    /// How it is reached.
    pub backend: Box<dyn Backend>,
    remembered: Remembered,
    /// It does not answer, and is not asked again.
    dead: AtomicBool,
    /// It was asked for the version of its form.
    is_looked_at: AtomicBool,
}

impl Cache {
    /// A cache that was not tried yet. What is read of its indexes is remembered
    /// in `store`.
    pub fn new(
        name: impl Into<String>,
        backend: Box<dyn Backend>,
        store: &Store,
    ) -> Result<Self, CacheError> {
        let remembered = Remembered::in_directory(&store.cache_directory(&backend.place()))?;
        Ok(Self {
            name: name.into(),
            backend,
            remembered,
            dead: AtomicBool::new(false),
            is_looked_at: AtomicBool::new(false),
        })
    }

    fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Relaxed)
    }
}

/// Everything that caches are asked with.
pub struct Caches<'c> {
    store: &'c Store,
    policy: &'c Policy,
    caches: &'c [Cache],
    /// What hints are looked for by.
    subjects: hints::Subjects,
    listener: &'c dyn Listener,
    cancel: &'c Cancel,
    statements: Mutex<Statements>,
    hints: OnceLock<hints::Claims>,
    /// Claims that were enough, and are not in the store yet.
    believed: Mutex<Vec<SignedRealisation>>,
    /// What was pulled is in use until this is dropped.
    leases: Mutex<Vec<Lease>>,
}

impl<'c> Caches<'c> {
    /// Caches in the order in which they are asked for bytes. `subjects` are what
    /// hints are looked for by: see [`hints`].
    pub fn new(
        store: &'c Store,
        policy: &'c Policy,
        caches: &'c [Cache],
        subjects: hints::Subjects,
        (listener, cancel): (&'c dyn Listener, &'c Cancel),
    ) -> Result<Self, BuildError> {
        Ok(Self {
            store,
            policy,
            caches,
            subjects,
            listener,
            cancel,
            statements: Mutex::new(store.statements().map_err(store_error)?),
            hints: OnceLock::new(),
            believed: Mutex::default(),
            leases: Mutex::default(),
        })
    }

    /// Every claim about each of `asked` that the policy counts, from every cache,
    /// whether they agree or not.
    pub fn heard(&self, asked: &[Asked<'_>]) -> Result<Vec<Vec<Counted>>, BuildError> {
        ask::heard(self, asked)
    }

    fn alive(&self) -> impl Iterator<Item = &Cache> {
        self.caches.iter().filter(|cache| cache.is_alive())
    }

    /// Asks a cache no more, and says so once.
    fn skip(&self, cache: &Cache, why: &dyn std::fmt::Display) {
        if !cache.dead.swap(true, Ordering::Relaxed) && !self.cancel.is_cancelled() {
            self.listener.event(&Event::CacheSkipped {
                cache: cache.name.clone(),
                why: why.to_string(),
            });
        }
    }

    /// Asks a cache once whether it is in a form that this kiln knows; skips it if
    /// not.
    fn look_at(&self, cache: &Cache) {
        if !cache.is_alive() || cache.is_looked_at.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = version::read(&*cache.backend) {
            self.skip(cache, &error);
        }
    }

    /// Says that something a cache holds is not counted.
    fn doubt(&self, cache: &Cache, why: &dyn std::fmt::Display) {
        self.listener.event(&Event::ClaimRefused {
            cache: cache.name.clone(),
            why: why.to_string(),
        });
    }

    fn pull_from(&self, cache: &Cache, pull: &Pull<'_>) -> Result<u64, CacheError> {
        let meter = Meter {
            pull,
            bytes: AtomicU64::new(0),
            total: AtomicU64::new(0),
        };
        let trees: BTreeSet<TreeId> = pull.outputs.iter().map(|(_, tree)| *tree).collect();
        let trees: Vec<TreeId> = trees.into_iter().collect();
        let transfer = pull::Pull {
            backend: &*cache.backend,
            store: self.store,
            remembered: &cache.remembered,
            watch: &meter,
        };
        let leases = transfer.run(&trees)?;
        let mut held = self.leases.lock().unwrap_or_else(|e| e.into_inner());
        held.extend(leases);
        Ok(meter.bytes.into_inner())
    }
}

impl Others for Caches<'_> {
    fn claimed(&self, asked: &[Asked<'_>]) -> Result<Vec<Option<Claim>>, BuildError> {
        ask::claimed(self, asked)
    }

    fn pull(&self, pull: &Pull<'_>) -> Result<Pulled, PullError> {
        let mut gone = Vec::new();
        for cache in self.caches {
            // What was believed earlier is pulled without asking for anything else.
            self.look_at(cache);
            if !cache.is_alive() {
                continue;
            }
            match self.pull_from(cache, pull) {
                Ok(bytes) => {
                    // Registering syncs too, but only if a claim is new.
                    self.store.flush().map_err(own)?;
                    self.keep_claims().map_err(PullError::Own)?;
                    return Ok(Pulled {
                        from: cache.name.clone(),
                        bytes,
                    });
                }
                Err(CacheError::Cancelled) => {
                    let text = "it was asked to stop";
                    let error = BuildError::new(FailureClass::Cancelled, text);
                    return Err(PullError::Own(error));
                }
                Err(CacheError::Store(error)) => return Err(own(error)),
                Err(CacheError::Object(error)) => return Err(PullError::Own(object_error(&error))),
                Err(CacheError::Backend(error)) => {
                    self.skip(cache, &error);
                    gone.push(error.to_string());
                }
                Err(error) => gone.push(error.to_string()),
            }
        }
        Err(PullError::Gone(match gone.is_empty() {
            true => "no cache answers".to_owned(),
            false => gone.join("; "),
        }))
    }

    fn keep_claims(&self) -> Result<(), BuildError> {
        let believed =
            std::mem::take(&mut *self.believed.lock().unwrap_or_else(|e| e.into_inner()));
        self.store.register(&believed).map_err(store_error)
    }
}

fn own(error: StoreError) -> PullError {
    PullError::Own(store_error(error))
}

/// Counts a pull's bytes and tells how far it is.
struct Meter<'p> {
    pull: &'p Pull<'p>,
    bytes: AtomicU64,
    total: AtomicU64,
}

impl Watch for Meter<'_> {
    fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        let so_far = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.pull.listener.event(&Event::Downloaded {
            derivation: self.pull.subject.clone(),
            bytes: so_far,
            total_bytes: self.total.load(Ordering::Relaxed).max(so_far),
        });
    }

    fn is_cancelled(&self) -> bool {
        self.pull.cancel.is_cancelled()
    }
}
