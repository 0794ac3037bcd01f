//! `kiln push`.

use std::time::Instant;

use kiln_derivations::event::Event;
use kiln_derivations::manifest::{Evaluation, Manifest};
use kiln_derivations::realise::caches::Cache;
use kiln_derivations::realise::caches::recipes;
use kiln_derivations::realise::caches::share::{Share, Shared};
use kiln_store::cache::version;
use kiln_store::cache::watch::Watch;
use kiln_store::trust::key::SecretKey;
use serde::Serialize;

use crate::args::PushArgs;
use crate::commands::cache::refused;
use crate::context::Context;
use crate::error::CliError;
use crate::progress::bytes;
use crate::progress::transfer::Sending;
use crate::workshop::{Workshop, build_error, root_ids};
use crate::{output, sharing};

#[derive(Serialize)]
struct Json<'a> {
    cache: &'a str,
    key: kiln_store::trust::key::PublicKey,
    #[serde(flatten)]
    shared: Shared,
}

/// Shares what was built here.
pub fn run(context: &Context, args: &PushArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &args.names, &args.realise)?;
    let sharing = sharing::of(&manifest)?;
    let workshop = Workshop::open(context, &args.realise)?;
    let to = args.to.as_deref();
    let cache = sharing::cache(&sharing, to, workshop.store(), &workshop.bandwidth())?;
    let key = sharing::key(args.key.as_deref())?;
    let sharer = Sharer {
        context,
        workshop: &workshop,
        key: &key,
        sources: args.sources,
    };
    let shared = sharer.share(&manifest, &evaluation, &cache)?;
    if context.global.json {
        return output::json(Json {
            cache: &cache.name,
            key: key.public(),
            shared,
        });
    }
    output::line(&format!(
        "{} claims and {} trees ({}) to {}; it had {} of the claims",
        shared.claims,
        shared.trees,
        bytes(shared.bytes),
        cache.name,
        shared.known_claims,
    ))?;
    if shared.not_built_here > 0 {
        let count = shared.not_built_here;
        output::line(&format!(
            "{count} were built by others, and are theirs to claim"
        ))?;
    }
    Ok(())
}

/// Who shares, and what with.
pub struct Sharer<'a> {
    /// For progress and Ctrl-C.
    pub context: &'a Context,
    /// Whose store.
    pub workshop: &'a Workshop<'a>,
    /// Whose claims they will be.
    pub key: &'a SecretKey,
    /// Also files that others can fetch from where they were fetched here.
    pub sources: bool,
}

impl Sharer<'_> {
    /// Shares what was asked for, with all it was built from.
    pub fn share(
        &self,
        manifest: &Manifest,
        evaluation: &Evaluation,
        cache: &Cache,
    ) -> Result<Shared, CliError> {
        let graph = &evaluation.graph;
        let roots = root_ids(evaluation);
        let realised = self.workshop.realised(graph, &roots)?;
        for root in &roots {
            if !realised.iter().any(|(id, ..)| id == root) {
                let name = &graph.get(*root).name;
                return Err(CliError::usage(format!("`{name}` was not built here"))
                    .with_hint("`kiln build` builds it; only what was built here can be claimed"));
            }
        }
        version::read(&*cache.backend).map_err(|error| refused(&error))?;
        let listener = self.workshop.listener();
        let share = Share {
            store: self.workshop.store(),
            cache,
            key: self.key,
            subjects: &sharing::subjects(manifest, graph, &roots).all(),
            project: &recipes::project(&manifest.flake.name.value),
            sources: self.sources,
            watch: &Sending::new(&cache.name, listener, &self.context.cancel),
        };
        let start = Instant::now();
        let shared = share.run(graph, &roots, &realised).map_err(build_error)?;
        listener.event(&Event::Sent {
            to: cache.name.clone(),
            trees: shared.trees,
            claims: shared.claims,
            bytes: shared.bytes,
            wall_s: start.elapsed().as_secs_f64(),
        });
        Ok(shared)
    }
}

/// Has a transfer end with Ctrl-C.
pub struct Watching<'c>(pub &'c Context);

impl Watch for Watching<'_> {
    fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }
}
