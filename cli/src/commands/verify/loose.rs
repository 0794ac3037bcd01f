//! A loose file against what was built.

use std::path::Path;

use kiln_derivations::compose::paths;
use kiln_store::tree::Node;
use serde::Serialize;

use super::rehash::not_built;
use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::output;
use crate::workshop::Workshop;

#[derive(Serialize)]
struct Loose<'a> {
    file: &'a str,
    against: &'a str,
    expected: String,
    got: String,
    same: bool,
}

/// Compares a file with the one of the same name in an output.
pub(super) fn run(context: &Context, args: &VerifyArgs, name: &str) -> Result<(), CliError> {
    let [file] = args.names.as_slice() else {
        return Err(CliError::usage("--against compares one file")
            .with_hint("kiln verify FILE --against NAME"));
    };
    let expected = stored_file(context, args, name, Path::new(file))?;
    let got = hash_file(Path::new(file))?;
    let result = Loose {
        file,
        against: name,
        same: expected == got,
        expected,
        got,
    };
    let same = result.same;
    if context.global.json {
        output::json(&result)?;
    } else if same {
        output::line(&format!("{file} is what `{name}` has: {}", result.got))?;
    }
    match same {
        true => Ok(()),
        false => Err(CliError::plain(
            ExitStatus::HashMismatch,
            format!(
                "{file} is not what `{name}` has: expected {}, got {}",
                result.expected, result.got
            ),
        )),
    }
}

fn stored_file(
    context: &Context,
    args: &VerifyArgs,
    name: &str,
    file: &Path,
) -> Result<String, CliError> {
    let manifest = context.manifest()?;
    let evaluation = context.evaluate_names(&manifest, &[name.to_owned()], &args.realise)?;
    let workshop = Workshop::open(context, &args.realise)?;
    let roots = crate::workshop::root_ids(&evaluation);
    let known = workshop.known(&evaluation.graph, &roots)?;
    let base = file.file_name().unwrap_or_default().to_string_lossy();
    for root in &roots {
        let outputs = known[root.index()]
            .as_ref()
            .ok_or_else(|| not_built(name))?;
        for (_, tree) in outputs {
            let node = paths::lookup(workshop.store(), tree, &format!("/{base}"));
            let node = node.map_err(|error| CliError::machine(error.to_string()))?;
            if let Some(Node::File { content, .. }) = node {
                return Ok(content.to_string());
            }
        }
    }
    Err(CliError::usage(format!("`{name}` has no file `{base}`"))
        .with_hint("name the file as it is called in the output"))
}

fn hash_file(path: &Path) -> Result<String, CliError> {
    kiln_store::hash::Digest::of_file(path)
        .map(|digest| digest.to_string())
        .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
}
