//! One derivation: built again, varied, and judged.

use kiln_store::hash::TreeId;
use kiln_store::objects::ObjectError;
use kiln_store::realisation::OutputMap;
use serde::Serialize;

use super::bench::{Attempt, Bench, Made, Trial};
use super::cause::{self, Builds, Evidence, Found, Seen};
use super::factor::Factor;
use super::overlay::Overlay;
use super::site::Site;
use crate::build::error::BuildError;
use crate::build::{Job, object_error};
use crate::derivation::Builder;
use crate::event::Silent;
use crate::explain::{self, Clue, Difference, Explanation, What, Windows};
use crate::realise::world::Machine;

/// How much is done to find a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effort {
    /// Build once more.
    Rebuild,
    /// And once with all of these varied together.
    Together(Vec<Factor>),
    /// And once for each of these.
    Each(Vec<Factor>),
}

impl Effort {
    fn factors(&self) -> &[Factor] {
        match self {
            Effort::Rebuild => &[],
            Effort::Together(factors) | Effort::Each(factors) => factors,
        }
    }
}

/// A factor that was not varied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unvaried {
    /// Which.
    pub factor: Factor,
    /// Why not.
    pub why: String,
}

/// What changes the output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cause {
    /// The factors: one, or several that matter only together.
    pub factors: Vec<Factor>,
    /// How that was found.
    pub evidence: Evidence,
    /// How they were varied or held.
    pub how: Vec<String>,
    /// What usually mends it.
    pub mend: Vec<String>,
}

/// What can be said of a derivation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every build made what is in the store.
    Same,
    /// Some build made something else.
    Differs,
    /// The same when it could be built, but some build failed.
    Failed,
}

/// Two outputs that should be equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// The output's name.
    pub output: String,
    /// What was expected.
    pub expected: TreeId,
    /// What was made.
    pub got: TreeId,
    /// Where they differ; `None` if the bytes of one are gone.
    pub explanation: Option<Explanation>,
}

/// All that was found out about one derivation.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The judgement.
    pub outcome: Outcome,
    /// What the builder failed of, if it did.
    pub failure: Option<String>,
    /// Every build.
    pub trials: Vec<Trial>,
    /// What was asked to be varied, and could not be.
    pub unvaried: Vec<Unvaried>,
    /// What changes the output. May be empty although it differs: then the
    /// cause is none that kiln can vary or hold.
    pub causes: Vec<Cause>,
    /// The outputs of one pair of builds that differ.
    pub pairs: Vec<Pair>,
}

/// Builds `job` again on `site`, and compares with `expected`. Its listener hears of
/// every build when it is over, and of nothing else: what is built again is nobody's
/// progress.
pub fn check(
    machine: &Machine<'_>,
    site: &Site,
    job: &Job<'_>,
    expected: &OutputMap,
    effort: &Effort,
) -> Result<Verdict, BuildError> {
    let silent = Job {
        inputs: job.inputs.clone(),
        subject: job.subject.clone(),
        listener: &Silent,
        ..*job
    };
    let bench = Bench {
        machine,
        site,
        job: &silent,
        listener: job.listener,
        expected,
        attempts: Vec::new(),
    };
    let mut check = Check {
        bench,
        unvaried: Vec::new(),
        causes: Vec::new(),
        pairs: Vec::new(),
    };
    check.run(effort)?;
    Ok(check.verdict(effort.factors()))
}

struct Check<'a> {
    bench: Bench<'a>,
    unvaried: Vec<Unvaried>,
    causes: Vec<Found>,
    pairs: Vec<Pair>,
}

impl Check<'_> {
    fn run(&mut self, effort: &Effort) -> Result<(), BuildError> {
        let factors = self.possible(effort);
        let Seen::Made(first) = self.bench.build(&[], &[])? else {
            return Ok(());
        };
        if first == *self.bench.expected {
            return self.vary(effort, &factors, self.bench.expected.clone(), &[]);
        }
        let Seen::Made(second) = self.bench.build(&[], &[])? else {
            return Ok(());
        };
        match first == second {
            true => self.unlike_the_stored(),
            false => self.by_chance(effort, &factors),
        }
    }

    /// Those that can be varied here; why the others cannot is noted.
    fn possible(&mut self, effort: &Effort) -> Vec<Factor> {
        let Bench {
            machine, site, job, ..
        } = self.bench;
        let mut possible = Vec::new();
        for &factor in effort.factors() {
            let can = match &job.derivation.builder {
                Builder::Exec(exec) => site.can_vary(machine.store, job, exec, factor),
                _ => Err("it is built by kiln itself, and nothing runs in a sandbox".to_owned()),
            };
            match can {
                Ok(()) => possible.push(factor),
                Err(why) => self.unvaried.push(Unvaried { factor, why }),
            }
        }
        possible
    }

    /// Builds agree so far: varies what may change that.
    fn vary(
        &mut self,
        effort: &Effort,
        factors: &[Factor],
        base: OutputMap,
        held: &[Factor],
    ) -> Result<(), BuildError> {
        let factors: Vec<_> = factors
            .iter()
            .copied()
            .filter(|it| !held.contains(it))
            .collect();
        let groups: Vec<Vec<Factor>> = match effort {
            Effort::Each(_) => factors.iter().map(|&factor| vec![factor]).collect(),
            _ => vec![factors],
        };
        for group in groups {
            let known: Vec<_> = self
                .causes
                .iter()
                .flat_map(|it| it.factors.clone())
                .collect();
            let hidden = |factor: &Factor| cause::hidden_by(*factor, &known);
            let group: Vec<_> = group.into_iter().filter(|it| !hidden(it)).collect();
            let found = cause::circumstances(&mut self.bench, &base, &group, held)?;
            self.causes.extend(found);
        }
        if self.pairs.is_empty() {
            let differs = |it: &&Attempt| matches!(&it.seen, Seen::Made(made) if *made != base);
            if let Some(other) = self.bench.attempts.iter().find(differs).cloned() {
                let windows = Windows {
                    expected: None,
                    got: Some(other.window),
                };
                self.explain(&base, &other, &windows)?;
            }
        }
        Ok(())
    }

    /// Two builds differ although nothing was varied.
    fn by_chance(&mut self, effort: &Effort, factors: &[Factor]) -> Result<(), BuildError> {
        let [first, second] = [0, 1].map(|index| self.bench.attempts[index].clone());
        if let Seen::Made(expected) = &first.seen {
            let windows = Windows {
                expected: Some(first.window),
                got: Some(second.window),
            };
            self.explain(expected, &second, &windows)?;
        }
        let shown = self.shown_by_bytes();
        let candidates = self.to_be_held(&shown);
        match cause::chance(&mut self.bench, &candidates)? {
            Some(held) => {
                self.causes.push(Found {
                    factors: held.clone(),
                    evidence: Evidence::Held,
                });
                let base = self.bench.attempts.iter().rev().find_map(|it| {
                    let Seen::Made(made) = &it.seen else {
                        return None;
                    };
                    (it.held == held).then(|| made.clone())
                });
                match base {
                    Some(base) => self.vary(effort, factors, base, &held),
                    None => Ok(()),
                }
            }
            None => {
                let evidence = Evidence::Bytes;
                self.causes.extend(shown.into_iter().map(|factor| Found {
                    factors: vec![factor],
                    evidence,
                }));
                Ok(())
            }
        }
    }

    /// What can be held still here, what the bytes show first.
    fn to_be_held(&self, shown: &[Factor]) -> Vec<Factor> {
        let scripted = matches!(self.bench.job.derivation.builder, Builder::Exec(_));
        let mut candidates = Vec::new();
        for &factor in shown.iter().chain(&Factor::HELD) {
            let can = scripted && self.bench.site.can_hold(factor).is_ok();
            if can && !candidates.contains(&factor) {
                candidates.push(factor);
            }
        }
        candidates
    }

    /// Builds agree with each other, but not with what is in the store: which
    /// circumstance did that build have?
    fn unlike_the_stored(&mut self) -> Result<(), BuildError> {
        let Bench {
            machine, site, job, ..
        } = self.bench;
        if let Builder::Exec(exec) = &job.derivation.builder {
            for factor in Factor::varied() {
                if site.can_vary(machine.store, job, exec, factor).is_err() {
                    continue;
                }
                if self.bench.build(&[factor], &[])? == Seen::Made(self.bench.expected.clone()) {
                    self.causes.push(Found {
                        factors: vec![factor],
                        evidence: Evidence::Restored,
                    });
                    break;
                }
            }
        }
        let first = self.bench.attempts[0].clone();
        let windows = Windows {
            expected: None,
            got: Some(first.window),
        };
        let expected = self.bench.expected.clone();
        self.explain(&expected, &first, &windows)
    }

    fn explain(
        &mut self,
        expected: &OutputMap,
        got: &Attempt,
        windows: &Windows,
    ) -> Result<(), BuildError> {
        let Seen::Made(made) = &got.seen else {
            return Ok(());
        };
        let objects = Overlay {
            upper: self.bench.site.store(),
            lower: self.bench.machine.store,
        };
        for ((output, expected), (_, got)) in expected.iter().zip(made) {
            if expected == got {
                continue;
            }
            let limits = explain::Limits::default();
            let explanation = match explain::compare(&objects, expected, got, windows, &limits) {
                Ok(explanation) => Some(explanation),
                // The store may have let the bytes go, and still knows them.
                Err(ObjectError::Missing { .. }) => None,
                Err(error) => return Err(object_error(&error)),
            };
            self.pairs.push(Pair {
                output: output.clone(),
                expected: *expected,
                got: *got,
                explanation,
            });
        }
        Ok(())
    }

    /// Factors that the differing bytes show, the surest first.
    fn shown_by_bytes(&self) -> Vec<Factor> {
        let explained = self
            .pairs
            .iter()
            .filter_map(|pair| pair.explanation.as_ref());
        let differences = explained.flat_map(|it| &it.differences);
        let mut shown: Vec<_> = differences.flat_map(suspects).collect();
        shown.sort_by_key(|&(rank, _)| rank);
        let mut factors = Vec::new();
        for (_, factor) in shown {
            if !factors.contains(&factor) {
                factors.push(factor);
            }
        }
        factors
    }

    /// What could not be judged because of a cause that was found.
    fn hidden(&self, asked: &[Factor]) -> Vec<Unvaried> {
        let causes = self.causes.iter().flat_map(|it| it.factors.iter().copied());
        let causes: Vec<_> = causes.collect();
        let hidden =
            |factor: &&Factor| !causes.contains(factor) && cause::hidden_by(**factor, &causes);
        let say = |factor: &Factor| {
            let by: Vec<_> = factor
                .implies()
                .iter()
                .filter(|it| causes.contains(it))
                .collect();
            let by: Vec<_> = by.iter().map(|it| it.name()).collect();
            Unvaried {
                factor: *factor,
                why: format!(
                    "varying it changes {} too, on which the output depends; mend that first",
                    by.join(" and ")
                ),
            }
        };
        asked.iter().filter(hidden).map(say).collect()
    }

    fn verdict(mut self, asked: &[Factor]) -> Verdict {
        let hidden = self.hidden(asked);
        self.unvaried
            .retain(|it| !hidden.iter().any(|other| other.factor == it.factor));
        self.unvaried.extend(hidden);
        let failed = self.bench.attempts.iter().find_map(|it| match &it.seen {
            Seen::Failed(why) => Some(why.clone()),
            Seen::Made(_) => None,
        });
        let site = self.bench.site;
        let causes = self
            .causes
            .iter()
            .map(|found| cause_of(site, found))
            .collect();
        let attempts = self.bench.attempts.iter();
        let trials: Vec<Trial> = attempts.map(|it| self.bench.trial(it)).collect();
        // With something held still the output may be another one: that is no
        // difference between builds.
        let differs = trials
            .iter()
            .any(|it| it.held.is_empty() && it.result == Made::Differs);
        let outcome = match (differs, &failed) {
            (true, _) => Outcome::Differs,
            (false, Some(_)) => Outcome::Failed,
            (false, None) => Outcome::Same,
        };
        Verdict {
            outcome,
            failure: failed,
            trials,
            unvaried: self.unvaried,
            causes,
            pairs: self.pairs,
        }
    }
}

fn cause_of(site: &Site, found: &Found) -> Cause {
    let of = |text: fn(Factor) -> &'static str| {
        found
            .factors
            .iter()
            .map(|&factor| text(factor).to_owned())
            .collect()
    };
    Cause {
        factors: found.factors.clone(),
        evidence: found.evidence,
        how: found
            .factors
            .iter()
            .map(|&factor| site.how(factor))
            .collect(),
        mend: of(Factor::mend),
    }
}

/// What a difference lets one suspect, with how little that says.
fn suspects(difference: &Difference) -> Vec<(u8, Factor)> {
    let clues = difference.clues.iter().filter_map(|clue| match clue {
        Clue::TimeOfBuild { .. } => Some((0, Factor::Clock)),
        Clue::Pointer { .. } => Some((1, Factor::AddressSpace)),
        Clue::ModTime | Clue::Times { .. } => Some((2, Factor::Clock)),
        Clue::RandomLooking { .. } | Clue::TemporaryName { .. } => Some((3, Factor::Random)),
        Clue::OtherOrder { .. } => Some((4, Factor::Jobs)),
        _ => None,
    });
    let order = (difference.what == What::Order).then_some((4, Factor::Jobs));
    clues.chain(order).collect()
}
