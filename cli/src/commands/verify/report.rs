//! What building again came to, for people and as JSON.

use std::path::{Path, PathBuf};

use kiln_derivations::build::Job;
use kiln_derivations::explain::Explanation;
use kiln_derivations::verify::cause::Evidence;
use kiln_derivations::verify::{Cause, Outcome, Trial, Unvaried, Verdict};
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;
use crate::output;

/// One derivation, and what is known of it now.
#[derive(Serialize)]
pub struct Verified {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'static str>,
    builder: &'static str,
    recipe: String,
    action: String,
    /// `same`, `differs`, `failed`, or `not-built`: never counted as verified.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    builds: Vec<Trial>,
    not_varied: Vec<Unvaried>,
    causes: Vec<Cause>,
    differences: Vec<Output>,
    #[serde(skip)]
    judged: Option<Outcome>,
}

#[derive(Serialize)]
struct Output {
    output: String,
    expected: String,
    got: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

impl Verified {
    /// Nothing is known yet.
    pub fn new(job: &Job<'_>) -> Self {
        Self {
            name: job.subject.name.clone(),
            target: job.subject.target,
            builder: job.subject.builder,
            recipe: job.keys.recipe.to_string(),
            action: job.keys.action.to_string(),
            outcome: "not-built",
            reason: None,
            builds: Vec::new(),
            not_varied: Vec::new(),
            causes: Vec::new(),
            differences: Vec::new(),
            judged: None,
        }
    }

    /// It was not built again, for this reason.
    pub fn not_built(&mut self, why: &str) {
        self.reason = Some(why.to_owned());
    }

    /// It could not be built again.
    pub fn failed(&mut self, why: String) {
        self.outcome = "failed";
        self.judged = Some(Outcome::Failed);
        self.reason = Some(why);
    }

    /// It was.
    pub fn judged(&mut self, verdict: Verdict) {
        self.outcome = match verdict.outcome {
            Outcome::Same => "same",
            Outcome::Differs => "differs",
            Outcome::Failed => "failed",
        };
        self.judged = Some(verdict.outcome);
        self.reason = verdict.failure;
        self.builds = verdict.trials;
        self.not_varied = verdict.unvaried;
        self.causes = verdict.causes;
        let kept = std::mem::take(&mut self.differences);
        self.differences = verdict
            .pairs
            .into_iter()
            .map(|pair| Output {
                kept: kept
                    .iter()
                    .find(|it| it.output == pair.output)
                    .and_then(|it| it.kept.clone()),
                expected: pair.expected.to_string(),
                got: pair.got.to_string(),
                output: pair.output,
                explanation: pair.explanation,
            })
            .collect();
    }

    /// Where the two trees of an output are.
    pub fn kept(&mut self, output: &str, directory: &Path) {
        self.differences.push(Output {
            output: output.to_owned(),
            expected: String::new(),
            got: String::new(),
            kept: Some(directory.to_owned()),
            explanation: None,
        });
    }

    /// Whether nothing speaks against it.
    pub fn is_good(&self) -> bool {
        !matches!(self.judged, Some(Outcome::Differs | Outcome::Failed))
    }

    /// Whether a script built it, and not kiln itself.
    pub fn is_of_a_script(&self) -> bool {
        self.builder == "exec"
    }

    /// The judgement, if it was built.
    pub fn outcome(&self) -> Option<Outcome> {
        self.judged
    }

    /// Its name for people.
    pub fn title(&self) -> String {
        match self.target {
            Some(target) => format!("{} ({target})", self.name),
            None => self.name.clone(),
        }
    }

    /// A name for a directory of its own.
    pub fn file_name(&self, output: &str) -> String {
        let target = self.target.map_or_else(String::new, |it| format!("-{it}"));
        let output = match output {
            "out" => String::new(),
            other => format!("-{other}"),
        };
        format!("{}{target}{output}", self.name.replace('/', "_"))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    rebuilt: &'a [Verified],
    /// In the order of dependence; what comes after it was built from what is
    /// stored, and so is not to blame on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<String>,
    same: usize,
    differ: usize,
    failed: usize,
    not_built: usize,
}

/// Prints everything.
pub fn print(context: &Context, verified: &[Verified]) -> Result<(), CliError> {
    let count = |outcome: &str| verified.iter().filter(|it| it.outcome == outcome).count();
    let document = Document {
        rebuilt: verified,
        first_difference: verified
            .iter()
            .find(|it| it.outcome == "differs")
            .map(Verified::title),
        same: count("same"),
        differ: count("differs"),
        failed: count("failed"),
        not_built: count("not-built"),
    };
    if context.global.json {
        return output::json(document);
    }
    for one in verified {
        lines(one)?;
    }
    output::line(&format!(
        "{} built again: {} same, {} differ, {} failed; {} not built again, and not verified",
        verified.len() - document.not_built,
        document.same,
        document.differ,
        document.failed,
        document.not_built
    ))
}

fn lines(one: &Verified) -> Result<(), CliError> {
    let wall_s: f64 = one.builds.iter().map(|it| it.wall_s).sum();
    let builds = one.builds.len();
    let times = match builds {
        0 => String::new(),
        _ => format!(" ({builds} builds, {wall_s:.1} s)"),
    };
    output::line(&format!("{:9} {}{times}", one.outcome, one.title()))?;
    if let Some(reason) = &one.reason {
        output::line(&format!("  {reason}"))?;
    }
    for unvaried in &one.not_varied {
        if one.is_of_a_script() {
            output::line(&format!(
                "  not varied: {}: {}",
                unvaried.factor, unvaried.why
            ))?;
        }
    }
    for cause in &one.causes {
        output::line(&format!("  {}", sentence(cause)))?;
        for mend in &cause.mend {
            output::line(&format!("    what usually mends it: {mend}"))?;
        }
    }
    if one.outcome == "differs" && one.causes.is_empty() {
        output::line("  the cause is none that kiln can vary or hold still here")?;
    }
    for difference in &one.differences {
        explain(difference)?;
    }
    Ok(())
}

fn sentence(cause: &Cause) -> String {
    let factors: Vec<_> = cause.factors.iter().map(|factor| factor.name()).collect();
    let factors = factors.join(" and ");
    let how = cause.how.join(", and ");
    match cause.evidence {
        Evidence::Varied => format!("cause: {factors}: it differs with {how}"),
        Evidence::Held => format!("cause: {factors}: builds agree once that is held still"),
        Evidence::Restored => {
            format!("cause: {factors}: with {how} it is what is stored")
        }
        Evidence::Bytes => format!("cause: {factors}: the bytes that differ show it"),
        Evidence::Fails => format!("the build fails with {how}"),
    }
}

fn explain(difference: &Output) -> Result<(), CliError> {
    output::line(&format!(
        "  output `{}`: expected {}, got {}",
        difference.output, difference.expected, difference.got
    ))?;
    if let Some(kept) = &difference.kept {
        output::line(&format!("  both are kept in {}", kept.display()))?;
    }
    let Some(explanation) = &difference.explanation else {
        return output::line("  the expected bytes are no longer in the store");
    };
    for line in explanation.to_string().lines() {
        output::line(&format!("    {line}"))?;
    }
    Ok(())
}
