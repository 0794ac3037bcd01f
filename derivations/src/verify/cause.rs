//! Which factors change an output: a search that builds as seldom as it can.
//!
//! Pure but for the builds, which it asks for. Two kinds of difference:
//!
//! - *By chance*: two builds under the same circumstances differ. What no two
//!   builds share (time, addresses, random numbers, scheduling) is held still
//!   until they no longer do.
//! - *By circumstance*: builds agree until something is varied. All is varied
//!   at once; if that shows, halves of it, until one factor is left (or several
//!   that matter only together). Then the rest is tried again without them.

use super::factor::Factor;

/// What came of building once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen<T> {
    /// It made this.
    Made(T),
    /// Its builder failed, for this reason.
    Failed(String),
}

/// Something that builds.
pub trait Builds {
    /// What two builds are compared by.
    type Output: Clone + PartialEq;
    /// A failure of the machine, which ends the search.
    type Error;

    /// Builds with `varied` unlike the ordinary and `held` not left to chance.
    fn build(
        &mut self,
        varied: &[Factor],
        held: &[Factor],
    ) -> Result<Seen<Self::Output>, Self::Error>;
}

/// How a cause was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Builds that differed agree when it is held still.
    Held,
    /// Builds that agreed differ when it is varied.
    Varied,
    /// The build fails when it is varied.
    Fails,
    /// Builds with it varied make what was made elsewhere.
    Restored,
    /// The differing bytes show it.
    Bytes,
}

/// Factors that, together, change the output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The factors; nearly always one.
    pub factors: Vec<Factor>,
    /// How they were found.
    pub evidence: Evidence,
}

/// What to hold still so that two builds agree, from what can be held, the
/// likeliest first; `None` if they differ whatever is held.
pub fn chance<B: Builds>(
    builds: &mut B,
    candidates: &[Factor],
) -> Result<Option<Vec<Factor>>, B::Error> {
    for &factor in candidates {
        if agree(builds, &[factor])? {
            return Ok(Some(vec![factor]));
        }
    }
    if candidates.len() < 2 || !agree(builds, candidates)? {
        return Ok(None);
    }
    // All together do; what can be let go without a difference is no cause.
    let mut held = candidates.to_vec();
    for &factor in candidates {
        let fewer: Vec<_> = held.iter().copied().filter(|it| *it != factor).collect();
        if agree(builds, &fewer)? {
            held = fewer;
        }
    }
    Ok(Some(held))
}

fn agree<B: Builds>(builds: &mut B, held: &[Factor]) -> Result<bool, B::Error> {
    let Seen::Made(first) = builds.build(&[], held)? else {
        return Ok(false);
    };
    // Chance may agree once; a random bit does so half of the time.
    for _ in 0..2 {
        if builds.build(&[], held)? != Seen::Made(first.clone()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every cause among `factors` for builds to make anything but `base`, with
/// `held` still. An empty list says that all were varied, and `base` was made.
pub fn circumstances<B: Builds>(
    builds: &mut B,
    base: &B::Output,
    factors: &[Factor],
    held: &[Factor],
) -> Result<Vec<Found>, B::Error> {
    let mut rest = factors.to_vec();
    rest.retain(|factor| !hidden_by(*factor, held));
    let mut causes = Vec::new();
    while !rest.is_empty() {
        let seen = builds.build(&rest, held)?;
        let evidence = match seen {
            Seen::Made(made) if made == *base => break,
            Seen::Made(_) => Evidence::Varied,
            Seen::Failed(_) => Evidence::Fails,
        };
        let mut shows = |varied: &[Factor]| -> Result<bool, B::Error> {
            Ok(match (builds.build(varied, held)?, evidence) {
                (Seen::Made(made), Evidence::Varied) => made != *base,
                (Seen::Failed(_), Evidence::Fails) => true,
                _ => false,
            })
        };
        let found = smallest(&mut shows, &rest, &[])?;
        rest.retain(|factor| !found.contains(factor) && !hidden_by(*factor, &found));
        causes.push(Found {
            factors: found,
            evidence,
        });
    }
    Ok(causes)
}

/// Whether varying `factor` also varies something that is known to matter, so
/// that it cannot be told what it matters itself.
pub fn hidden_by(factor: Factor, known: &[Factor]) -> bool {
    factor
        .implies()
        .iter()
        .any(|implied| known.contains(implied))
}

/// A part of `suspects`, as small as halving finds it, that shows together with
/// `always`. That all of them together show is known.
fn smallest<E>(
    shows: &mut impl FnMut(&[Factor]) -> Result<bool, E>,
    suspects: &[Factor],
    always: &[Factor],
) -> Result<Vec<Factor>, E> {
    if suspects.len() < 2 {
        return Ok(suspects.to_vec());
    }
    let (left, right) = suspects.split_at(suspects.len() / 2);
    for half in [left, right] {
        if shows(&[half, always].concat())? {
            return smallest(shows, half, always);
        }
    }
    // Only both halves together: what is needed of each, given the other.
    let mut found = smallest(shows, left, &[right, always].concat())?;
    let needed = [found.as_slice(), always].concat();
    found.extend(smallest(shows, right, &needed)?);
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Factor::{AddressSpace, Clock, HostName, Jobs, Locale, Random, Umask, User};

    /// A builder whose output is a function of what is varied and held, and of
    /// a number that no two builds share.
    struct Fake<F> {
        make: F,
        count: u32,
    }

    impl<F: Fn(&[Factor], &[Factor], u32) -> Seen<String>> Builds for Fake<F> {
        type Output = String;
        type Error = ();

        fn build(&mut self, varied: &[Factor], held: &[Factor]) -> Result<Seen<String>, ()> {
            self.count += 1;
            Ok((self.make)(varied, held, self.count))
        }
    }

    fn check(
        make: impl Fn(&[Factor], &[Factor], u32) -> Seen<String>,
        expected: &[(&[Factor], Evidence)],
        most_builds: u32,
    ) {
        let mut fake = Fake { make, count: 0 };
        let factors: Vec<_> = Factor::varied().collect();
        let base = String::new();
        let found = circumstances(&mut fake, &base, &factors, &[]).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.factors.as_slice(), it.evidence))
            .collect();
        assert_eq!(found, expected);
        assert!(fake.count <= most_builds, "{} builds", fake.count);
    }

    fn made(text: impl Into<String>) -> Seen<String> {
        Seen::Made(text.into())
    }

    fn names(varied: &[Factor], seen: &[Factor]) -> Seen<String> {
        let both = varied.iter().filter(|factor| seen.contains(factor));
        made(both.map(|factor| factor.name()).collect::<String>())
    }

    #[test]
    fn one_build_clears_all_that_do_not_matter() {
        check(|_, _, _| made(""), &[], 1);
    }

    #[test]
    fn every_single_cause_is_found_alone() {
        for factor in Factor::varied() {
            let make = |varied: &[Factor], _: &[Factor], _| names(varied, &[factor]);
            check(make, &[(&[factor], Evidence::Varied)], 12);
        }
    }

    #[test]
    fn several_causes_are_found_one_after_the_other() {
        check(
            |varied, _, _| names(varied, &[User, Jobs]),
            &[(&[User], Evidence::Varied), (&[Jobs], Evidence::Varied)],
            24,
        );
    }

    #[test]
    fn causes_that_matter_only_together_are_found_together() {
        check(
            |varied, _, _| match varied.contains(&HostName) && varied.contains(&Jobs) {
                true => made("both"),
                false => made(""),
            },
            &[(&[HostName, Jobs], Evidence::Varied)],
            40,
        );
    }

    #[test]
    fn what_makes_the_build_fail_is_no_difference() {
        check(
            |varied, _, _| match varied.contains(&Umask) {
                true => Seen::Failed("no".to_owned()),
                false => names(varied, &[Locale]),
            },
            &[(&[Umask], Evidence::Fails), (&[Locale], Evidence::Varied)],
            30,
        );
    }

    fn check_chance(
        make: impl Fn(&[Factor], &[Factor], u32) -> Seen<String>,
        expected: Option<&[Factor]>,
    ) {
        let mut fake = Fake { make, count: 0 };
        let found = chance(&mut fake, &Factor::HELD).unwrap();
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn chance_is_held_still() {
        let unless = |hold: &'static [Factor]| {
            move |_: &[Factor], held: &[Factor], count: u32| match hold
                .iter()
                .all(|factor| held.contains(factor))
            {
                true => made("same"),
                false => made(count.to_string()),
            }
        };
        check_chance(unless(&[Random]), Some(&[Random]));
        check_chance(unless(&[Clock, AddressSpace]), Some(&[Clock, AddressSpace]));
        check_chance(|_, _, count: u32| made(count.to_string()), None);
    }
}
