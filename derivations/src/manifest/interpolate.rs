//! `${…}` in the texts of a manifest.

use super::problem::{Problem, nearest};
use super::span::At;
use crate::derivation::Target;

/// What `${…}` can stand for.
const VARIABLES: [&str; 4] = ["console", "flake.name", "target", "target.debian"];

/// The values of variables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variables<'a> {
    /// `${flake.name}`.
    pub(super) flake: &'a str,
    /// `${target}` and what follows from it; absent where one result serves
    /// all targets.
    pub(super) target: Option<Target>,
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Result<&str, Option<&'static str>> {
        let of_target = |value: fn(Target) -> &'static str| {
            let why = "it is the same for all targets, so no target can be part of it";
            self.target.map(value).ok_or(Some(why))
        };
        match name {
            "flake.name" => Ok(self.flake),
            "target" => of_target(Target::name),
            "target.debian" => of_target(Target::debian),
            "console" => of_target(console),
            _ => Err(None),
        }
    }
}

/// The first serial port of an emulated machine.
const fn console(target: Target) -> &'static str {
    match target {
        Target::X86_64 => "ttyS0",
        Target::Aarch64 => "ttyAMA0",
    }
}

/// Puts values in place of `${name}`; `$${` is a plain `${`.
pub(super) fn interpolate(text: &At<String>, variables: Variables<'_>) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.value.as_str();
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let (name, after) = rest[at + 2..].split_once('}').ok_or_else(|| {
            Problem::at(text.span, "`${` without its `}`", "in this text")
                .help("write `$${` for a plain `${`")
        })?;
        out.push_str(
            variables
                .get(name)
                .map_err(|why| unknown(text, name, why))?,
        );
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(text: &At<String>, name: &str, why: Option<&str>) -> Problem {
    match why {
        Some(why) => Problem::at(text.span, format!("`${{{name}}}` has no value here"), why),
        None => {
            let message = format!("unknown variable `${{{name}}}`");
            let help = match nearest(name, &VARIABLES) {
                Some(near) => {
                    format!("did you mean `${{{near}}}`? A plain `${{` is written `$${{`")
                }
                None => format!(
                    "there are {}; a plain `${{` is written `$${{`",
                    VARIABLES.join(", ")
                ),
            };
            Problem::at(text.span, message, "in this text").help(help)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::span::Span;

    fn check(text: &str, expected: Result<&str, &str>) {
        let variables = Variables {
            flake: "f",
            target: Some(Target::Aarch64),
        };
        let text = At::new(text.to_owned(), Span::default());
        let result = interpolate(&text, variables).map_err(|p| p.message);
        assert_eq!(result.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn interpolates() {
        check("plain $x $", Ok("plain $x $"));
        check(
            "${target}/${target.debian}-${flake.name}",
            Ok("aarch64/arm64-f"),
        );
        check("console=${console}", Ok("console=ttyAMA0"));
        check("$${target} $$${x}", Ok("${target} $${x}"));
        check("${nope}", Err("unknown variable `${nope}`"));
        check("a ${target", Err("`${` without its `}`"));
    }
}
