//! Hints: many claims in one file, so that a deep graph is resolved in one
//! request instead of one a level.
//!
//! ```text
//! hints/HH/HEX/KEY    HEX: what it is a hint for, KEY: the signer of its claims
//! file = zstd(hint)
//! hint = v(1) v(count) signed*      ; realisations of one key, sorted by recipe
//! ```
//!
//! A hint itself is not signed, and nothing rests on it: each claim in it is
//! judged as if it had been asked for alone. A false or old one costs requests.

use super::backend::{Backend, BackendError};
use super::name::Name;
use super::{packed, small};
use crate::hash::Digest;
use crate::realisation::SignedRealisation;
use crate::trust::key::PublicKey;

/// Facts repeat from claim to claim and shrink to nothing; keys and signatures
/// do not shrink at all. More effort finds nothing more.
const LEVEL: i32 = 3;

/// The name of `key`'s hint for what `subject` is the digest of.
pub fn name(subject: &Digest, key: &PublicKey) -> Name {
    let subject = subject.to_string();
    let text = format!("hints/{}/{subject}/{}", &subject[..2], key.hex());
    match Name::new(text) {
        Ok(name) => name,
        Err(error) => unreachable!("made of digests: {error}"),
    }
}

/// Encodes claims, in whatever order they come.
pub fn encode(mut claims: Vec<SignedRealisation>) -> Vec<u8> {
    claims.sort_by_key(|claim| claim.realisation.recipe);
    claims.dedup_by_key(|claim| claim.realisation.recipe);
    packed::encode(claims, LEVEL)
}

/// Decodes a hint. Claims are as they came: neither checked nor believed.
pub fn decode(bytes: &[u8]) -> Result<Vec<SignedRealisation>, String> {
    packed::decode(bytes)
}

/// Reads `key`'s hint for `subject`; none if there is none.
pub fn read(
    backend: &dyn Backend,
    subject: &Digest,
    key: &PublicKey,
) -> Result<Vec<SignedRealisation>, BackendError> {
    packed::read(backend, &name(subject, key))
}

/// Writes `key`'s hint for `subject`, in place of an earlier one.
pub fn write(
    backend: &dyn Backend,
    subject: &Digest,
    key: &PublicKey,
    claims: Vec<SignedRealisation>,
) -> Result<(), BackendError> {
    small::write(backend, &name(subject, key), &encode(claims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::memory::Memory;
    use crate::canonical;
    use crate::hash::{ActionKey, RecipeKey, TreeId};
    use crate::trust::key::SecretKey;
    use crate::trust::signature::fixture::claim;

    fn secret() -> SecretKey {
        SecretKey::from_seed([1; 32])
    }

    #[test]
    fn a_hint_is_found_by_its_subject_and_signer() {
        let cache = Memory::default();
        let (subject, key) = (Digest::of(b"graph"), secret().public());
        assert_eq!(read(&cache, &subject, &key).expect("none"), []);
        let claims = [2, 1].map(|recipe| claim(recipe, 7, "any").signed_by(&secret()));
        write(&cache, &subject, &key, claims.to_vec()).expect("memory");
        let [second, first] = claims;
        assert_eq!(
            read(&cache, &subject, &key).expect("it is one"),
            [first, second]
        );
        assert_eq!(read(&cache, &Digest::of(b"other"), &key).expect("none"), []);
    }

    #[test]
    fn what_is_no_hint_is_refused() {
        let good = encode(vec![claim(1, 7, "any").signed_by(&secret())]);
        assert!(decode(&good).is_ok());
        let newer = canonical::encode(&packed::List::<SignedRealisation> {
            version: 2,
            items: Vec::new(),
        });
        let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).expect("memory");
        let bomb = compress(&vec![0; packed::MAX_BYTES + 1]);
        for bad in [
            &good[..good.len() - 1],
            b"",
            &compress(b"x"),
            &compress(&newer),
            &bomb,
        ] {
            assert!(decode(bad).is_err());
        }
    }

    /// Of five thousand derivations, one request and less than a megabyte.
    #[test]
    fn five_thousand_claims_are_less_than_a_megabyte() {
        let digest = |kind: &str, at: u32| Digest::derive(kind, &at.to_le_bytes());
        let claims = (0..5000).map(|at| {
            let mut one = claim(1, 7, "x86_64-linux");
            one.recipe = RecipeKey(digest("recipe", at));
            one.action = ActionKey(digest("action", at));
            one.outputs = vec![("out".to_owned(), TreeId(digest("output", at)))];
            one.facts = [
                "cpu-features",
                "kernel-release",
                "memory-bytes",
                "page-size",
            ]
            .map(|fact| (fact.to_owned(), format!("{fact} of this machine")))
            .to_vec();
            one.signed_by(&secret())
        });
        let sent = encode(claims.collect());
        assert!(sent.len() < 1_000_000, "{} bytes", sent.len());
    }
}
