//! Which keys count, for what, and how many must agree.
//!
//! Claims are compared under one recipe key C. Those count that are rightly
//! signed by a key that the policy lists, for a name and a build platform that it
//! lists the key for. If two that count name different outputs, that is a
//! conflict, whatever the majority: one of two trusted builders is wrong. Else at
//! least `require` of them must be pairwise distinct: they differ in *every*
//! attribute of `distinct`, by what the policy says of their keys, never by what
//! the claims say of themselves.

use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};

use super::key::PublicKey;
use super::statement::{Standing, Statements};
use crate::hash::RecipeKey;
use crate::realisation::{OutputMap, SignedRealisation};

/// The attribute of a key that says where its builder runs.
pub const BUILD_PLATFORM: &str = "build-platform";
/// The build platform of claims about what kiln's own code makes, the same
/// everywhere.
pub const ANY_PLATFORM: &str = "any";

/// A key that counts.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Who it is, by attribute: `operator`, `build-platform` and what else the
    /// policy wants to tell apart.
    pub attributes: BTreeMap<String, String>,
    /// Names of derivations that it counts for; empty for all.
    names: Vec<GlobMatcher>,
}

impl TrustedKey {
    /// A key that counts for names that one of `names`, globs, matches; for all
    /// if there is none.
    pub fn new(
        key: PublicKey,
        attributes: BTreeMap<String, String>,
        names: &[String],
    ) -> Result<Self, globset::Error> {
        let compile = |glob: &String| Glob::new(glob).map(|glob| glob.compile_matcher());
        Ok(Self {
            key,
            attributes,
            names: names.iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    fn counts_for(&self, name: &str, platform: &str) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|glob| glob.is_match(name));
        let own = self.attributes.get(BUILD_PLATFORM);
        let here = own.is_none_or(|own| platform == ANY_PLATFORM || same_platform(own, platform));
        named && here
    }
}

/// A policy says `x86_64`, a claim `x86_64-linux`.
fn same_platform(said: &str, claimed: &str) -> bool {
    claimed == said || claimed.strip_suffix("-linux") == Some(said)
}

/// Whom to believe.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// How many claims must agree; 0 counts as 1.
    pub require: usize,
    /// In which attributes those must differ.
    pub distinct: Vec<String>,
    /// Whose claims count.
    pub keys: Vec<TrustedKey>,
}

/// A claim that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The claim.
    pub claim: SignedRealisation,
    /// The key that the policy knows it by: after a rotation not the one that
    /// signed it.
    pub key: PublicKey,
}

/// Why a claim does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discounted {
    /// It is about another recipe.
    OtherRecipe,
    /// It is not signed.
    Unsigned,
    /// The signature is not its key's.
    Forged,
    /// The policy does not list the key.
    UnknownKey,
    /// The policy lists the key for other names or platforms.
    NotForThis,
    /// The key has said that it is no longer to be believed.
    Revoked,
}

/// What the claims about a recipe come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Enough of those that count agree.
    Agreed {
        /// On these outputs.
        outputs: OutputMap,
        /// The claims that were enough, pairwise distinct.
        by: Vec<Counted>,
    },
    /// Too few.
    TooFew {
        /// How many distinct ones there are.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// Two that count contradict each other.
    Conflict(Box<(Counted, Counted)>),
}

impl Policy {
    /// Whether anything at all could be believed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What `claims` come to, about the derivation called `name` with the recipe
    /// key `recipe`.
    pub fn judge(
        &self,
        statements: &Statements,
        name: &str,
        recipe: &RecipeKey,
        claims: &[SignedRealisation],
    ) -> Judgement {
        let mut counted: Vec<Counted> = Vec::new();
        for claim in claims {
            let Ok(known) = self.count(statements, name, recipe, claim) else {
                continue;
            };
            let one = Counted {
                claim: claim.clone(),
                key: known.key,
            };
            let outputs = &claim.realisation.outputs;
            if let Some(other) = counted
                .iter()
                .find(|other| other.claim.realisation.outputs != *outputs)
            {
                return Judgement::Conflict(Box::new((other.clone(), one)));
            }
            counted.push(one);
        }
        self.enough(counted)
    }

    /// The listed key that `claim` counts for, or why it does not.
    pub fn count(
        &self,
        statements: &Statements,
        name: &str,
        recipe: &RecipeKey,
        claim: &SignedRealisation,
    ) -> Result<&TrustedKey, Discounted> {
        if claim.realisation.recipe != *recipe {
            return Err(Discounted::OtherRecipe);
        }
        let signer = match claim.signer() {
            Ok(Some(signer)) => signer,
            Ok(None) => return Err(Discounted::Unsigned),
            Err(_) => return Err(Discounted::Forged),
        };
        let known = match statements.standing(&signer) {
            Standing::Revoked => return Err(Discounted::Revoked),
            Standing::Good(keys) => keys
                .iter()
                .find_map(|key| self.keys.iter().find(|known| known.key == *key)),
        };
        let known = known.ok_or(Discounted::UnknownKey)?;
        match known.counts_for(name, &claim.realisation.build_platform) {
            true => Ok(known),
            false => Err(Discounted::NotForThis),
        }
    }

    fn enough(&self, counted: Vec<Counted>) -> Judgement {
        let need = self.require.max(1);
        let by = self.most_distinct(&counted, need);
        match by.first() {
            Some(first) if by.len() >= need => Judgement::Agreed {
                outputs: first.claim.realisation.outputs.clone(),
                by,
            },
            _ => Judgement::TooFew {
                have: by.len(),
                need,
            },
        }
    }

    /// As many pairwise distinct claims as there are, `need` at most.
    fn most_distinct(&self, counted: &[Counted], need: usize) -> Vec<Counted> {
        let mut best: Vec<usize> = Vec::new();
        self.extend(counted, need, 0, &mut Vec::new(), &mut best);
        best.into_iter().map(|at| counted[at].clone()).collect()
    }

    /// Tries every set; policies list few keys.
    fn extend(
        &self,
        counted: &[Counted],
        need: usize,
        from: usize,
        chosen: &mut Vec<usize>,
        best: &mut Vec<usize>,
    ) {
        if chosen.len() > best.len() {
            best.clone_from(chosen);
        }
        for at in from..counted.len() {
            if best.len() >= need || chosen.len() + (counted.len() - at) <= best.len() {
                return;
            }
            let fits = |other: &usize| self.are_distinct(&counted[*other].key, &counted[at].key);
            if chosen.iter().all(fits) {
                chosen.push(at);
                self.extend(counted, need, at + 1, chosen, best);
                chosen.pop();
            }
        }
    }

    fn are_distinct(&self, one: &PublicKey, other: &PublicKey) -> bool {
        let of = |key: &PublicKey| self.keys.iter().find(|known| known.key == *key);
        let (Some(a), Some(b)) = (of(one), of(other)) else {
            return false;
        };
        // A key that the policy says nothing of is not known to differ.
        let differs = |name: &String| match (a.attributes.get(name), b.attributes.get(name)) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        one != other && self.distinct.iter().all(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::SecretKey;
    use super::super::signature::fixture::claim;
    use super::super::statement::Statement;
    use super::*;

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    /// Keys 1, 2, … with their operator and build platform.
    fn policy(require: usize, distinct: &[&str], keys: &[(&str, &str)]) -> Policy {
        let key = |(seed, (operator, platform)): (u8, &(&str, &str))| {
            let mut attributes = BTreeMap::from([("operator".to_owned(), (*operator).to_owned())]);
            if !platform.is_empty() {
                attributes.insert(BUILD_PLATFORM.to_owned(), (*platform).to_owned());
            }
            TrustedKey::new(secret(seed).public(), attributes, &[]).expect("no glob")
        };
        Policy {
            require,
            distinct: distinct.iter().map(|&it| it.to_owned()).collect(),
            keys: (1..).zip(keys).map(key).collect(),
        }
    }

    /// The claim of key `by` that recipe 1 gives `output`.
    fn said(by: u8, output: u8, platform: &str) -> SignedRealisation {
        claim(1, output, platform).signed_by(&secret(by))
    }

    fn judge(policy: &Policy, claims: &[SignedRealisation]) -> String {
        let recipe = claim(1, 0, "x").recipe;
        match policy.judge(&Statements::default(), "musl", &recipe, claims) {
            Judgement::Agreed { outputs, by } => {
                format!("{} by {}", outputs[0].1.digest().short(), by.len())
            }
            Judgement::TooFew { have, need } => format!("{have} of {need}"),
            Judgement::Conflict(_) => "conflict".to_owned(),
        }
    }

    const X86: &str = "x86_64-linux";
    const ARM: &str = "aarch64-linux";

    #[test]
    fn one_listed_key_is_enough_if_one_is_required() {
        let policy = policy(1, &[], &[("ci", "")]);
        assert_eq!(judge(&policy, &[said(1, 7, X86)]), "070707070707 by 1");
        assert_eq!(judge(&policy, &[said(2, 7, X86)]), "0 of 1");
        assert_eq!(judge(&policy, &[]), "0 of 1");
        assert_eq!(judge(&Policy::default(), &[said(1, 7, X86)]), "0 of 1");
    }

    #[test]
    fn what_does_not_count_changes_nothing() {
        let policy = policy(1, &[], &[("ci", "")]);
        let good = said(1, 7, X86);
        let mut forged = said(1, 8, X86);
        forged.realisation.facts.clear();
        let mut stripped = said(1, 8, X86);
        (stripped.realisation.key, stripped.signature) = (None, None);
        let another_recipe = claim(2, 8, X86).signed_by(&secret(1));
        for bad in [forged, stripped, another_recipe, said(2, 8, X86)] {
            assert_eq!(judge(&policy, std::slice::from_ref(&bad)), "0 of 1");
            assert_eq!(judge(&policy, &[bad, good.clone()]), "070707070707 by 1");
        }
    }

    #[test]
    fn a_contradiction_stops_whatever_the_majority() {
        let policy = policy(1, &[], &[("a", ""), ("b", ""), ("c", "")]);
        let claims = [said(1, 7, X86), said(2, 7, X86), said(3, 8, X86)];
        assert_eq!(judge(&policy, &claims[..2]), "070707070707 by 1");
        assert_eq!(judge(&policy, &claims), "conflict");
        // One key that says two things contradicts itself.
        assert_eq!(
            judge(&policy, &[said(1, 7, X86), said(1, 8, ARM)]),
            "conflict"
        );
    }

    #[test]
    fn claims_are_distinct_by_what_the_policy_says_of_their_keys() {
        let keys = [("ci", "x86_64"), ("ci", "aarch64"), ("alice", "x86_64")];
        let claims = [said(1, 7, X86), said(2, 7, ARM), said(3, 7, X86)];
        let both = ["operator", "build-platform"];
        for (distinct, chosen, expected) in [
            (&["build-platform"][..], &[0, 1][..], "070707070707 by 2"),
            (&["build-platform"], &[0, 2], "1 of 2"),
            (&["operator"], &[0, 1], "1 of 2"),
            (&["operator"], &[0, 2], "070707070707 by 2"),
            (&both, &[0, 1], "1 of 2"),
            (&both, &[0, 1, 2], "070707070707 by 2"),
            // The same key twice is one.
            (&[], &[0, 0], "1 of 2"),
            (&["colour"], &[0, 1, 2], "1 of 2"),
        ] {
            let claims: Vec<_> = chosen.iter().map(|&at| claims[at].clone()).collect();
            let judged = judge(&policy(2, distinct, &keys), &claims);
            assert_eq!(judged, expected, "{distinct:?} {chosen:?}");
        }
    }

    #[test]
    fn a_key_counts_only_for_the_platform_and_the_names_it_is_listed_for() {
        let mut policy = policy(1, &[], &[("ci", "x86_64")]);
        assert_eq!(judge(&policy, &[said(1, 7, ARM)]), "0 of 1");
        assert_eq!(judge(&policy, &[said(1, 7, "any")]), "070707070707 by 1");
        let key = &policy.keys[0];
        let (key, attributes) = (key.key, key.attributes.clone());
        for (names, expected) in [("linux*", "0 of 1"), ("mus*", "070707070707 by 1")] {
            let names = [names.to_owned()];
            let key = TrustedKey::new(key, attributes.clone(), &names).expect("a glob");
            policy.keys = vec![key];
            assert_eq!(judge(&policy, &[said(1, 7, X86)]), expected);
        }
    }

    #[test]
    fn a_successor_counts_as_the_key_it_follows_and_a_revoked_one_not() {
        let policy = policy(1, &[], &[("ci", "")]);
        let recipe = claim(1, 0, "x").recipe;
        let mut statements = Statements::default();
        let follow = Statement::succeeded(&secret(1), 1, secret(2).public());
        statements.learn(&follow).expect("it is signed");
        let by_new = policy.judge(&statements, "musl", &recipe, &[said(2, 7, X86)]);
        let Judgement::Agreed { by, .. } = by_new else {
            panic!("{by_new:?}")
        };
        assert_eq!(by[0].key, secret(1).public());
        let gone = Statement::revoked(&secret(2), 1);
        statements.learn(&gone).expect("it is signed");
        assert_eq!(
            policy
                .count(&statements, "musl", &recipe, &said(2, 7, X86))
                .err(),
            Some(Discounted::Revoked)
        );
    }
}
