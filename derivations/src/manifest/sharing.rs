//! With whom is shared: the caches and the policy that count here, from the
//! manifest that is built and from the user's own configuration.
//!
//! Of an imported flake neither counts: whoever writes one would otherwise decide
//! whom everyone that imports it believes.

use std::collections::BTreeMap;

use kiln_store::cache::pace::Rate;
use kiln_store::trust::policy::{BUILD_PLATFORM, Policy, TrustedKey};

use super::assemble::Manifest;
use super::parse::parse_kinds;
use super::problem::{ManifestError, Problem, SourceFile};
use super::schema::sharing::{self, Cache, Trust};
use super::schema::{Document, Table};
use super::span::{At, FileId, Span};

/// The attribute of a key that says who runs its builder.
const OPERATOR: &str = "operator";
/// Policies try all sets of keys that agree, and so cannot be large.
const MAX_KEYS: usize = 64;

/// The user's own configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Caches by name.
    pub caches: Table<Cache>,
    /// Whom to believe.
    pub trust: Option<At<Trust>>,
}

/// A cache that counts here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedCache {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// How fast bytes go to and from it at most.
    pub bandwidth: Option<Rate>,
}

/// What counts here.
#[derive(Clone, Debug, Default)]
pub struct Sharing {
    /// The caches, the user's before the manifest's.
    pub caches: Vec<NamedCache>,
    /// Whom to believe; nobody if none is set.
    pub policy: Policy,
}

impl Settings {
    /// Reads a configuration file; `name` is what errors call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ManifestError> {
        let files = [SourceFile {
            name: name.to_owned(),
            text: text.into(),
        }];
        let (document, mut problems) = parse_kinds(FileId(0), text, &["cache", "trust"]);
        let Document { cache, trust, .. } = document;
        if problems.is_empty() {
            check(&cache, trust.as_ref(), &mut problems);
        }
        ManifestError::check(problems, &files)?;
        Ok(Self {
            caches: cache,
            trust,
        })
    }
}

impl Sharing {
    /// Puts both together: the user's caches come first, and the user's policy
    /// takes the place of the manifest's.
    pub fn new(manifest: &Manifest, settings: &Settings) -> Self {
        let mut caches: Vec<NamedCache> = Vec::new();
        for (name, cache) in settings.caches.iter().chain(&manifest.caches) {
            if caches.iter().all(|known| known.name != name.value) {
                caches.push(NamedCache {
                    name: name.value.clone(),
                    url: cache.url.value.clone(),
                    bandwidth: cache.bandwidth.map(|it| it.0),
                });
            }
        }
        let trust = settings.trust.as_ref().or(manifest.trust.as_ref());
        Self {
            caches,
            policy: trust.map(|trust| policy(trust)).unwrap_or_default(),
        }
    }
}

/// Checks what both kinds of file may say.
pub(super) fn check(caches: &Table<Cache>, trust: Option<&At<Trust>>, problems: &mut Vec<Problem>) {
    for cache in caches.values() {
        if cache.url.is_empty() {
            let message = "a cache without a place";
            problems.push(Problem::at(cache.url.span, message, "expected a URL"));
        }
    }
    if let Some(trust) = trust {
        check_keys(trust, problems);
        check_numbers(trust, problems);
    }
}

fn check_keys(trust: &At<Trust>, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<_, Span> = BTreeMap::new();
    for key in &trust.keys {
        if let Some(first) = seen.insert(key.key.value.0, key.key.span) {
            let message = "a key is listed twice";
            let problem = Problem::at(key.key.span, message, "the second time");
            problems.push(problem.and(first, "first listed here"));
        }
        for attribute in [OPERATOR, BUILD_PLATFORM] {
            if key.attributes.contains_key(attribute) {
                let message = format!("`{attribute}` is no attribute of one's own");
                let label = "of this key";
                let help = format!("write `{attribute} = \"…\"` beside `key`");
                problems.push(Problem::at(key.key.span, message, label).help(help));
            }
        }
        for name in &key.names {
            if let Err(error) = globset::Glob::new(name) {
                let message = format!("`{}` is not a glob: {}", name.value, error.kind());
                problems.push(Problem::at(name.span, message, "here"));
            }
        }
    }
    if trust.keys.len() > MAX_KEYS {
        let message = format!("{} keys are more than {MAX_KEYS}", trust.keys.len());
        problems.push(Problem::at(trust.span, message, "in this policy"));
    }
}

fn check_numbers(trust: &At<Trust>, problems: &mut Vec<Problem>) {
    let attributes: Vec<_> = trust.keys.iter().map(attributes).collect();
    for name in &trust.distinct {
        if !attributes.iter().any(|of| of.contains_key(&name.value)) {
            let known = attributes
                .iter()
                .flat_map(|of| of.keys().map(String::as_str));
            let message = format!("no key has the attribute `{}`", name.value);
            let problem = Problem::at(name.span, message, "so no two keys differ in it");
            problems.push(problem.suggest(name, known));
        }
    }
    let Some(require) = &trust.require else {
        return;
    };
    let message = match require.value {
        0 => "no claim would have to agree".to_owned(),
        more if more as usize > trust.keys.len() => {
            format!("{more} claims can never agree")
        }
        _ => return,
    };
    let label = format!("expected 1 to {}, the number of keys", trust.keys.len());
    problems.push(Problem::at(require.span, message, label));
}

fn attributes(key: &sharing::TrustedKey) -> BTreeMap<String, String> {
    let mut attributes = key.attributes.clone();
    let own = [
        (OPERATOR, &key.operator),
        (BUILD_PLATFORM, &key.build_platform),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    attributes
}

fn policy(trust: &Trust) -> Policy {
    let keys = trust.keys.iter().filter_map(|key| {
        let names: Vec<_> = key.names.iter().map(|name| name.value.clone()).collect();
        // Globs were checked when the file was read.
        TrustedKey::new(key.key.value.0, attributes(key), &names).ok()
    });
    Policy {
        require: trust.require.as_ref().map_or(1, |it| it.value as usize),
        distinct: trust.distinct.iter().map(|it| it.value.clone()).collect(),
        keys: keys.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ed25519:8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    const B: &str = "ed25519:8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394";

    fn refused(text: &str, messages: &[&str]) {
        let error = Settings::parse("config.toml", text).expect_err("it is refused");
        let got: Vec<_> = error.problems().map(|it| it.message.clone()).collect();
        assert_eq!(got, messages, "{text}");
    }

    #[test]
    fn the_users_caches_come_first_and_the_users_policy_alone_counts() {
        let manifest = Settings::parse(
            "flake-like.toml",
            &format!(
                "[cache.team]\nurl = \"https://their.example\"\n[cache.other]\nurl = \"/srv\"\n\
                 [trust]\nkeys = [{{ key = \"{A}\" }}]\n"
            ),
        )
        .expect("it is right");
        let manifest = Manifest {
            caches: manifest.caches,
            trust: manifest.trust,
            ..Manifest::default()
        };
        let own = Settings::parse(
            "config.toml",
            &format!(
                "[cache.team]\nurl = \"https://mine.example\"\nbandwidth = \"2M\"\n\
                 [trust]\nrequire = 2\ndistinct = [\"operator\"]\nkeys = [\n\
                 {{ key = \"{A}\", operator = \"a\", build-platform = \"x86_64\" }},\n\
                 {{ key = \"{B}\", operator = \"b\", for = [\"linux*\"] }},\n]\n"
            ),
        )
        .expect("it is right");
        let sharing = Sharing::new(&manifest, &own);
        let caches: Vec<_> = sharing.caches.iter().map(|it| it.url.as_str()).collect();
        assert_eq!(caches, ["https://mine.example", "/srv"]);
        let rates = sharing.caches.iter().map(|it| it.bandwidth);
        let rates: Vec<_> = rates.map(|it| it.map(Rate::bytes_per_s)).collect();
        assert_eq!(rates, [Some(2_000_000), None]);
        assert_eq!((sharing.policy.require, sharing.policy.keys.len()), (2, 2));
        let attributes: Vec<_> = sharing.policy.keys[0].attributes.values().collect();
        assert_eq!(attributes, ["x86_64", "a"]);

        let without = Sharing::new(&manifest, &Settings::default());
        assert_eq!((without.policy.require, without.policy.keys.len()), (1, 1));
        let nobody = Sharing::new(&Manifest::default(), &Settings::default());
        assert!(nobody.policy.is_empty() && nobody.caches.is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        refused("[package.x]\n", &["unknown table `package`"]);
        refused("[cache.x]\n", &["missing key `url`"]);
        refused("[cache.x]\nurl = \"\"\n", &["a cache without a place"]);
        refused(
            "[cache.x]\nurl = \"/srv\"\nbandwidth = \"2 mb\"\n",
            &["`2 mb` is no rate"],
        );
        refused(
            "[trust]\nkeys = [{ key = \"ed25519:00\" }]\n",
            &["`ed25519:00` is no public key"],
        );
        refused(
            &format!("[trust]\nkeys = [{{ key = \"{A}\" }}, {{ key = \"{A}\" }}]\n"),
            &["a key is listed twice"],
        );
        refused(
            &format!("[trust]\nrequire = 2\nkeys = [{{ key = \"{A}\" }}]\n"),
            &["2 claims can never agree"],
        );
        refused(
            &format!("[trust]\nrequire = 0\nkeys = [{{ key = \"{A}\" }}]\n"),
            &["no claim would have to agree"],
        );
        refused(
            &format!(
                "[trust]\ndistinct = [\"operater\"]\nkeys = [{{ key = \"{A}\", operator = \"a\" }}]\n"
            ),
            &["no key has the attribute `operater`"],
        );
        refused(
            &format!(
                "[trust]\nkeys = [{{ key = \"{A}\", attributes = {{ operator = \"a\" }}, for = [\"[\"] }}]\n"
            ),
            &[
                "`operator` is no attribute of one's own",
                "`[` is not a glob: unclosed character class; missing ']'",
            ],
        );
    }
}
