//! What a key says of itself: that another follows it, or that it is no longer
//! to be believed.
//!
//! ```text
//! statement = key[32] v(serial) change signature[64]
//! change    = v(0) successor[32]         ; this key's claims and the successor's count alike
//!           | v(1)                       ; no claim of this key counts, old or new
//! ```
//!
//! The signature is the key's over `derive_key("kiln 2026-11 key statement v1",
//! key serial change)`. Of two statements of a key the one with the higher serial
//! holds, so that an old one that somebody still serves is not taken for the
//! newest. Who remembers statements remembers the highest serial too.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::key::{PublicKey, SecretKey};
use crate::canonical::{self, CanonicalError};
use crate::hash::Digest;

/// The `derive_key` context of what is signed.
pub const STATEMENT_CONTEXT: &str = "kiln 2026-11 key statement v1";

/// How many successions are followed from one key.
const MAX_SUCCESSIONS: usize = 32;

/// What is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
enum Change {
    Succeeded([u8; 32]),
    Revoked,
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct Said {
    key: [u8; 32],
    serial: u64,
    change: Change,
}

impl Said {
    fn message(&self) -> [u8; 32] {
        *Digest::derive(STATEMENT_CONTEXT, &canonical::encode(self)).as_bytes()
    }

    fn signed_by(self, key: &SecretKey) -> Statement {
        let signature = key.sign(&self.message());
        Statement {
            said: self,
            signature,
        }
    }
}

/// A signed statement.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Statement {
    said: Said,
    signature: [u8; 64],
}

/// Why a statement was refused.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The encoding is wrong.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A key in it is none, or the signature is not the key's.
    #[error("a statement of a key that it is not signed by")]
    Forged,
    /// A newer one is known.
    #[error("an old statement of {key}: it has serial {got}, and {known} is known")]
    Old {
        /// Whose.
        key: PublicKey,
        /// Its serial.
        got: u64,
        /// The highest that is known.
        known: u64,
    },
    /// Another one with the same serial is known.
    #[error("two statements of {key} with the serial {serial}: somebody else has this key")]
    Contradicts {
        /// Whose.
        key: PublicKey,
        /// The serial of both.
        serial: u64,
    },
}

impl Statement {
    /// `key` says that `successor` follows it.
    pub fn succeeded(key: &SecretKey, serial: u64, successor: PublicKey) -> Self {
        let said = Said {
            key: *key.public().as_bytes(),
            serial,
            change: Change::Succeeded(*successor.as_bytes()),
        };
        said.signed_by(key)
    }

    /// `key` says that nothing it signed is to be believed.
    pub fn revoked(key: &SecretKey, serial: u64) -> Self {
        let said = Said {
            key: *key.public().as_bytes(),
            serial,
            change: Change::Revoked,
        };
        said.signed_by(key)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes one; [`Statements::learn`] checks its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        Ok(canonical::decode(bytes)?)
    }

    /// Whose it is, if that is a key at all.
    pub fn key(&self) -> Option<PublicKey> {
        PublicKey::new(self.said.key).ok()
    }

    /// Which key follows it, if one does.
    pub fn successor(&self) -> Option<PublicKey> {
        match self.said.change {
            Change::Succeeded(key) => PublicKey::new(key).ok(),
            Change::Revoked => None,
        }
    }

    /// Which of a key's statements it is.
    pub fn serial(&self) -> u64 {
        self.said.serial
    }

    fn check(&self) -> Result<PublicKey, StatementError> {
        let key = PublicKey::new(self.said.key).map_err(|_| StatementError::Forged)?;
        if let Change::Succeeded(successor) = self.said.change {
            PublicKey::new(successor).map_err(|_| StatementError::Forged)?;
        }
        match key.has_signed(&self.said.message(), &self.signature) {
            true => Ok(key),
            false => Err(StatementError::Forged),
        }
    }
}

/// All statements that are known, the newest of each key.
#[derive(Clone, Debug, Default)]
pub struct Statements(BTreeMap<PublicKey, Statement>);

/// How a key stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is to be believed as itself and as the keys it follows.
    Good(Vec<PublicKey>),
    /// It is not to be believed.
    Revoked,
}

impl Statements {
    /// Takes in a statement. Knowing it already is no error.
    pub fn learn(&mut self, statement: &Statement) -> Result<(), StatementError> {
        let key = statement.check()?;
        if let Some(known) = self.0.get(&key) {
            let (known, got) = (&known.said, &statement.said);
            if known.serial > got.serial {
                return Err(StatementError::Old {
                    key,
                    got: got.serial,
                    known: known.serial,
                });
            }
            if known.serial == got.serial && known != got {
                return Err(StatementError::Contradicts {
                    key,
                    serial: got.serial,
                });
            }
        }
        self.0.insert(key, statement.clone());
        Ok(())
    }

    /// The newest statement of a key.
    pub fn of(&self, key: &PublicKey) -> Option<&Statement> {
        self.0.get(key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Statement> {
        self.0.values()
    }

    /// How `key` stands.
    pub fn standing(&self, key: &PublicKey) -> Standing {
        if self.is_revoked(key) {
            return Standing::Revoked;
        }
        let mut keys = vec![*key];
        let mut at = 0;
        while let (Some(key), true) = (keys.get(at).copied(), keys.len() < MAX_SUCCESSIONS) {
            for (earlier, statement) in &self.0 {
                let follows = statement.said.change == Change::Succeeded(*key.as_bytes());
                if follows && !keys.contains(earlier) {
                    keys.push(*earlier);
                }
            }
            at += 1;
        }
        Standing::Good(keys)
    }

    fn is_revoked(&self, key: &PublicKey) -> bool {
        self.of(key)
            .is_some_and(|statement| statement.said.change == Change::Revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    fn public(seed: u8) -> PublicKey {
        secret(seed).public()
    }

    #[test]
    fn the_encoding_is_fixed() {
        let statement = Statement::succeeded(&secret(1), 300, public(2));
        let encoded = statement.encode();
        assert_eq!(encoded.len(), 32 + 3 + 1 + 32 + 64);
        let digest = Digest::of(&encoded).to_string();
        expect_test::expect!["39a98735b1369d579a25fe59760701cdfb51b2dfa3c77ad0ab5acc0ce8d77876"]
            .assert_eq(&digest);
        assert_eq!(Statement::decode(&encoded).expect("canonical"), statement);
        assert!(Statement::decode(&encoded[..99]).is_err());
        assert!(Statement::decode(&[&encoded[..], &[0]].concat()).is_err());
    }

    #[test]
    fn what_is_not_signed_by_its_key_is_not_learnt() {
        let mut statements = Statements::default();
        let good = Statement::revoked(&secret(1), 1);
        let mut other_key = good.clone();
        other_key.said.key = *public(2).as_bytes();
        let mut other_serial = good.clone();
        other_serial.said.serial = 2;
        for bad in [other_key, other_serial] {
            let refused = statements.learn(&bad);
            assert!(
                matches!(refused, Err(StatementError::Forged)),
                "{refused:?}"
            );
        }
        assert_eq!(
            statements.standing(&public(1)),
            Standing::Good(vec![public(1)])
        );
        statements.learn(&good).expect("it is signed");
        assert_eq!(statements.standing(&public(1)), Standing::Revoked);
    }

    #[test]
    fn an_old_statement_does_not_take_back_a_newer_one() {
        let mut statements = Statements::default();
        let old = Statement::succeeded(&secret(1), 1, public(2));
        let new = Statement::revoked(&secret(1), 2);
        statements.learn(&new).expect("the first");
        let refused = statements.learn(&old);
        assert!(matches!(
            refused,
            Err(StatementError::Old {
                got: 1,
                known: 2,
                ..
            })
        ));
        let twice = statements.learn(&Statement::succeeded(&secret(1), 2, public(3)));
        assert!(matches!(
            twice,
            Err(StatementError::Contradicts { serial: 2, .. })
        ));
        statements.learn(&new).expect("knowing it is no error");
    }

    #[test]
    fn successions_are_followed_back_through_many_and_around_circles() {
        let mut statements = Statements::default();
        for (from, to) in [(1, 2), (2, 3), (3, 1), (4, 3)] {
            let follow = Statement::succeeded(&secret(from), 1, public(to));
            statements.learn(&follow).expect("it is signed");
        }
        let Standing::Good(mut keys) = statements.standing(&public(3)) else {
            panic!("nothing is revoked")
        };
        keys.sort();
        let mut expected = [1, 2, 3, 4].map(public);
        expected.sort();
        assert_eq!(keys, expected);
    }
}
