//! `kiln cache`.

use serde::Serialize;

use crate::args::{CacheArgs, CacheCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::{output, sharing};

#[derive(Serialize)]
struct List {
    caches: Vec<Listed>,
    require: usize,
    distinct: Vec<String>,
    keys: Vec<Trusted>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    place: String,
}

#[derive(Serialize)]
struct Trusted {
    key: kiln_store::trust::key::PublicKey,
    attributes: std::collections::BTreeMap<String, String>,
}

/// Looks after a cache.
pub fn run(context: &Context, args: &CacheArgs) -> Result<(), CliError> {
    match &args.command {
        CacheCommand::List => list(context),
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let sharing = sharing::of(&context.manifest()?)?;
    let store = context.store()?;
    let caches = sharing::caches(&sharing, &store)?;
    let policy = &sharing.policy;
    let list = List {
        caches: caches
            .iter()
            .map(|cache| Listed {
                name: cache.name.clone(),
                place: cache.backend.place(),
            })
            .collect(),
        require: policy.require.max(1),
        distinct: policy.distinct.clone(),
        keys: policy
            .keys
            .iter()
            .map(|known| Trusted {
                key: known.key,
                attributes: known.attributes.clone(),
            })
            .collect(),
    };
    if context.global.json {
        return output::json(list);
    }
    for cache in &list.caches {
        output::line(&format!("cache  {}  {}", cache.name, cache.place))?;
    }
    for key in &list.keys {
        let attributes = key.attributes.iter();
        let attributes: Vec<_> = attributes
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        output::line(&format!("key    {}  {}", key.key, attributes.join(", ")))?;
    }
    match list.keys.is_empty() {
        true => {
            output::line("nobody is trusted: `[trust]` names keys, or every cache is passed over")
        }
        false => output::line(&format!(
            "{} must agree{}",
            list.require,
            match list.distinct.is_empty() {
                true => String::new(),
                false => format!(", distinct by {}", list.distinct.join(" and ")),
            }
        )),
    }
}
