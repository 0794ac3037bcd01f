//! `kiln log`.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};

use kiln_derivations::derivation::Builder;
use kiln_store::hash::ActionKey;
use kiln_store::store::Store;

use crate::args::{LogArgs, RealiseArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use crate::workshop::Workshop;

/// Prints the log.
pub fn run(context: &Context, args: &LogArgs) -> Result<(), CliError> {
    let (store, action) = match args.name.parse() {
        Ok(action) => (context.store()?, action),
        Err(_) => by_name(context, args)?,
    };
    let Some(log) = store.read_log(&action)? else {
        return Err(
            CliError::usage(format!("there is no log of `{}`", args.name)).with_hint(
                "only scripts log, and what came from another store was not logged here",
            ),
        );
    };
    match args.tail {
        Some(count) => tail(log, count),
        None => copy(log),
    }
}

/// The action key that a name of the manifest has now.
fn by_name(context: &Context, args: &LogArgs) -> Result<(Store, ActionKey), CliError> {
    let realise = RealiseArgs {
        target: args.target.into_iter().collect(),
        ..RealiseArgs::default()
    };
    let manifest = context.manifest()?;
    let names = [args.name.clone()];
    let evaluation = context.evaluate_names(&manifest, &names, &realise)?;
    let workshop = Workshop::open(context, &realise)?;
    let Some(root) = evaluation.roots.first() else {
        return Err(CliError::usage(format!(
            "`{}` is nothing to build",
            args.name
        )));
    };
    let derivation = evaluation.graph.get(root.derivation);
    if !matches!(derivation.builder, Builder::Exec(_)) {
        return Err(CliError::usage(format!(
            "`{}` has no log: it is made by kiln itself ({})",
            args.name,
            derivation.builder.kind()
        )));
    }
    let keys = workshop.keys(&evaluation.graph, root.derivation)?;
    let Some(keys) = keys else {
        return Err(CliError::usage(format!(
            "`{}` was not built yet, nor was all that it needs",
            args.name
        )));
    };
    Ok((workshop.into_store(), keys.action))
}

fn copy(mut log: Box<dyn Read + Send>) -> Result<(), CliError> {
    match io::copy(&mut log, &mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::machine(format!("the log: {error}"))),
        Ok(_) => {
            let _ = io::stdout().flush();
            Ok(())
        }
    }
}

fn tail(log: Box<dyn Read + Send>, count: usize) -> Result<(), CliError> {
    let mut last = VecDeque::with_capacity(count.min(1 << 16));
    for line in BufReader::new(log).split(b'\n') {
        let line = line.map_err(|error| CliError::machine(format!("the log: {error}")))?;
        last.push_back(line);
        if last.len() > count {
            last.pop_front();
        }
    }
    last.iter()
        .try_for_each(|line| output::line(&String::from_utf8_lossy(line)))
}
