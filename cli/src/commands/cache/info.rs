//! `kiln cache info`.

use kiln_derivations::manifest::Sharing;
use kiln_store::cache::backend::Backend;
use kiln_store::cache::claims;
use kiln_store::cache::survey::{Count, Survey, survey};
use kiln_store::cache::version::{self, VERSION};
use kiln_store::trust::key::PublicKey;
use kiln_store::trust::statement::{Standing, Statements};
use serde::Serialize;

use super::{failed, refused};
use crate::commands::push::Watching;
use crate::context::Context;
use crate::error::CliError;
use crate::progress::bytes;
use crate::{output, sharing};

#[derive(Serialize)]
struct Info {
    place: String,
    format: u32,
    /// Whether it says so itself.
    format_said: bool,
    /// Whether parts of files come alone; none where there is nothing to try with.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<bool>,
    /// What it holds; none if it cannot list.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Holds>,
}

#[derive(Serialize)]
struct Holds {
    packs: Count,
    indexes: Count,
    trees: Count,
    claims: Count,
    hints: Count,
    statements: Count,
    signers: Vec<Signer>,
}

#[derive(Serialize)]
struct Signer {
    key: PublicKey,
    claims: u64,
    /// Whether claims of it count here.
    counts: bool,
    /// The key of the policy that it counts as.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    listed: Option<PublicKey>,
    revoked: bool,
}

/// Says what a cache is and holds.
pub fn run(context: &Context, text: &str) -> Result<(), CliError> {
    let sharing = sharing::here(context)?;
    let place = sharing::place(&sharing, text)?;
    let backend = &*place.backend;
    let said = version::read(backend).map_err(|error| refused(&error))?;
    let parts = match said {
        Some(_) => backend.sends_parts(&version::name()),
        None => Ok(None),
    };
    let surveyed = survey(backend, &Watching(context)).map_err(failed)?;
    let holds = match surveyed {
        None => None,
        Some(survey) => {
            let statements = context.store()?.statements()?;
            Some(Holds::of(backend, survey, &sharing, statements)?)
        }
    };
    let info = Info {
        place: backend.place(),
        format: said.unwrap_or(VERSION),
        format_said: said.is_some(),
        parts: parts.map_err(|error| failed(error.into()))?,
        holds,
    };
    match context.global.json {
        true => output::json(info),
        false => print(&info),
    }
}

impl Holds {
    fn of(
        backend: &dyn Backend,
        survey: Survey,
        sharing: &Sharing,
        mut statements: Statements,
    ) -> Result<Self, CliError> {
        let listed = sharing.policy.keys.iter().map(|known| known.key);
        for key in survey.signers.keys().copied().chain(listed) {
            // An old or a forged statement says nothing; who pulls is told.
            if let Ok(Some(statement)) = claims::read_statement(backend, &key) {
                let _ = statements.learn(&statement);
            }
        }
        let signers = survey.signers.iter();
        let signers = signers.map(|(key, claims)| signer(*key, *claims, sharing, &statements));
        Ok(Self {
            packs: survey.packs,
            indexes: survey.indexes,
            trees: survey.trees,
            claims: survey.claims,
            hints: survey.hints,
            statements: survey.statements,
            signers: signers.collect(),
        })
    }
}

fn signer(key: PublicKey, claims: u64, sharing: &Sharing, statements: &Statements) -> Signer {
    let standing = statements.standing(&key);
    let known = |key: &PublicKey| sharing.policy.keys.iter().any(|it| it.key == *key);
    let listed = match &standing {
        Standing::Good(keys) => keys.iter().find(|key| known(key)).copied(),
        Standing::Revoked => None,
    };
    Signer {
        key,
        claims,
        counts: listed.is_some(),
        listed,
        revoked: standing == Standing::Revoked,
    }
}

fn print(info: &Info) -> Result<(), CliError> {
    output::line(&format!("place       {}", info.place))?;
    output::line(&match info.format_said {
        true => format!("format      version {}", info.format),
        false => format!(
            "format      version {}, which it does not say itself",
            info.format
        ),
    })?;
    output::line(&format!(
        "parts       {}",
        match info.parts {
            Some(true) => "come alone",
            Some(false) => "are cut out of the whole file here: packs come whole",
            None => "not tried: `kiln cache init` leaves a file to try with",
        }
    ))?;
    let Some(holds) = &info.holds else {
        let text =
            "listing     this kind of server has none; what it holds is told where the files lie";
        return output::line(text);
    };
    output::line("listing     yes")?;
    for (what, count) in [
        ("packs", &holds.packs),
        ("indexes", &holds.indexes),
        ("trees", &holds.trees),
        ("claims", &holds.claims),
        ("hints", &holds.hints),
        ("statements", &holds.statements),
    ] {
        output::line(&format!(
            "{what:11} {} ({})",
            count.files,
            bytes(count.bytes)
        ))?;
    }
    for signer in &holds.signers {
        let stands = match (signer.revoked, signer.listed) {
            (true, _) => "revoked".to_owned(),
            (false, None) => "not in the policy here".to_owned(),
            (false, Some(listed)) if listed == signer.key => "in the policy here".to_owned(),
            (false, Some(listed)) => format!("follows {listed}, which is in the policy here"),
        };
        let Signer { key, claims, .. } = signer;
        output::line(&format!("signer      {key}: {claims} claims; {stands}"))?;
    }
    Ok(())
}
