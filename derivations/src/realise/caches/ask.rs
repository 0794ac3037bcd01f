//! Asking for claims: first this store, then hints, then one by one; each answer
//! is judged, and nothing is asked that was answered.

use std::collections::HashSet;

use kiln_store::cache::backend::Kind;
use kiln_store::cache::claims::{self, ClaimError};
use kiln_store::cache::hint;
use kiln_store::cache::id::tree_name;
use kiln_store::hash::{Digest, RecipeKey, TreeId};
use kiln_store::realisation::{OutputMap, SignedRealisation};
use kiln_store::trust::key::PublicKey;
use kiln_store::trust::policy::{Counted, Judgement};
use kiln_store::trust::statement::{Statement, StatementError};

use super::hints::{Claims, Subjects};
use super::parallel;
use super::why::Refused;
use super::{Asked, Cache, Caches, Claim};
use crate::build::error::{BuildError, FailureClass};
use crate::build::store_error;

/// What is to be believed about each of `asked`.
pub(super) fn claimed(
    caches: &Caches<'_>,
    asked: &[Asked<'_>],
) -> Result<Vec<Option<Claim>>, BuildError> {
    let mut questions = Vec::with_capacity(asked.len());
    for one in asked {
        let mut question = Question {
            asked: *one,
            claims: own(caches, &one.recipe)?,
            answer: None,
        };
        question.judge(caches, false)?;
        questions.push(question);
    }
    let is_open = |question: &&mut Question<'_>| question.answer.is_none();
    let all_answered = questions.iter().all(|question| question.answer.is_some());
    if !all_answered && caches.alive().next().is_some() {
        let hints = load(caches)?;
        for question in questions.iter_mut().filter(is_open) {
            question.take(hints.get(&question.asked.recipe).into_iter().flatten());
            question.judge(caches, true)?;
        }
        let mut open: Vec<_> = questions.iter_mut().filter(is_open).collect();
        one_by_one(caches, &mut open);
        for question in open {
            question.judge(caches, true)?;
        }
    }
    Ok(questions.into_iter().map(|it| it.answer).collect())
}

/// Every claim about each of `asked` that counts, whether they agree or not.
pub(super) fn heard(
    caches: &Caches<'_>,
    asked: &[Asked<'_>],
) -> Result<Vec<Vec<Counted>>, BuildError> {
    let hints = load(caches)?;
    let mut questions = Vec::with_capacity(asked.len());
    for one in asked {
        let mut question = Question {
            asked: *one,
            claims: own(caches, &one.recipe)?,
            answer: None,
        };
        question.take(hints.get(&one.recipe).into_iter().flatten());
        questions.push(question);
    }
    one_by_one(caches, &mut questions.iter_mut().collect::<Vec<_>>());
    let statements = caches.statements.lock().unwrap_or_else(|e| e.into_inner());
    let counted = questions.into_iter().map(|question| {
        let Asked { name, recipe } = question.asked;
        let claims = question.claims.into_iter();
        let count = |claim: SignedRealisation| {
            let known = caches.policy.count(&statements, name, &recipe, &claim);
            let key = known.ok()?.key;
            Some(Counted { claim, key })
        };
        claims.filter_map(count).collect()
    });
    Ok(counted.collect())
}

/// What is asked, and what was said so far.
struct Question<'a> {
    asked: Asked<'a>,
    claims: Vec<SignedRealisation>,
    answer: Option<Claim>,
}

impl Question<'_> {
    fn take<'s>(&mut self, claims: impl IntoIterator<Item = &'s SignedRealisation>) {
        for claim in claims {
            if !self.claims.contains(claim) {
                self.claims.push(claim.clone());
            }
        }
    }

    /// Answers if enough agree. Claims that are `new` here will be kept.
    fn judge(&mut self, caches: &Caches<'_>, new: bool) -> Result<(), BuildError> {
        let Asked { name, recipe } = &self.asked;
        let statements = caches.statements.lock().unwrap_or_else(|e| e.into_inner());
        match caches.policy.judge(&statements, name, recipe, &self.claims) {
            Judgement::Agreed { outputs, by } => {
                let action = by.first().map(|it| it.claim.realisation.action);
                self.answer = action.map(|action| Claim { action, outputs });
                if new {
                    let mut believed = caches.believed.lock().unwrap_or_else(|e| e.into_inner());
                    believed.extend(by.into_iter().map(|it| it.claim));
                }
                Ok(())
            }
            Judgement::TooFew { .. } => Ok(()),
            Judgement::Conflict(both) => Err(conflict(caches, name, &both)),
        }
    }
}

/// Signed claims that are here already. Unsigned ones are this store's own, and
/// are found by their action key.
fn own(caches: &Caches<'_>, recipe: &RecipeKey) -> Result<Vec<SignedRealisation>, BuildError> {
    let claims = caches.store.realisations_of_recipe(recipe);
    let mut claims = claims.map_err(store_error)?;
    claims.retain(|claim| claim.signature.is_some());
    Ok(claims)
}

/// What hints say, read once.
fn load<'c>(caches: &'c Caches<'_>) -> Result<&'c Claims, BuildError> {
    if let Some(hints) = caches.hints.get() {
        return Ok(hints);
    }
    let keys: Vec<PublicKey> = caches.policy.keys.iter().map(|known| known.key).collect();
    let mut hints = Claims::new();
    let mut asked = Vec::new();
    let mut next = keys;
    // Who follows a key is asked too, once that is known.
    while !next.is_empty() {
        for claim in ask_keys(caches, &next)? {
            hints
                .entry(claim.realisation.recipe)
                .or_default()
                .push(claim);
        }
        asked.append(&mut next);
        let statements = caches.statements.lock().unwrap_or_else(|e| e.into_inner());
        let successors = asked
            .iter()
            .filter_map(|key| statements.of(key)?.successor());
        next = successors.filter(|key| !asked.contains(key)).collect();
    }
    Ok(caches.hints.get_or_init(|| hints))
}

/// What one request is about.
#[derive(Clone, Copy)]
enum About<'c> {
    Version,
    Statement,
    Hint(&'c Digest),
}

enum Said {
    Statement(Option<Statement>),
    Hint(Vec<SignedRealisation>),
    Nothing,
}

/// What keys say of themselves, and what their hints say: those for sketches, and
/// those for labels of keys that have none for some sketch.
fn ask_keys(caches: &Caches<'_>, keys: &[PublicKey]) -> Result<Vec<SignedRealisation>, BuildError> {
    let Subjects { sketches, labels } = &caches.subjects;
    let about = [About::Version, About::Statement].into_iter();
    let about = about.chain(sketches.iter().map(About::Hint));
    let (mut found, mut news) = (Vec::new(), Vec::new());
    let mut told = HashSet::new();
    for ((cache, key, about), said) in ask_about(caches, keys, &about.collect::<Vec<_>>()) {
        match (about, said) {
            (About::Hint(sketch), Said::Hint(claims)) if !claims.is_empty() => {
                told.insert((key, sketch));
                found.extend(claims);
            }
            (_, Said::Statement(Some(statement))) => news.push((cache, statement)),
            _ => {}
        }
    }
    learn(caches, news)?;
    let lacks = |key: &&PublicKey| {
        sketches.is_empty() || sketches.iter().any(|it| !told.contains(&(**key, it)))
    };
    let lacking: Vec<PublicKey> = keys.iter().filter(lacks).copied().collect();
    let about: Vec<About<'_>> = labels.iter().map(About::Hint).collect();
    for (_, said) in ask_about(caches, &lacking, &about) {
        if let Said::Hint(claims) = said {
            found.extend(claims);
        }
    }
    Ok(found)
}

/// A request to a cache, about a key.
type Request<'c> = (&'c Cache, PublicKey, About<'c>);

/// Asks every cache about each of `keys`, all at one time.
fn ask_about<'c>(
    caches: &'c Caches<'_>,
    keys: &[PublicKey],
    about: &[About<'c>],
) -> Vec<(Request<'c>, Said)> {
    let mut requests = Vec::new();
    for cache in caches.alive() {
        for key in keys {
            requests.extend(about.iter().map(|about| (cache, *key, *about)));
        }
    }
    let said = parallel::map(&requests, |(cache, key, about)| {
        ask_key(caches, cache, key, *about)
    });
    requests.into_iter().zip(said).collect()
}

fn ask_key(caches: &Caches<'_>, cache: &Cache, key: &PublicKey, about: About<'_>) -> Said {
    if !cache.is_alive() {
        return Said::Nothing;
    }
    let backend = &*cache.backend;
    match about {
        About::Version => {
            caches.look_at(cache);
            Said::Nothing
        }
        About::Statement => match claims::read_statement(backend, key) {
            Ok(statement) => Said::Statement(statement),
            Err(error) => {
                refuse(caches, cache, error);
                Said::Nothing
            }
        },
        About::Hint(subject) => match hint::read(backend, subject, key) {
            Ok(claims) => Said::Hint(claims),
            Err(error) => {
                refuse(caches, cache, error.into());
                Said::Nothing
            }
        },
    }
}

/// Tells what is wrong with a cache, or with a file of it.
pub(super) fn refuse(caches: &Caches<'_>, cache: &Cache, error: ClaimError) {
    match error {
        // One file that is nonsense says nothing of the others.
        ClaimError::Backend(error) if matches!(error.kind, Kind::Protocol(_)) => {
            caches.doubt(cache, &error);
        }
        ClaimError::Backend(error) => caches.skip(cache, &error),
        error => caches.doubt(cache, &error),
    }
}

/// Takes in what keys say of themselves, and remembers it.
fn learn(caches: &Caches<'_>, news: Vec<(&Cache, Statement)>) -> Result<(), BuildError> {
    let mut fresh = Vec::new();
    {
        let mut statements = caches.statements.lock().unwrap_or_else(|e| e.into_inner());
        for (cache, statement) in news {
            let known = statement.key().and_then(|key| statements.of(&key).cloned());
            match statements.learn(&statement) {
                Ok(()) if known.as_ref() == Some(&statement) => {}
                Ok(()) => fresh.push(statement),
                Err(error @ StatementError::Contradicts { .. }) => {
                    let text = format!("{}: {error}", cache.name);
                    return Err(BuildError::new(FailureClass::Untrusted, text));
                }
                Err(error) => caches.doubt(cache, &error),
            }
        }
    }
    caches
        .store
        .remember_statements(&fresh)
        .map_err(store_error)
}

/// Asks every cache for every key's claim about what no hint told.
fn one_by_one(caches: &Caches<'_>, open: &mut [&mut Question<'_>]) {
    let keys = keys_to_ask(caches);
    let mut requests = Vec::new();
    for (at, question) in open.iter().enumerate() {
        for cache in caches.alive() {
            requests.extend(
                keys.iter()
                    .map(|key| (at, cache, question.asked.recipe, *key)),
            );
        }
    }
    let found = parallel::map(&requests, |(_, cache, recipe, key)| {
        read_claim(caches, cache, recipe, key)
    });
    for ((at, ..), claim) in requests.iter().zip(found) {
        open[*at].take(&claim);
    }
}

/// The listed keys and all that follow them.
pub(super) fn keys_to_ask(caches: &Caches<'_>) -> Vec<PublicKey> {
    let statements = caches.statements.lock().unwrap_or_else(|e| e.into_inner());
    let mut keys: Vec<PublicKey> = caches.policy.keys.iter().map(|known| known.key).collect();
    let mut at = 0;
    while let Some(key) = keys.get(at) {
        let next = statements.of(key).and_then(Statement::successor);
        keys.extend(next.filter(|next| !keys.contains(next)));
        at += 1;
    }
    keys
}

fn read_claim(
    caches: &Caches<'_>,
    cache: &Cache,
    recipe: &RecipeKey,
    key: &PublicKey,
) -> Option<SignedRealisation> {
    if !cache.is_alive() || caches.cancel.is_cancelled() {
        return None;
    }
    match claims::read(&*cache.backend, recipe, key) {
        Ok(claim) => claim,
        Err(error) => {
            refuse(caches, cache, error);
            None
        }
    }
}

/// The claims about `asked` that do not count, with the reasons; nothing that does.
pub(super) fn refused(caches: &Caches<'_>, asked: Asked<'_>) -> Vec<Refused> {
    let mut refused = Vec::new();
    for cache in caches.alive() {
        for key in signers(caches, cache, &asked.recipe) {
            let Some(claim) = read_claim(caches, cache, &asked.recipe, &key) else {
                continue;
            };
            let statements = caches.statements.lock().unwrap_or_else(|e| e.into_inner());
            let Asked { name, recipe } = &asked;
            if let Err(why) = caches.policy.count(&statements, name, recipe, &claim) {
                let cache = cache.name.clone();
                refused.push(Refused { cache, key, why });
            }
        }
    }
    refused
}

/// Who has claims about `recipe` in a cache: whoever it lists; where it lists
/// nothing, those of the policy may.
fn signers(caches: &Caches<'_>, cache: &Cache, recipe: &RecipeKey) -> Vec<PublicKey> {
    match cache.backend.list(&claims::claims_of(recipe)) {
        Ok(Some(files)) => {
            let last = |name: &str| name.rsplit('/').next()?.parse::<Digest>().ok();
            let digests = files.iter().filter_map(|file| last(file.name.as_str()));
            let keys = digests.filter_map(|digest| PublicKey::new(*digest.as_bytes()).ok());
            keys.collect()
        }
        Ok(None) => keys_to_ask(caches),
        Err(error) => {
            refuse(caches, cache, error.into());
            Vec::new()
        }
    }
}

/// Of `outputs` the names of those that no cache says it has the bytes of.
pub(super) fn lost(caches: &Caches<'_>, outputs: &OutputMap) -> Vec<String> {
    let is_there = |tree: &TreeId| {
        caches.alive().any(|cache| {
            let size = cache.backend.size(&tree_name(tree));
            matches!(size, Ok(Some(_)))
        })
    };
    let lost = outputs.iter().filter(|(_, tree)| !is_there(tree));
    lost.map(|(name, _)| name.clone()).collect()
}

fn conflict(caches: &Caches<'_>, name: &str, both: &(Counted, Counted)) -> BuildError {
    let mut text = format!("two trusted claims about `{name}` contradict each other:");
    for one in [&both.0, &both.1] {
        let claim = &one.claim.realisation;
        let known = caches.policy.keys.iter().find(|known| known.key == one.key);
        let who: Vec<_> = known
            .iter()
            .flat_map(|known| &known.attributes)
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let outputs: Vec<_> = claim
            .outputs
            .iter()
            .map(|(output, tree)| format!("{output} = {tree}"))
            .collect();
        text.push_str(&format!(
            "\n  {} ({}) on {}: {}",
            one.key,
            who.join(", "),
            claim.build_platform,
            outputs.join(", ")
        ));
    }
    text.push_str("\n  nothing of it is used; build it yourself with --no-caches and compare");
    BuildError::new(FailureClass::Untrusted, text)
}
