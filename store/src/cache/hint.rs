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

use bincode::{Decode, Encode};

use super::backend::{Backend, BackendError, Kind};
use super::name::Name;
use super::small;
use crate::canonical;
use crate::hash::Digest;
use crate::realisation::SignedRealisation;
use crate::trust::key::PublicKey;

/// The version of the format.
const VERSION: u32 = 1;
/// The largest hint that is read, in bytes as sent: some fifty thousand claims.
const MAX_SENT_BYTES: u64 = 16 << 20;
/// The same unpacked.
const MAX_BYTES: usize = 64 << 20;
/// Facts repeat from claim to claim and shrink to nothing; keys and signatures
/// do not shrink at all. More effort finds nothing more.
const LEVEL: i32 = 3;

#[derive(Encode, Decode)]
struct Hint {
    version: u32,
    claims: Vec<SignedRealisation>,
}

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
    let hint = Hint {
        version: VERSION,
        claims,
    };
    let encoded = canonical::encode(&hint);
    match zstd::bulk::compress(&encoded, LEVEL) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("zstd in memory with a valid level: {error}"),
    }
}

/// Decodes a hint. Claims are as they came: neither checked nor believed.
pub fn decode(bytes: &[u8]) -> Result<Vec<SignedRealisation>, String> {
    let encoded = zstd::bulk::decompress(bytes, MAX_BYTES).map_err(|error| error.to_string())?;
    let hint: Hint = canonical::decode(&encoded).map_err(|error| error.to_string())?;
    match hint.version {
        VERSION => Ok(hint.claims),
        other => Err(format!("version {other}, this kiln reads {VERSION}")),
    }
}

/// Reads `key`'s hint for `subject`; none if there is none.
pub fn read(
    backend: &dyn Backend,
    subject: &Digest,
    key: &PublicKey,
) -> Result<Vec<SignedRealisation>, BackendError> {
    let name = name(subject, key);
    let Some(bytes) = small::read(backend, &name, MAX_SENT_BYTES)? else {
        return Ok(Vec::new());
    };
    decode(&bytes).map_err(|why| BackendError {
        place: backend.place(),
        operation: "read",
        name: name.to_string(),
        kind: Kind::Protocol(why),
    })
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
        let newer = canonical::encode(&Hint {
            version: 2,
            claims: Vec::new(),
        });
        let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).expect("memory");
        let bomb = compress(&vec![0; MAX_BYTES + 1]);
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
