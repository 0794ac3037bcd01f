//! Mistakes in a manifest, as diagnostics that show the place, say what was
//! expected and name what was probably meant.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::span::{FileId, Span};

/// One text that a manifest is made of.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its name for people, relative to the folder of `flake-like.toml`.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
}

/// One mistake.
#[derive(Debug)]
pub struct Problem {
    /// What is wrong, in a line.
    pub message: String,
    /// The places that show it, each with a word; the first is the main one.
    pub labels: Vec<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
    source: Option<Box<NamedSource<Arc<str>>>>,
    elsewhere: Vec<Problem>,
}

impl Problem {
    /// A mistake at `span`, which `label` comments.
    pub fn at(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            labels: vec![(span, label.into())],
            ..Self::nowhere(message)
        }
    }

    /// A mistake that no place of a manifest shows.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            labels: Vec::new(),
            help: None,
            source: None,
            elsewhere: Vec::new(),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    /// Adds `did you mean` with the name nearest to `name`, or else the names
    /// there are.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        match nearest(name, &names) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if names.is_empty() => self,
            None => self.help(format!("expected one of: {}", names.join(", "))),
        }
    }

    /// Attaches the texts that the labels point into. miette shows one text a
    /// diagnostic, so labels in other files become related ones.
    #[must_use]
    pub(super) fn with_sources(mut self, files: &[SourceFile]) -> Self {
        let Some(&(main, _)) = self.labels.first() else {
            return self;
        };
        self.source = named(files, main.file).map(Box::new);
        let (here, there) = std::mem::take(&mut self.labels)
            .into_iter()
            .partition(|(span, _)| span.file == main.file);
        self.labels = here;
        let others: Vec<(Span, String)> = there;
        for (span, label) in others {
            let note = Problem::at(span, label, "").with_sources(files);
            self.elsewhere.push(note);
        }
        self
    }
}

fn named(files: &[SourceFile], id: FileId) -> Option<NamedSource<Arc<str>>> {
    let file = files.get(id.0 as usize)?;
    Some(NamedSource::new(&file.name, file.text.clone()).with_language("toml"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source
            .as_deref()
            .map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let labels = self.labels.iter().map(|(span, text)| {
            let text = (!text.is_empty()).then(|| text.clone());
            let length = span.end.saturating_sub(span.start) as usize;
            LabeledSpan::new(text, span.start as usize, length)
        });
        Some(Box::new(labels))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.elsewhere.is_empty() {
            return None;
        }
        Some(Box::new(
            self.elsewhere.iter().map(|p| p as &dyn Diagnostic),
        ))
    }
}

/// Why a manifest was refused: at least one mistake. It shows itself as the
/// first, with the others as related ones.
#[derive(Debug)]
pub struct ManifestError {
    first: Box<Problem>,
    others: Vec<Problem>,
}

impl ManifestError {
    /// An error of these mistakes, or none if there are none.
    pub(super) fn check(mut problems: Vec<Problem>, files: &[SourceFile]) -> Result<(), Self> {
        problems.sort_by_key(|problem| {
            let place = problem.labels.first().map(|(span, _)| *span);
            place.map(|span| (span.file, span.start))
        });
        let mut problems = problems.into_iter().map(|p| p.with_sources(files));
        let Some(first) = problems.next() else {
            return Ok(());
        };
        Err(Self {
            first: Box::new(first),
            others: problems.collect(),
        })
    }

    /// An error of one mistake.
    pub(super) fn one(problem: Problem, files: &[SourceFile]) -> Self {
        Self {
            first: Box::new(problem.with_sources(files)),
            others: Vec::new(),
        }
    }

    /// All mistakes.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(&*self.first).chain(&self.others)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.first, f)
    }
}

impl std::error::Error for ManifestError {}

impl Diagnostic for ManifestError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Diagnostic::help(&*self.first)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.first.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Diagnostic::labels(&*self.first)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.others.is_empty() {
            return self.first.related();
        }
        let elsewhere = self.first.elsewhere.iter();
        Some(Box::new(
            elsewhere.chain(&self.others).map(|p| p as &dyn Diagnostic),
        ))
    }
}

/// The name that was probably meant, if one is near.
pub fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()).div_ceil(3))
        .min()
        .map(|(_, known)| known)
}
