//! Package lists, and the index that is made of them.

use std::collections::HashMap;
use std::io::{self, BufRead};

use deb822_fast::borrowed::{BorrowedParagraph, BorrowedParser};
use debversion::Version;
use kiln_store::hash::Digest;

use super::relation::{self, BadRelation, Dependency};

/// A binary package as a list describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as written.
    pub version: String,
    /// Its architecture; `all` where it does not matter.
    pub architecture: String,
    /// Where it lies below the archive's root.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// What it takes when installed, in KiB, as it says itself.
    pub installed_kib: u64,
    priority: u8,
    pre_depends: String,
    depends: String,
    provides: String,
    conflicts: String,
    breaks: String,
}

/// Why a package list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// It could not be read.
    #[error("the package list cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A paragraph is wrong.
    #[error("the package list has a damaged paragraph at line {line}: {reason}")]
    Paragraph {
        /// Where it begins, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
}

impl Package {
    /// The version, taken apart. What cannot be is treated as the earliest.
    pub fn parsed_version(&self) -> Version {
        self.version.parse().unwrap_or_else(|_| Version {
            epoch: None,
            upstream_version: "0~".to_owned(),
            debian_revision: None,
        })
    }

    /// What it needs, `Pre-Depends` first.
    pub fn dependencies(&self) -> Result<Vec<Dependency>, BadRelation> {
        let mut all = relation::parse(&self.pre_depends)?;
        all.extend(relation::parse(&self.depends)?);
        Ok(all)
    }

    /// What it cannot stand beside.
    pub fn conflicts(&self) -> Result<Vec<Dependency>, BadRelation> {
        let mut all = relation::parse(&self.conflicts)?;
        all.extend(relation::parse(&self.breaks)?);
        Ok(all)
    }

    /// The names it also goes by.
    pub fn provides(&self) -> Result<Vec<(String, Option<Version>)>, BadRelation> {
        let provides = relation::parse(&self.provides)?;
        let relations = provides.into_iter().flat_map(|one| one.alternatives);
        Ok(relations
            .map(|one| (one.name, one.version.map(|(_, version)| version)))
            .collect())
    }

    fn parse(paragraph: &BorrowedParagraph<'_>) -> Result<Self, String> {
        let optional = |field: &str| {
            let lines = paragraph.get(field).unwrap_or_default();
            lines.join(" ").trim().to_owned()
        };
        let field = |field: &str| match optional(field) {
            value if value.is_empty() => Err(format!("`{field}` is missing")),
            value => Ok(value),
        };
        Ok(Self {
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture")?,
            path: field("Filename")?.trim_start_matches("./").to_owned(),
            size: field("Size")?.parse().map_err(|_| "`Size` is no number")?,
            sha256: (field("SHA256")?.parse()).map_err(|_| "`SHA256` is no digest")?,
            installed_kib: optional("Installed-Size").parse().unwrap_or(0),
            priority: rank(&optional("Priority")),
            pre_depends: optional("Pre-Depends"),
            depends: optional("Depends"),
            provides: optional("Provides"),
            conflicts: optional("Conflicts"),
            breaks: optional("Breaks"),
        })
    }
}

fn rank(priority: &str) -> u8 {
    let ranks = ["required", "important", "standard", "optional"];
    let rank = ranks.iter().position(|&name| name == priority);
    rank.unwrap_or(ranks.len()) as u8
}

/// Packages by name, and by the names that they provide.
#[derive(Debug, Default)]
pub struct Index {
    packages: Vec<Package>,
    by_name: HashMap<String, Vec<usize>>,
    providers: HashMap<String, Vec<(usize, Option<Version>)>>,
}

impl Index {
    /// Adds a package list. Several suites may be added: of several versions of
    /// a package, the latest counts.
    pub fn add(&mut self, list: impl BufRead) -> Result<(), PackagesError> {
        each_paragraph(list, |paragraph| {
            self.insert(Package::parse(paragraph)?)
                .map_err(|error| error.to_string())
        })
    }

    fn insert(&mut self, package: Package) -> Result<(), BadRelation> {
        let number = self.packages.len();
        for (name, version) in package.provides()? {
            let providers = self.providers.entry(name).or_default();
            providers.push((number, version));
        }
        let same = self.by_name.entry(package.name.clone()).or_default();
        let version = package.parsed_version();
        let later = |&other: &usize| self.packages[other].parsed_version() > version;
        let at = match same.is_empty() {
            true => 0,
            false => same.iter().take_while(|other| later(other)).count(),
        };
        same.insert(at, number);
        self.packages.push(package);
        Ok(())
    }

    /// The package of this number.
    pub(super) fn get(&self, number: usize) -> &Package {
        &self.packages[number]
    }

    /// The packages of this name, latest version first.
    pub(super) fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The packages that provide this name, most important first, then by name,
    /// latest version first.
    pub(super) fn providers(&self, name: &str) -> Vec<&(usize, Option<Version>)> {
        let mut providers: Vec<_> = self.providers.get(name).into_iter().flatten().collect();
        providers.sort_by(|(a, _), (b, _)| {
            let (a, b) = (self.get(*a), self.get(*b));
            (a.priority, &a.name)
                .cmp(&(b.priority, &b.name))
                .then_with(|| b.parsed_version().cmp(&a.parsed_version()))
        });
        providers
    }

    /// The latest package of this name.
    pub fn latest(&self, name: &str) -> Option<&Package> {
        self.named(name).first().map(|&number| self.get(number))
    }

    /// The names that are spelt most like `name`, at most three.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let mut scored: Vec<(f64, &String)> = self
            .by_name
            .keys()
            .map(|known| (strsim::jaro_winkler(known, name), known))
            .filter(|(score, _)| *score > 0.85)
            .collect();
        scored.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
        let nearest = scored.into_iter().take(3);
        nearest.map(|(_, name)| name.clone()).collect()
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }
}

/// Reads a list paragraph by paragraph, so that never all of it is held.
pub(super) fn each_paragraph(
    mut list: impl BufRead,
    mut each: impl FnMut(&BorrowedParagraph<'_>) -> Result<(), String>,
) -> Result<(), PackagesError> {
    let (mut text, mut line, mut began) = (String::new(), 0, 1);
    loop {
        let before = text.len();
        let read = list.read_line(&mut text)?;
        line += 1;
        if read != 0 && text[before..].trim_end() != "" {
            continue;
        }
        let bad = |reason| PackagesError::Paragraph {
            line: began,
            reason,
        };
        let paragraphs = BorrowedParser::new(&text).parse_all();
        for paragraph in paragraphs.map_err(|error| bad(error.to_string()))? {
            each(&paragraph).map_err(bad)?;
        }
        if read == 0 {
            return Ok(());
        }
        text.clear();
        began = line + 1;
    }
}
