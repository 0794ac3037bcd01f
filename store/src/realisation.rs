//! Realisations: the claim that a recipe gave certain outputs.
//!
//! A realisation is what is kept, shared, counted and checked. It outlives the
//! content it speaks of: that one exists never implies that bytes are present.
//!
//! ```text
//! realisation = recipe[32] action[32] v(count) (str(output) tree[32])*
//!               str(build-platform) v(contract) v(count) (str str)*
//!               option(key[32])
//! signed      = realisation option(signature[64])
//! RealisationId = derive_key("kiln 2026-11 realisation v1", realisation)
//! ```
//!
//! The signature is over the realisation's identifier, so it is made and
//! checked without decoding anything.

use bincode::{Decode, Encode};

use crate::canonical::{self, CanonicalError};
use crate::hash::{ActionKey, Digest, RealisationId, RecipeKey, TreeId};

/// The `derive_key` context of realisations.
pub const REALISATION_CONTEXT: &str = "kiln 2026-11 realisation v1";

/// The outputs of a derivation by name, sorted by name.
pub type OutputMap = Vec<(String, TreeId)>;

/// The claim. Field order is the wire order.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, serde::Serialize)]
pub struct Realisation {
    /// Recipe key C.
    pub recipe: RecipeKey,
    /// Action key K.
    pub action: ActionKey,
    /// Every output of the derivation, sorted strictly by name.
    pub outputs: OutputMap,
    /// Where the builder ran, such as `x86_64-linux`; `any` for builders that
    /// are kiln's own code.
    pub build_platform: String,
    /// The version of the sandbox contract (or of the built-in builder).
    pub contract: u32,
    /// What the host let the builder see and the contract cannot fix (kernel
    /// release, CPU features, …), sorted strictly by name.
    pub facts: Vec<(String, String)>,
    /// The public key of the signer, if it is signed.
    pub key: Option<[u8; 32]>,
}

/// A realisation with its signature.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct SignedRealisation {
    /// The claim.
    pub realisation: Realisation,
    /// Ed25519 over the 32 bytes of the claim's [`RealisationId`].
    pub signature: Option<[u8; 64]>,
}

/// Why a realisation was refused.
#[derive(Debug, thiserror::Error)]
pub enum RealisationError {
    /// The encoding is wrong.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// Outputs or facts are not sorted strictly by name, or there is no output.
    #[error("realisation of {action} has unsorted, repeated or missing {what}")]
    Order {
        /// Whose claim it is.
        action: ActionKey,
        /// `outputs` or `facts`.
        what: &'static str,
    },
    /// A key without a signature, or the reverse.
    #[error("realisation of {action} has a key without a signature, or the reverse")]
    HalfSigned {
        /// Whose claim it is.
        action: ActionKey,
    },
}

impl Realisation {
    /// The address of this claim; what a signature is made over.
    pub fn id(&self) -> RealisationId {
        RealisationId(Digest::derive(
            REALISATION_CONTEXT,
            &canonical::encode(self),
        ))
    }

    /// The tree of the output called `name`.
    pub fn output(&self, name: &str) -> Option<TreeId> {
        self.outputs
            .iter()
            .find(|(output, _)| output == name)
            .map(|&(_, tree)| tree)
    }

    fn check(&self) -> Result<(), RealisationError> {
        let order = |what| RealisationError::Order {
            action: self.action,
            what,
        };
        if self.outputs.is_empty() || !self.outputs.windows(2).all(|w| w[0].0 < w[1].0) {
            return Err(order("outputs"));
        }
        if !self.facts.windows(2).all(|w| w[0].0 < w[1].0) {
            return Err(order("facts"));
        }
        Ok(())
    }
}

impl SignedRealisation {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Decodes and checks the form. Whether the signature is right and the key
    /// trusted is the caller's question.
    pub fn decode(bytes: &[u8]) -> Result<Self, RealisationError> {
        let signed: Self = canonical::decode(bytes)?;
        signed.realisation.check()?;
        if signed.realisation.key.is_some() != signed.signature.is_some() {
            return Err(RealisationError::HalfSigned {
                action: signed.realisation.action,
            });
        }
        Ok(signed)
    }
}
