//! `kiln cache init`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_store::cache::claims::{CLAIMS, HINTS, KEYS};
use kiln_store::cache::id::{CONDEMNED, INDEXES, PACKS, TREES};
use kiln_store::cache::init::{Abilities, Ability, Outcome, init};
use kiln_store::cache::version::{FILE, VERSION};
use serde::Serialize;

use super::refused;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::output;
use crate::sharing::{self, Place};

/// What may lie in the directory of a cache, or in one that shall be one.
const OURS: [&str; 9] = [
    FILE,
    PACKS,
    INDEXES,
    TREES,
    CLAIMS,
    KEYS,
    HINTS,
    CONDEMNED,
    "lost+found",
];

#[derive(Serialize)]
struct Made {
    place: String,
    /// Whether it is a cache now, and was none.
    made: bool,
    /// Whether it is a cache.
    serves: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abilities: Option<Tried>,
    /// A file that could be written and not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<String>,
}

#[derive(Serialize)]
struct Tried {
    write: Answer,
    read: Answer,
    parts: Answer,
    list: Answer,
    remove: Answer,
}

#[derive(Serialize)]
struct Answer {
    works: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Makes a cache.
pub fn run(context: &Context, text: &str) -> Result<(), CliError> {
    let place = sharing::place(&sharing::here(context)?, text)?;
    let directory = match &place.directory {
        Some(path) => NewDirectory::make(path)?,
        None => NewDirectory(None),
    };
    let outcome = init(&*place.backend).map_err(|error| refused(&error))?;
    let made = made(&place, &outcome);
    if made.serves {
        directory.keep();
    }
    match context.global.json {
        true => output::json(&made)?,
        false => print(&place, &outcome, &made)?,
    }
    match made.serves {
        true => Ok(()),
        false => Err(CliError::Said(ExitStatus::Infrastructure)),
    }
}

/// A directory that goes again unless it becomes a cache.
struct NewDirectory(Option<PathBuf>);

impl NewDirectory {
    fn make(path: &Path) -> Result<Self, CliError> {
        let failed = |error: io::Error| CliError::machine(format!("{}: {error}", path.display()));
        match fs::create_dir(path) {
            Ok(()) => Ok(Self(Some(path.to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                refuse_others(path).map_err(failed)??;
                Ok(Self(None))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(failed(error).with_hint("the directory that it shall be in has to be there"))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // It goes only if it is empty.
            let _ = fs::remove_dir(path);
        }
    }
}

/// A cache in the middle of somebody's files would be a typing mistake.
fn refuse_others(path: &Path) -> io::Result<Result<(), CliError>> {
    let mut others = None;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        match OURS.iter().any(|ours| *ours == name) {
            true if name != "lost+found" => return Ok(Ok(())),
            true => {}
            false => others = Some(name),
        }
    }
    Ok(match others {
        None => Ok(()),
        Some(other) => {
            let (path, other) = (path.display(), other.display());
            let message = format!("{path} has other files, such as `{other}`");
            Err(CliError::usage(message).with_hint("a cache wants a directory of its own"))
        }
    })
}

fn made(place: &Place, outcome: &Outcome) -> Made {
    let (made, format, abilities, left) = match outcome {
        Outcome::There(version) => (false, Some(*version), None, None),
        Outcome::Tried { abilities, left } => {
            let serves = abilities.serve();
            (
                serves,
                serves.then_some(VERSION),
                Some(abilities),
                left.as_ref(),
            )
        }
    };
    Made {
        place: place.backend.place(),
        made,
        serves: format.is_some(),
        format,
        abilities: abilities.map(Tried::of),
        left: left.map(ToString::to_string),
    }
}

impl Tried {
    fn of(abilities: &Abilities) -> Self {
        let answer = |ability: &Ability| Answer {
            works: ability.works(),
            why: match ability {
                Ability::No(why) => Some(why.clone()),
                Ability::Yes | Ability::Untried => None,
            },
        };
        Self {
            write: answer(&abilities.write),
            read: answer(&abilities.read),
            parts: answer(&abilities.parts),
            list: answer(&abilities.list),
            remove: answer(&abilities.remove),
        }
    }
}

fn print(place: &Place, outcome: &Outcome, made: &Made) -> Result<(), CliError> {
    match outcome {
        Outcome::There(version) => {
            let text = format!("{} is a cache already, of version {version}", made.place);
            output::line(&format!("{text}; nothing was changed"))?;
        }
        Outcome::Tried { abilities, .. } => {
            for line in told(abilities) {
                output::line(&line)?;
            }
            if let Some(left) = &made.left {
                output::line(&format!("`{left}` could not be removed, and stays there"))?;
            }
            let verdict = match made.serves {
                true => format!("is a cache now, of version {VERSION}"),
                false => "cannot be a cache, and nothing was changed".to_owned(),
            };
            output::line(&format!("{} {verdict}", made.place))?;
        }
    }
    if made.serves && !place.is_named {
        let name = suggested(&place.url);
        let text = "for the manifest, or the configuration";
        output::line(&format!(
            "{text}:\n\n[cache.{name}]\nurl = {:?}",
            shown(place)
        ))?;
    }
    Ok(())
}

/// A line for each ability, with what follows from its lack.
fn told(abilities: &Abilities) -> Vec<String> {
    let lines = [
        ("write", &abilities.write, "nothing can be pushed here"),
        ("read", &abilities.read, "nothing can be pulled from here"),
        (
            "parts",
            &abilities.parts,
            "whole packs are sent where a part would do",
        ),
        (
            "list",
            &abilities.list,
            "`kiln cache gc`, `check` and most of `info` have to run where the files lie",
        ),
        (
            "remove",
            &abilities.remove,
            "`kiln cache gc` can remove nothing here",
        ),
    ];
    let line = |(what, ability, follows): (&str, &Ability, &str)| match ability {
        Ability::Yes => format!("{what:7} yes"),
        Ability::No(why) => format!("{what:7} no: {why}; {follows}"),
        Ability::Untried => format!("{what:7} not tried"),
    };
    lines.into_iter().map(line).collect()
}

/// What others write to reach it. A login is for its user's own files.
fn shown(place: &Place) -> String {
    match &place.directory {
        Some(path) => path.display().to_string(),
        None => without_login(&place.url),
    }
}

fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// A name for a manifest: the last word of the URL that can be one.
fn suggested(url: &str) -> String {
    let url = without_login(url);
    let url = url.split('?').next().unwrap_or_default();
    let mut words = url.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    let word = words.rfind(|word| !word.is_empty());
    word.unwrap_or("team").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_has_a_name_and_no_login() {
        let check = |url: &str, name: &str, shown: &str| {
            assert_eq!(suggested(url), name, "{url}");
            assert_eq!(without_login(url), shown, "{url}");
        };
        check("/srv/Cache/", "cache", "/srv/Cache/");
        check(
            "https://me:a@b@x.example:80/kiln",
            "kiln",
            "https://x.example:80/kiln",
        );
        check(
            "s3://bucket/a.b?endpoint=http://u@h",
            "b",
            "s3://bucket/a.b?endpoint=http://u@h",
        );
        check(
            "oci://r.example/team/cache",
            "cache",
            "oci://r.example/team/cache",
        );
        check("/", "team", "/");
    }
}
