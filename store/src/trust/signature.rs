//! Realisations signed and checked.
//!
//! The signature is over the 32 bytes of the claim's identifier, which holds the
//! key too: nothing of a claim can be changed, and no claim passed off as another
//! key's.

use super::key::{PublicKey, SecretKey};
use crate::hash::ActionKey;
use crate::realisation::{Realisation, SignedRealisation};

/// A claim whose signature is not its key's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the claim about {action} is not signed by the key it names")]
pub struct BadSignature {
    /// Whose claim it is.
    pub action: ActionKey,
}

impl Realisation {
    /// The claim as `key`'s, signed.
    pub fn signed_by(mut self, key: &SecretKey) -> SignedRealisation {
        self.key = Some(*key.public().as_bytes());
        let signature = key.sign(self.id().digest().as_bytes());
        SignedRealisation {
            realisation: self,
            signature: Some(signature),
        }
    }
}

impl SignedRealisation {
    /// Whose claim it is: `None` if it is not signed, an error if the signature
    /// is not the key's.
    pub fn signer(&self) -> Result<Option<PublicKey>, BadSignature> {
        let claim = &self.realisation;
        let bad = || BadSignature {
            action: claim.action,
        };
        let (key, signature) = match (claim.key, self.signature) {
            (None, None) => return Ok(None),
            (Some(key), Some(signature)) => (key, signature),
            _ => return Err(bad()),
        };
        let key = PublicKey::new(key).map_err(|_| bad())?;
        match key.has_signed(claim.id().digest().as_bytes(), &signature) {
            true => Ok(Some(key)),
            false => Err(bad()),
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;
    use crate::hash::{Digest, RecipeKey, TreeId};

    /// A claim that `recipe` gave the tree `output` on a platform.
    pub(crate) fn claim(recipe: u8, output: u8, platform: &str) -> Realisation {
        let digest = |byte| Digest::from_bytes([byte; 32]);
        Realisation {
            recipe: RecipeKey(digest(recipe)),
            action: ActionKey(Digest::derive(platform, &[recipe])),
            outputs: vec![("out".to_owned(), TreeId(digest(output)))],
            build_platform: platform.to_owned(),
            contract: 1,
            facts: vec![("kernel".to_owned(), "6.1".to_owned())],
            key: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::claim;
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    #[test]
    fn a_signed_claim_names_its_signer() {
        let signed = claim(1, 2, "x86_64-linux").signed_by(&key(1));
        assert_eq!(signed.signer(), Ok(Some(key(1).public())));
        let read = SignedRealisation::decode(&signed.encode()).expect("it is canonical");
        assert_eq!(read.signer(), Ok(Some(key(1).public())));
        let unsigned = SignedRealisation {
            realisation: claim(1, 2, "x86_64-linux"),
            signature: None,
        };
        assert_eq!(unsigned.signer(), Ok(None));
    }

    /// Everything that a forger may change.
    #[test]
    fn nothing_of_a_signed_claim_can_be_changed() {
        let good = claim(1, 2, "x86_64-linux").signed_by(&key(1));
        let changes: [fn(&mut SignedRealisation); 9] = [
            |it| it.realisation.recipe = claim(9, 2, "x").recipe,
            |it| it.realisation.action = claim(9, 2, "x").action,
            |it| it.realisation.outputs = claim(1, 3, "x").outputs,
            |it| it.realisation.build_platform = "aarch64-linux".to_owned(),
            |it| it.realisation.contract = 2,
            |it| it.realisation.facts.clear(),
            |it| it.realisation.key = Some(*key(2).public().as_bytes()),
            |it| it.signature = claim(1, 3, "x").signed_by(&key(1)).signature,
            |it| it.signature = None,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut forged = good.clone();
            change(&mut forged);
            assert!(forged.signer().is_err(), "change {number}");
        }
    }
}
