//! A cache with a million claims, of which only those exist that are asked for:
//! each is made, signed and encoded when its file is opened. All other files are
//! in memory.

use std::io::Cursor;
use std::sync::Arc;

use kiln_store::cache::backend::{Backend, BackendError, Body, ByteRange, Listed, Source};
use kiln_store::cache::claims::claim_name;
use kiln_store::cache::memory::Memory;
use kiln_store::cache::name::Name;
use kiln_store::hash::{ActionKey, Digest, RecipeKey, TreeId};
use kiln_store::realisation::{Realisation, SignedRealisation};
use kiln_store::trust::key::SecretKey;

/// How many realisations it has.
pub const CLAIMS: u64 = 1_000_000;
/// What of a recipe key says which one it is.
const NUMBER_BYTES: usize = 8;

/// The cache.
pub struct Million {
    pub key: SecretKey,
    pub rest: Arc<Memory>,
}

/// The recipe key of one of the million, or of one beyond: its number, then a
/// digest of that, so that a name tells whether it is one.
pub fn recipe(number: u64) -> RecipeKey {
    let number = number.to_le_bytes();
    let mut bytes = *Digest::derive("recipe", &number).as_bytes();
    bytes[..NUMBER_BYTES].copy_from_slice(&number);
    RecipeKey(Digest::from_bytes(bytes))
}

/// The claim about one of the million.
pub fn claim(number: u64, key: &SecretKey) -> SignedRealisation {
    let digest = |kind: &str| Digest::derive(kind, &number.to_le_bytes());
    let facts = [
        ("cpu-features", "avx2 bmi2 sse4_2"),
        ("kernel-release", "6.1.0-26-amd64"),
        ("memory-bytes", "16777216000"),
        ("page-size", "4096"),
    ];
    let realisation = Realisation {
        recipe: recipe(number),
        action: ActionKey(digest("action")),
        outputs: vec![("out".to_owned(), TreeId(digest("output")))],
        build_platform: "x86_64-linux".to_owned(),
        contract: 1,
        facts: facts.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        key: None,
    };
    realisation.signed_by(key)
}

impl Million {
    /// The claim that is in a file, if it is one of the million.
    fn claim_in(&self, name: &Name) -> Option<SignedRealisation> {
        let recipe_text = name.as_str().split('/').nth(2)?;
        let asked: Digest = recipe_text.parse().ok()?;
        let (number, _) = asked.as_bytes().split_first_chunk::<NUMBER_BYTES>()?;
        let number = u64::from_le_bytes(*number);
        let is_one = number < CLAIMS && claim_name(&recipe(number), &self.key.public()) == *name;
        is_one.then(|| claim(number, &self.key))
    }
}

impl Backend for Million {
    fn place(&self) -> String {
        "a million".to_owned()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError> {
        if !name.as_str().starts_with("claims/") {
            return self.rest.open(name, range);
        }
        assert_eq!(range, None, "claims are read whole");
        Ok(self.claim_in(name).map(|claim| {
            let bytes = claim.encode();
            Body {
                length: Some(bytes.len() as u64),
                content: Box::new(Cursor::new(bytes)),
            }
        }))
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
        unreachable!("nobody who asks for claims wants the size of {name}")
    }

    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), BackendError> {
        self.rest.put(name, content, size_bytes)
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
        unreachable!("nobody who asks for claims lists {prefix}")
    }

    fn remove(&self, name: &Name) -> Result<(), BackendError> {
        unreachable!("nobody who asks for claims removes {name}")
    }
}
