//! `kiln test`: the manifest's boot checks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_derivations::boot::{self, Accel, Check, CheckReport};
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::evaluate::{BootCheckInfo, Disk as Files};
use kiln_derivations::manifest::{self, Manifest};
use serde::Serialize;

use crate::args::TestArgs;
use crate::context::{self, Context};
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::guest::{self, Hardware};
use crate::output;
use crate::workshop::Workshop;

/// So much of its console a failed check shows.
const SHOWN_LINES: usize = 30;

#[derive(Serialize)]
struct Json {
    checks: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    check: String,
    target: &'static str,
    format: String,
    passed: bool,
    why: String,
    elapsed_s: f64,
    transcript: String,
}

/// Runs every check on every target and format that was asked for.
pub fn run(context: &Context, args: &TestArgs) -> Result<(), CliError> {
    let manifest = context.manifest()?;
    let names = names(&manifest, args)?;
    let transcripts = transcripts(args)?;
    let workshop = Workshop::open(context, &args.realise)?;
    let targets = match args.realise.target.as_slice() {
        [] => vec![context::host()?],
        targets => targets.to_vec(),
    };
    let mut checks = Vec::new();
    for name in &names {
        for target in &targets {
            checks.extend(check(
                context,
                &workshop,
                &manifest,
                (name, *target),
                &transcripts,
            )?);
        }
    }
    let passed = checks.iter().filter(|check| check.passed).count();
    let failed = checks.len() - passed;
    if context.global.json {
        output::json(Json { checks })?;
    } else {
        output::line(&format!("{passed} passed, {failed} failed"))?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(CliError::Said(ExitStatus::BuildFailed)),
    }
}

fn names(manifest: &Manifest, args: &TestArgs) -> Result<Vec<String>, CliError> {
    if !args.names.is_empty() {
        return Ok(args.names.clone());
    }
    let names: Vec<_> = manifest
        .boot_checks
        .keys()
        .map(|name| name.to_string())
        .collect();
    match names.is_empty() {
        true => Err(CliError::usage("the manifest has no boot check")
            .with_hint("add `[boot-check.NAME]` with `image` and `expect`")),
        false => Ok(names),
    }
}

fn transcripts(args: &TestArgs) -> Result<PathBuf, CliError> {
    let directory = args.transcripts.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&directory)
        .map_err(|error| CliError::usage(format!("{}: {error}", directory.display())))?;
    Ok(directory)
}

fn check(
    context: &Context,
    workshop: &Workshop<'_>,
    manifest: &Manifest,
    (name, target): (&str, Target),
    transcripts: &Path,
) -> Result<Vec<Outcome>, CliError> {
    let lock = context.lock()?;
    let platform = workshop.build_platform()?;
    let (graph, info) =
        manifest::evaluate::boot_check(manifest, &lock, name, (platform, target), &Files)
            .map_err(CliError::manifest)?;
    let report = workshop.realise(manifest, &graph, &[info.image.derivation])?;
    let checkout = workshop.checkout(&report)?;
    let hardware = Hardware {
        memory_mib: u32::try_from(info.memory_bytes >> 20).unwrap_or(u32::MAX),
        cpus: info.cpus,
        accel: Accel::Auto,
    };
    let mut outcomes = Vec::new();
    for format in &info.formats {
        let picked = guest::pick_format(&info.image, Some(format))?;
        let image = (&info.image, &checkout);
        let machine = guest::machine(workshop, manifest, image, picked, &hardware, &info.cmdline)?;
        let transcript = transcripts.join(format!("{name}-{target}-{format}.log"));
        let report = boot_once(context, &machine, &info, transcript)?;
        outcomes.push(outcome(context, &info, format, &report)?);
    }
    Ok(outcomes)
}

fn boot_once(
    context: &Context,
    machine: &boot::Machine,
    info: &BootCheckInfo,
    transcript: PathBuf,
) -> Result<CheckReport, CliError> {
    let failed = |error: boot::BootError| CliError::machine(crate::error::chain(&error));
    let cancel = || context.cancel.is_cancelled();
    let choice = boot::choose(machine, &cancel).map_err(failed)?;
    let mut expect = vec![info.expect.clone()];
    expect.extend(info.expect_then.iter().cloned());
    let check = Check {
        expect,
        refuse: info.refuse.clone(),
        input: (!info.input.is_empty()).then(|| info.input.clone().into_bytes()),
        up: info.expect.clone(),
        limit: Duration::from_secs(info.limit_s),
        transcript,
    };
    boot::check(machine, choice.engine, &check, &cancel).map_err(failed)
}

fn outcome(
    context: &Context,
    info: &BootCheckInfo,
    format: &str,
    report: &CheckReport,
) -> Result<Outcome, CliError> {
    let outcome = Outcome {
        check: info.name.clone(),
        target: info.image.target.name(),
        format: format.to_owned(),
        passed: report.passed,
        why: report.why.clone(),
        elapsed_s: report.elapsed.as_secs_f64(),
        transcript: report.transcript.display().to_string(),
    };
    if !context.global.json {
        let word = if outcome.passed { "ok" } else { "FAILED" };
        output::line(&format!(
            "{word:6} {} {} {} in {:.1} s: {}; {}",
            outcome.check,
            outcome.target,
            outcome.format,
            outcome.elapsed_s,
            outcome.why,
            outcome.transcript
        ))?;
    }
    if !outcome.passed {
        say_last_lines(&report.transcript);
    }
    Ok(outcome)
}

/// Says on stderr what the console of a failed check showed last. Its transcript
/// may be gone when somebody reads the log of a hosted run.
fn say_last_lines(transcript: &Path) {
    // What it says is in the transcript too, which the result has named.
    let Ok(shown) = std::fs::read(transcript) else {
        return;
    };
    eprintln!("  the last lines of its console:");
    for line in last_lines(&shown) {
        eprintln!("    {line}");
    }
}

/// The last [`SHOWN_LINES`] lines, without what would steer a terminal.
fn last_lines(shown: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(shown);
    let lines: Vec<&str> = text.lines().collect();
    let printable = |line: &&str| -> String {
        let steers = |letter: &char| *letter != '\t' && letter.is_control();
        line.chars().filter(|letter| !steers(letter)).collect()
    };
    let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    last.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_shown_without_controls() {
        let mut shown = b"first\r\n".repeat(30);
        shown.extend(b"\x1b[6n~ # x\0\r\nlast");
        let lines = last_lines(&shown);
        assert_eq!(lines.len(), SHOWN_LINES);
        assert_eq!(lines[SHOWN_LINES - 2..], ["[6n~ # x", "last"]);
        assert_eq!(last_lines(b""), [""; 0]);
    }
}
