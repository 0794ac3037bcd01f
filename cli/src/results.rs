//! What leaves the store, and what stays because a user built it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_derivations::manifest::{Evaluation, Manifest};
use kiln_derivations::realise::execute::Report;
use kiln_store::roots::Root;
use kiln_store::store::Store;

use crate::commands::build::Made;
use crate::error::CliError;

/// The name of the link in the working directory.
const RESULT: &str = "result";

/// Registers all derivations of what was built as roots, so that gc keeps an
/// image together with its toolchain.
pub fn keep(
    store: &Store,
    manifest: &Manifest,
    evaluation: &Evaluation,
    report: &Report,
) -> Result<(), CliError> {
    let directory = fs::canonicalize(&manifest.root).unwrap_or_else(|_| manifest.root.clone());
    for root in &evaluation.roots {
        let target = root.target.map_or("any", |target| target.name());
        let name = format!("{}#{}@{target}", directory.display(), root.wanted);
        let needed = evaluation.graph.closure(&[root.derivation]);
        let trees: Vec<_> = report
            .realised
            .iter()
            .filter(|(id, _, _)| needed[id.index()])
            .flat_map(|(_, _, outputs)| outputs.iter().map(|&(_, tree)| tree))
            .collect();
        store.add_roots(&[Root {
            name,
            realisation: None,
            trees,
        }])?;
    }
    Ok(())
}

/// Makes `result` (or `result-NAME-TARGET` where there are several) in the
/// working directory: a link to a copy that is the user's to read.
pub fn link(store: &Store, made: &[Made]) -> Result<Vec<PathBuf>, CliError> {
    made.iter()
        .map(|one| {
            let name = PathBuf::from(link_name(one, made.len()));
            let copy = store.result(&one.tree)?;
            replace_link(&copy, &name)?;
            Ok(name)
        })
        .collect()
}

fn link_name(one: &Made, count: usize) -> String {
    if count == 1 {
        return RESULT.to_owned();
    }
    let plain = one.name.replace(['/', '#', ':'], "-");
    match one.target {
        Some(target) => format!("{RESULT}-{plain}-{target}"),
        None => format!("{RESULT}-{plain}"),
    }
}

fn replace_link(copy: &Path, name: &Path) -> Result<(), CliError> {
    match fs::read_link(name) {
        Ok(target) if target == copy => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Something of the user's has that name.
        Err(_) => {
            return Err(CliError::usage(format!(
                "`{}` is in the way: it is no link of kiln's",
                name.display()
            ))
            .with_hint("move it, or give --out DIR or --no-result"));
        }
    }
    let partial = PathBuf::from(format!(".{}.{}", name.display(), std::process::id()));
    std::os::unix::fs::symlink(copy, &partial)
        .and_then(|()| fs::rename(&partial, name))
        .map_err(|error| {
            let _ = fs::remove_file(&partial);
            CliError::machine(format!("making the link `{}`: {error}", name.display()))
        })
}

/// Copies the outputs to `directory`: the output itself if it is the only one,
/// else each below its own name.
pub fn copy_out(store: &Store, made: &[Made], directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    if let [one] = made {
        store.export(&one.tree, directory, false)?;
        return Ok(vec![directory.to_owned()]);
    }
    fs::create_dir(directory)
        .map_err(|error| CliError::usage(format!("{}: {error}", directory.display())))?;
    made.iter()
        .map(|one| {
            let name = link_name(one, made.len());
            let name = name.trim_start_matches("result-");
            let path = directory.join(name);
            store.export(&one.tree, &path, false)?;
            Ok(path)
        })
        .collect()
}
