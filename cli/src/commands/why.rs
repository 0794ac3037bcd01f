//! `kiln why`.

use kiln_derivations::derivation::fields::Difference;
use kiln_derivations::realise::caches::recipes;
use kiln_derivations::realise::caches::why::{self, Explained, Verdict};
use kiln_derivations::realise::execute::World;
use kiln_store::hash::Digest;
use kiln_store::trust::policy::Discounted;
use serde::Serialize;

use crate::args::WhyArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use crate::workshop::{Workshop, build_error, no_sandbox, root_ids};

#[derive(Serialize)]
struct Json<'a> {
    explained: &'a [Explained],
}

/// Explains why something is not had from caches.
pub fn run(context: &Context, args: &WhyArgs) -> Result<(), CliError> {
    if args.realise.no_caches || args.realise.offline {
        return Err(CliError::usage("caches have to be asked for this")
            .with_hint("leave out --no-caches and --offline"));
    }
    let manifest = context.manifest()?;
    let names = std::slice::from_ref(&args.name);
    let evaluation = context.evaluate_names(&manifest, names, &args.realise)?;
    let (graph, roots) = (&evaluation.graph, root_ids(&evaluation));
    let workshop = Workshop::open(context, &args.realise)?;
    let caches = workshop.others(&manifest, graph, &roots, workshop.listener())?;
    let caches = caches.ok_or_else(|| {
        CliError::usage("nobody is trusted here, so no claim of any cache counts")
            .with_hint("list keys in `[trust]`, and caches as `[cache.NAME]`; see docs/caches.md")
    })?;
    let fetch = || unreachable!("nothing is fetched for keys");
    let machine = workshop.machine(&fetch, &no_sandbox)?;
    let own = |action: &_| machine.known(action);
    let project = recipes::project(&manifest.flake.name.value);
    let mut all = Vec::new();
    for root in roots {
        let explained = why::explain(&caches, &own, graph, root, &project);
        all.push(explained.map_err(build_error)?);
    }
    if context.global.json {
        return output::json(Json {
            explained: &all.concat(),
        });
    }
    for explained in &all {
        for one in explained {
            print(one)?;
        }
        conclude(explained)?;
    }
    Ok(())
}

fn title(one: &Explained) -> String {
    match one.target {
        Some(target) => format!("{} ({target})", one.name),
        None => one.name.clone(),
    }
}

fn print(one: &Explained) -> Result<(), CliError> {
    output::line(&format!("{}: {}", title(one), verdict(one)))?;
    if let Verdict::Discounted { claims } = &one.verdict {
        for claim in claims {
            let why = reason(claim.why);
            output::line(&format!("  {} in {}: {why}", claim.key, claim.cache))?;
        }
    }
    if let Some(nearest) = &one.nearest {
        let Explained { name, .. } = one;
        let alias = match nearest.name == *name {
            true => String::new(),
            false => format!(", called `{}` there", safe(&nearest.name)),
        };
        let short = nearest.recipe.0.short();
        output::line(&format!(
            "  beside recipe {short} that {} claims{alias}:",
            nearest.key
        ))?;
    }
    for different in &one.differences {
        let line = difference(&different.difference);
        let follows = different.follows_from.as_ref();
        let follows = follows.map_or_else(String::new, |name| format!("  (follows from {name})"));
        output::line(&format!("    {line}{follows}"))?;
    }
    Ok(())
}

fn verdict(one: &Explained) -> String {
    match &one.verdict {
        Verdict::Claimed { keys, lost } if lost.is_empty() => {
            format!("cached, as {} claims", list(keys))
        }
        Verdict::Claimed { keys, lost } => format!(
            "claimed by {}, but no cache has the bytes of {}",
            list(keys),
            lost.join(", ")
        ),
        Verdict::TooFew { have, need } => {
            format!("claimed by {have} that count and are distinct, and the policy requires {need}")
        }
        Verdict::Contradiction => {
            "claimed with different outputs; see `kiln verify --caches`".to_owned()
        }
        Verdict::Discounted { .. } => "claimed, but by nobody who counts".to_owned(),
        Verdict::Unclaimed => {
            let recipe = one.recipe.map(|it| it.0.short()).unwrap_or_default();
            let compared = match one.nearest {
                Some(_) => "",
                None => "; nor did anybody share anything alike",
            };
            format!("not cached: nobody who counts claims recipe {recipe}{compared}")
        }
        Verdict::Unknown { waits_for } => format!(
            "not cached: its recipe is not known before there is {}",
            waits_for.join(", ")
        ),
    }
}

fn list(keys: &[kiln_store::trust::key::PublicKey]) -> String {
    let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
    keys.join(" and ")
}

fn reason(why: Discounted) -> &'static str {
    match why {
        Discounted::OtherRecipe => "it is about another recipe",
        Discounted::Unsigned => "it is not signed",
        Discounted::Forged => "its signature is forged",
        Discounted::UnknownKey => "the policy does not list this key",
        Discounted::NotForThis => "the policy lists this key for other names or platforms",
        Discounted::Revoked => "this key was revoked",
    }
}

fn difference(it: &Difference) -> String {
    let field = safe(&it.field);
    match (&it.ours, &it.theirs) {
        (Some(ours), Some(theirs)) => {
            format!("{field}: here `{}`, there `{}`", safe(ours), safe(theirs))
        }
        (Some(_), None) => format!("{field}: only here"),
        (None, _) => format!("{field}: only there"),
    }
}

/// A cache's words must not write to the terminal what they like. Of digests the
/// beginning tells enough.
fn safe(text: &str) -> String {
    if let Ok(digest) = text.parse::<Digest>() {
        return digest.short();
    }
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Names what everything else follows from.
fn conclude(explained: &[Explained]) -> Result<(), CliError> {
    let causes = explained.iter().flat_map(|one| {
        let own = one.differences.iter();
        let own = own.filter(|it| it.follows_from.is_none());
        own.map(|it| format!("{} of {}", safe(&it.difference.field), title(one)))
    });
    let causes: Vec<_> = causes.collect();
    match causes.is_empty() {
        true => Ok(()),
        false => output::line(&format!("It comes from: {}", causes.join("; "))),
    }
}
