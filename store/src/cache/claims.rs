//! Claims in a cache: each signed realisation, and what keys say of themselves,
//! under a name that follows from its recipe and its signer.
//!
//! ```text
//! claims/HH/C/KEY         one signed realisation: C its recipe key, HH the first
//!                         two digits of C, KEY the signer's 64 digits
//! keys/KEY                the newest statement of this key
//! ```
//!
//! A reader knows from its policy whose claims count, and so asks for exactly
//! those: there is nothing to list, two signers never write the same file, and
//! what somebody else puts under a name is refused when it is read. A signer
//! keeps to its first claim: one that contradicts it is not written over it.

use super::backend::{Backend, BackendError};
use super::name::Name;
use super::small;
use crate::hash::RecipeKey;
use crate::realisation::{RealisationError, SignedRealisation};
use crate::trust::key::PublicKey;
use crate::trust::statement::{Statement, StatementError};

/// Where claims lie.
pub const CLAIMS: &str = "claims";
/// Where keys say something of themselves.
pub const KEYS: &str = "keys";
/// Where hints lie.
pub const HINTS: &str = "hints";
/// The largest claim that is read, in bytes: a thousand outputs.
const MAX_CLAIM_BYTES: u64 = 1 << 17;
/// The largest statement that is read, in bytes.
const MAX_STATEMENT_BYTES: u64 = 256;

/// Why a claim could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The server.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// What stands there is no realisation.
    #[error("{place}: `{name}` is damaged: {source}")]
    Damaged {
        /// Which cache.
        place: String,
        /// Which file.
        name: Name,
        /// How.
        source: RealisationError,
    },
    /// What stands there is another's claim, or about something else.
    #[error("{place}: `{name}` is not what its name says: {why}")]
    Misplaced {
        /// Which cache.
        place: String,
        /// Which file.
        name: Name,
        /// How.
        why: String,
    },
    /// What stands there is no statement of the key.
    #[error("{place}: `{name}`: {source}")]
    Statement {
        /// Which cache.
        place: String,
        /// Which file.
        name: Name,
        /// Why not.
        source: StatementError,
    },
    /// The signer has claimed something else before.
    #[error(
        "{place} has a claim of this key that contradicts the new one about recipe {}; \
         the first one stays: see `kiln verify --caches`",
        .claims.0.realisation.recipe
    )]
    Contradicts {
        /// Which cache.
        place: String,
        /// The claim that is there, and the new one.
        claims: Box<(SignedRealisation, SignedRealisation)>,
    },
    /// It is not signed.
    #[error("only signed claims can be shared")]
    Unsigned,
}

/// What came of writing a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is there now.
    New,
    /// The same outputs were claimed before; that claim stays.
    Known,
}

/// The name of `key`'s claim about `recipe`.
pub fn claim_name(recipe: &RecipeKey, key: &PublicKey) -> Name {
    known_name(format!("{}{}", claims_of(recipe), key.hex()))
}

/// What the names of all claims about `recipe` begin with; the signer follows.
pub fn claims_of(recipe: &RecipeKey) -> String {
    let recipe = recipe.to_string();
    format!("{CLAIMS}/{}/{recipe}/", &recipe[..2])
}

/// The name of `key`'s statement.
pub fn statement_name(key: &PublicKey) -> Name {
    known_name(format!("{KEYS}/{}", key.hex()))
}

/// Whose claim a file is by its name, if it is one's.
pub fn signer_in(name: &Name) -> Option<PublicKey> {
    let mut parts = name.as_str().rsplit('/');
    let (key, recipe) = (parts.next()?, parts.next()?);
    let key = format!("ed25519:{key}").parse().ok()?;
    let recipe = RecipeKey(recipe.parse().ok()?);
    (claim_name(&recipe, &key) == *name).then_some(key)
}

fn known_name(text: String) -> Name {
    match Name::new(text) {
        Ok(name) => name,
        Err(error) => unreachable!("made of digests: {error}"),
    }
}

/// Reads `key`'s claim about `recipe`. Its signature is right and it is about
/// what was asked; whether the key counts is the policy's question.
pub fn read(
    backend: &dyn Backend,
    recipe: &RecipeKey,
    key: &PublicKey,
) -> Result<Option<SignedRealisation>, ClaimError> {
    let name = claim_name(recipe, key);
    let Some(bytes) = small::read(backend, &name, MAX_CLAIM_BYTES)? else {
        return Ok(None);
    };
    let place = backend.place();
    let claim = match SignedRealisation::decode(&bytes) {
        Ok(claim) => claim,
        Err(source) => {
            return Err(ClaimError::Damaged {
                place,
                name,
                source,
            });
        }
    };
    let misplaced = |why: &str| ClaimError::Misplaced {
        place,
        name,
        why: why.to_owned(),
    };
    match claim.signer() {
        _ if claim.realisation.recipe != *recipe => Err(misplaced("it is about another recipe")),
        Ok(Some(signer)) if signer == *key => Ok(Some(claim)),
        Ok(Some(_)) => Err(misplaced("it is another key's")),
        Ok(None) => Err(misplaced("it is not signed")),
        Err(_) => Err(misplaced("its signature is forged")),
    }
}

/// Writes a claim; the signer's first one about a recipe stays.
pub fn write(backend: &dyn Backend, claim: &SignedRealisation) -> Result<Written, ClaimError> {
    let Ok(Some(key)) = claim.signer() else {
        return Err(ClaimError::Unsigned);
    };
    let recipe = &claim.realisation.recipe;
    match read(backend, recipe, &key) {
        Ok(Some(first)) if first.realisation.outputs != claim.realisation.outputs => {
            return Err(ClaimError::Contradicts {
                place: backend.place(),
                claims: Box::new((first, claim.clone())),
            });
        }
        Ok(Some(_)) => return Ok(Written::Known),
        Ok(None) => {}
        // What is damaged or another's is nobody's claim, and in the way.
        Err(ClaimError::Damaged { .. } | ClaimError::Misplaced { .. }) => {}
        Err(error) => return Err(error),
    }
    small::write(backend, &claim_name(recipe, &key), &claim.encode())?;
    Ok(Written::New)
}

/// Reads what `key` says of itself. The signature is the caller's to check, by
/// learning it.
pub fn read_statement(
    backend: &dyn Backend,
    key: &PublicKey,
) -> Result<Option<Statement>, ClaimError> {
    let name = statement_name(key);
    let Some(bytes) = small::read(backend, &name, MAX_STATEMENT_BYTES)? else {
        return Ok(None);
    };
    let refuse = |source| ClaimError::Statement {
        place: backend.place(),
        name: name.clone(),
        source,
    };
    Statement::decode(&bytes).map(Some).map_err(refuse)
}

/// Writes what `key` says of itself.
pub fn write_statement(
    backend: &dyn Backend,
    key: &PublicKey,
    statement: &Statement,
) -> Result<(), ClaimError> {
    Ok(small::write(
        backend,
        &statement_name(key),
        &statement.encode(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::memory::Memory;
    use crate::trust::key::SecretKey;
    use crate::trust::signature::fixture::claim;

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    fn signed(by: u8, recipe: u8, output: u8) -> SignedRealisation {
        claim(recipe, output, "x86_64-linux").signed_by(&secret(by))
    }

    #[test]
    fn a_claim_is_found_by_recipe_and_signer() {
        let cache = Memory::default();
        let one = signed(1, 1, 7);
        let recipe = one.realisation.recipe;
        assert_eq!(write(&cache, &one).expect("it is new"), Written::New);
        assert_eq!(write(&cache, &one).expect("it is there"), Written::Known);
        let found = read(&cache, &recipe, &secret(1).public());
        assert_eq!(found.expect("it is right"), Some(one));
        let others = read(&cache, &recipe, &secret(2).public());
        assert_eq!(others.expect("there is none"), None);
    }

    #[test]
    fn the_first_claim_of_a_signer_stays() {
        let cache = Memory::default();
        let first = signed(1, 1, 7);
        write(&cache, &first).expect("it is new");
        let error = write(&cache, &signed(1, 1, 8)).expect_err("it contradicts");
        assert!(matches!(error, ClaimError::Contradicts { .. }), "{error}");
        // Another signer may say something else; readers stop at that.
        write(&cache, &signed(2, 1, 8)).expect("it is another's");
        let recipe = first.realisation.recipe;
        let found = read(&cache, &recipe, &secret(1).public());
        assert_eq!(found.expect("it is right"), Some(first));
    }

    #[test]
    fn what_is_not_what_its_name_says_is_refused_and_may_be_replaced() {
        let good = signed(1, 1, 7);
        let (recipe, key) = (good.realisation.recipe, secret(1).public());
        let mut forged = good.clone();
        forged.realisation.facts.clear();
        let mut stripped = good.clone();
        (stripped.realisation.key, stripped.signature) = (None, None);
        for (bytes, why) in [
            (signed(1, 2, 7).encode(), "another recipe"),
            (signed(2, 1, 7).encode(), "another key's"),
            (stripped.encode(), "not signed"),
            (forged.encode(), "forged"),
            (b"nonsense".to_vec(), "damaged"),
            (vec![0; 1 << 18], "more than the 131072 bytes"),
        ] {
            let cache = Memory::default();
            small::write(&cache, &claim_name(&recipe, &key), &bytes).expect("memory");
            let error = read(&cache, &recipe, &key).expect_err("it is refused");
            assert!(error.to_string().contains(why), "{error}");
            if why != "more than the 131072 bytes" {
                assert_eq!(write(&cache, &good).expect("in its place"), Written::New);
            }
        }
        let unsigned = SignedRealisation {
            realisation: claim(1, 7, "any"),
            signature: None,
        };
        assert!(matches!(
            write(&Memory::default(), &unsigned),
            Err(ClaimError::Unsigned)
        ));
    }

    #[test]
    fn a_statement_is_found_by_its_key() {
        let cache = Memory::default();
        let key = secret(1).public();
        assert_eq!(read_statement(&cache, &key).expect("none"), None);
        let statement = Statement::revoked(&secret(1), 4);
        write_statement(&cache, &key, &statement).expect("memory");
        let found = read_statement(&cache, &key).expect("it is one");
        assert_eq!(found, Some(statement));
        small::write(&cache, &statement_name(&key), b"x").expect("memory");
        assert!(read_statement(&cache, &key).is_err());
    }
}
