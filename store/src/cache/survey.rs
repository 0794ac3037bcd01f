//! What a cache holds, as far as names and sizes tell: nothing of it is read.

use std::collections::BTreeMap;

use super::backend::Listed;
use super::claims::{CLAIMS, HINTS, KEYS, signer_in};
use super::error::CacheError;
use super::id::{INDEXES, PACKS, TREES};
use super::transfer::Reader;
use super::watch::Watch;
use crate::cache::backend::Backend;
use crate::trust::key::PublicKey;

/// Files of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Count {
    /// How many.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
}

/// What a cache holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// Packed content.
    pub packs: Count,
    /// What is in the packs.
    pub indexes: Count,
    /// Trees that can be had.
    pub trees: Count,
    /// Signed claims.
    pub claims: Count,
    /// Claims once more, many in a file.
    pub hints: Count,
    /// What keys say of themselves.
    pub statements: Count,
    /// Claims by the key that their names tell of.
    pub signers: BTreeMap<PublicKey, u64>,
}

/// Lists all of a cache. `None` if its server cannot list.
pub fn survey(backend: &dyn Backend, watch: &dyn Watch) -> Result<Option<Survey>, CacheError> {
    let reader = Reader { backend, watch };
    let list = |directory: &str| -> Result<Option<Vec<Listed>>, CacheError> {
        reader.check_cancelled()?;
        Ok(backend.list(&format!("{directory}/"))?)
    };
    let Some(packs) = list(PACKS)? else {
        return Ok(None);
    };
    let counted =
        |directory: &str| Ok::<_, CacheError>(count(&list(directory)?.unwrap_or_default()));
    let claims = list(CLAIMS)?.unwrap_or_default();
    let mut signers = BTreeMap::new();
    for signer in claims.iter().filter_map(|claim| signer_in(&claim.name)) {
        *signers.entry(signer).or_default() += 1;
    }
    Ok(Some(Survey {
        packs: count(&packs),
        indexes: counted(INDEXES)?,
        trees: counted(TREES)?,
        claims: count(&claims),
        hints: counted(HINTS)?,
        statements: counted(KEYS)?,
        signers,
    }))
}

fn count(listed: &[Listed]) -> Count {
    Count {
        files: listed.len() as u64,
        bytes: listed.iter().map(|file| file.size_bytes).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::claims;
    use crate::cache::memory::Memory;
    use crate::cache::name::Name;
    use crate::cache::small;
    use crate::trust::key::SecretKey;
    use crate::trust::signature::fixture::claim;

    #[test]
    fn files_are_counted_by_kind_and_claims_by_signer() {
        let cache = Memory::default();
        for (name, size) in [("packs/aa/x", 5), ("packs/bb/y", 7), ("trees/aa/x", 2)] {
            let name = Name::new(name).expect("a name");
            small::write(&cache, &name, &vec![0; size]).expect("memory");
        }
        let keys = [1, 2].map(|seed| SecretKey::from_seed([seed; 32]));
        for (recipe, key) in [(1, &keys[0]), (2, &keys[0]), (2, &keys[1])] {
            let signed = claim(recipe, 7, "any").signed_by(key);
            claims::write(&cache, &signed).expect("memory");
        }
        let odd = Name::new("claims/00/odd").expect("a name");
        small::write(&cache, &odd, b"").expect("memory");
        let survey = survey(&cache, &()).expect("memory").expect("it lists");
        assert_eq!(
            survey.packs,
            Count {
                files: 2,
                bytes: 12
            }
        );
        assert_eq!(survey.trees, Count { files: 1, bytes: 2 });
        assert_eq!(survey.claims.files, 4);
        let signers: Vec<_> = keys.iter().map(SecretKey::public).zip([2, 1]).collect();
        assert_eq!(survey.signers, signers.into_iter().collect());
    }
}
