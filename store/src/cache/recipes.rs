//! What claimed recipes are made of, for `kiln why`: one file of each signer for
//! each project, with the newest few recipes of every derivation.
//!
//! ```text
//! recipes/HH/HEX/KEY    HEX: the project's label, KEY: the signer of the claims
//! file   = zstd(list)
//! list   = v(1) v(count) recipe*           ; newest first
//! recipe = name:text target:text executed-on:text C:digest lineage:digest
//!          v(count) (output:text tree:digest)*
//!          v(count) (part:text name:text value:text)*
//! ```
//!
//! It is not signed and nothing rests on it: it only tells where a key differs
//! from another. Whether the other was really claimed is asked apart.

use bincode::{Decode, Encode};

use super::backend::{Backend, BackendError, Kind};
use super::name::Name;
use super::{packed, small};
use crate::hash::{Digest, RecipeKey};
use crate::realisation::OutputMap;
use crate::trust::key::PublicKey;

const LEVEL: i32 = 6;
/// How many recipes of one derivation are kept.
const KEPT_OF_ONE: usize = 4;
/// How many recipes are kept in all.
const KEPT: usize = 20_000;

/// A field of what a recipe key is the digest of.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Field {
    /// The part of the derivation that it is in: `input /src`; empty if in none.
    pub part: String,
    /// Its name there.
    pub name: String,
    /// Its value for people. A long one is told by its digest.
    pub value: String,
}

/// What one claimed recipe is made of.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Recipe {
    /// The derivation's name.
    pub name: String,
    /// What it is for; empty if that does not matter to it.
    pub target: String,
    /// Where it is executed; empty if it is not.
    pub executed_on: String,
    /// The key that is claimed.
    pub recipe: RecipeKey,
    /// What it is to the recipe keys of what executes it.
    pub lineage: Digest,
    /// What it made.
    pub outputs: OutputMap,
    /// The fields in their order.
    pub fields: Vec<Field>,
}

/// The name of `key`'s list for the project with this label.
pub fn name(project: &Digest, key: &PublicKey) -> Name {
    let project = project.to_string();
    let text = format!("recipes/{}/{project}/{}", &project[..2], key.hex());
    match Name::new(text) {
        Ok(name) => name,
        Err(error) => unreachable!("made of digests: {error}"),
    }
}

/// Encodes a list.
pub fn encode(recipes: Vec<Recipe>) -> Vec<u8> {
    packed::encode(recipes, LEVEL)
}

/// Decodes a list. Nothing in it is checked or believed.
pub fn decode(bytes: &[u8]) -> Result<Vec<Recipe>, String> {
    packed::decode(bytes)
}

/// Reads `key`'s list for `project`; empty if there is none.
pub fn read(
    backend: &dyn Backend,
    project: &Digest,
    key: &PublicKey,
) -> Result<Vec<Recipe>, BackendError> {
    packed::read(backend, &name(project, key))
}

/// Puts `new` before what `key`'s list for `project` has. Of two writers at one
/// time one may lose what it added: somebody is told less.
pub fn add(
    backend: &dyn Backend,
    project: &Digest,
    key: &PublicKey,
    new: Vec<Recipe>,
) -> Result<(), BackendError> {
    let old = match read(backend, project, key) {
        // A list that cannot be read is nobody's loss.
        Err(error) if matches!(error.kind, Kind::Protocol(_)) => Vec::new(),
        old => old?,
    };
    let merged = merge(new, &old);
    if merged == old {
        return Ok(());
    }
    small::write(backend, &name(project, key), &encode(merged))
}

/// The newest recipes of each derivation, each once.
fn merge(new: Vec<Recipe>, old: &[Recipe]) -> Vec<Recipe> {
    let mut kept: Vec<Recipe> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut counts = std::collections::HashMap::new();
    // What is claimed again is as good where it was.
    let is_old = |recipe: &Recipe| old.iter().any(|it| it.recipe == recipe.recipe);
    let known: Vec<bool> = new.iter().map(is_old).collect();
    let fresh = new.into_iter().zip(known).filter(|(_, known)| !known);
    for recipe in fresh.map(|(it, _)| it).chain(old.iter().cloned()) {
        let whose = (
            recipe.name.clone(),
            recipe.target.clone(),
            recipe.executed_on.clone(),
        );
        let count: &mut usize = counts.entry(whose).or_default();
        if *count < KEPT_OF_ONE && kept.len() < KEPT && seen.insert(recipe.recipe) {
            *count += 1;
            kept.push(recipe);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::memory::Memory;
    use crate::canonical;
    use crate::hash::TreeId;
    use crate::trust::key::SecretKey;

    fn recipe(name: &str, version: u8) -> Recipe {
        Recipe {
            name: name.to_owned(),
            target: "x86_64".to_owned(),
            executed_on: String::new(),
            recipe: RecipeKey(Digest::of(&[name.as_bytes(), &[version]].concat())),
            lineage: Digest::of(&[version]),
            outputs: vec![("out".to_owned(), TreeId(Digest::of(b"out")))],
            fields: vec![Field {
                part: "input /src".to_owned(),
                name: "tree".to_owned(),
                value: version.to_string(),
            }],
        }
    }

    #[test]
    fn the_newest_few_of_each_derivation_are_kept() {
        let cache = Memory::default();
        let (project, key) = (Digest::of(b"p"), SecretKey::from_seed([1; 32]).public());
        for version in 0..6 {
            let new = vec![recipe("musl", version), recipe("busybox", 0)];
            add(&cache, &project, &key, new).expect("memory");
        }
        let read = read(&cache, &project, &key).expect("memory");
        let values: Vec<_> = read
            .iter()
            .map(|it| format!("{} {}", it.name, it.fields[0].value))
            .collect();
        assert_eq!(
            values,
            ["musl 5", "musl 4", "musl 3", "musl 2", "busybox 0"]
        );
        assert_eq!(
            super::read(&cache, &Digest::of(b"q"), &key).expect("none"),
            []
        );
    }

    #[test]
    fn what_is_no_list_is_refused_and_written_over() {
        let cache = Memory::default();
        let (project, key) = (Digest::of(b"p"), SecretKey::from_seed([1; 32]).public());
        let newer = canonical::encode(&packed::List::<Recipe> {
            version: 2,
            items: Vec::new(),
        });
        let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).expect("memory");
        let good = encode(vec![recipe("musl", 1)]);
        let bomb = compress(&vec![0; packed::MAX_BYTES + 1]);
        let bad = [
            &good[..good.len() - 1],
            b"",
            &compress(b"x"),
            &compress(&newer),
            &bomb,
        ];
        for bad in bad {
            assert!(decode(bad).is_err());
            small::write(&cache, &name(&project, &key), bad).expect("memory");
            assert!(read(&cache, &project, &key).is_err());
        }
        add(&cache, &project, &key, vec![recipe("musl", 1)]).expect("memory");
        assert_eq!(read(&cache, &project, &key).expect("a list").len(), 1);
    }

    /// The bytes of a list do not change while its version is the same.
    #[test]
    fn the_format_is_what_it_was() {
        let encoded = canonical::encode(&packed::List {
            version: packed::VERSION,
            items: vec![recipe("musl", 1)],
        });
        assert_eq!(Digest::of(&encoded).short(), "5b71d26df353");
    }
}
