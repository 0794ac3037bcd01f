//! From root packages to their closure. Pure, and the same on every machine.
//!
//! 1. Each root takes the latest package of its name.
//! 2. What a chosen package needs and only one package can give is taken at
//!    once; whatever leaves a choice (alternatives, virtual packages) waits.
//! 3. When nothing is left but choices, the oldest one is decided: it is no
//!    choice any more if something chosen satisfies it; else the first
//!    alternative is taken that the archive has. Then 2 again.
//! 4. At the end, nothing chosen may conflict with anything chosen.
//!
//! Deciding choices late is what keeps closures small and independent of the
//! order in which packages are listed. An excluded package is cut where the
//! rules would have taken it, with all that only it needs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::packages::{Index, Package};
use super::relation::{BadRelation, Dependency, Relation};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The packages that are named.
    pub roots: &'a [String],
    /// Packages that are left out, though something needs them.
    pub exclude: &'a [String],
}

/// A closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The packages, sorted by name.
    pub packages: Vec<Package>,
    /// Excluded names that nothing would have taken: misspelt or outdated.
    pub unused_excludes: Vec<String>,
}

/// Why there is no closure.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A root that the archive does not have.
    #[error("there is no package `{name}`{}", hint(.nearest, .providers))]
    UnknownRoot {
        /// The name.
        name: String,
        /// Names that are spelt like it.
        nearest: Vec<String>,
        /// Packages that provide it, if it is virtual.
        providers: Vec<String>,
    },
    /// A dependency that nothing in the archive satisfies.
    #[error("nothing satisfies `{dependency}`, which is needed by {}", .path.join(", needed by "))]
    Unsatisfiable {
        /// The dependency.
        dependency: String,
        /// Who needs it, and who needs that, up to a root.
        path: Vec<String>,
    },
    /// A dependency on another version than the chosen one.
    #[error("`{dependency}`, needed by {}, is not satisfied by {chosen}, needed by {}", .path.join(", needed by "), .chosen_path.join(", needed by "))]
    OtherVersion {
        /// The dependency.
        dependency: String,
        /// Who needs it.
        path: Vec<String>,
        /// The package and version that was chosen.
        chosen: String,
        /// Why it was chosen.
        chosen_path: Vec<String>,
    },
    /// Two packages of the closure cannot stand beside each other.
    #[error("{}, needed by {}, conflicts with {}, needed by {}", .a, .a_path.join(", needed by "), .b, .b_path.join(", needed by "))]
    Conflict {
        /// The one that says so.
        a: String,
        /// Why it was chosen.
        a_path: Vec<String>,
        /// The other.
        b: String,
        /// Why it was chosen.
        b_path: Vec<String>,
    },
    /// A relation that makes no sense.
    #[error("package {package}: {source}")]
    Relation {
        /// Whose it is.
        package: String,
        /// What is wrong.
        source: BadRelation,
    },
}

fn hint(nearest: &[String], providers: &[String]) -> String {
    let list = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    match (providers, nearest) {
        ([], []) => String::new(),
        ([], nearest) => format!("; is one of {} meant?", list(nearest)),
        (providers, _) => format!("; it is provided by {}", list(providers)),
    }
}

/// Computes the closure.
pub fn resolve(index: &Index, query: &Query<'_>) -> Result<Closure, ResolveError> {
    let mut resolver = Resolver {
        index,
        exclude: query.exclude.iter().map(String::as_str).collect(),
        cut: BTreeSet::new(),
        chosen: BTreeMap::new(),
        forced: VecDeque::new(),
        choices: VecDeque::new(),
    };
    let roots: BTreeSet<&String> = query.roots.iter().collect();
    for name in roots {
        resolver.root(name)?;
    }
    resolver.run()?;
    resolver.check_conflicts()?;
    Ok(resolver.closure(query))
}

/// A dependency and the package that has it.
struct Need {
    dependency: Dependency,
    by: usize,
}

struct Chosen {
    package: usize,
    /// Who needed it first; none for a root.
    by: Option<usize>,
}

struct Resolver<'a> {
    index: &'a Index,
    exclude: BTreeSet<&'a str>,
    cut: BTreeSet<String>,
    chosen: BTreeMap<&'a str, Chosen>,
    forced: VecDeque<Need>,
    choices: VecDeque<Need>,
}

impl<'a> Resolver<'a> {
    fn root(&mut self, name: &str) -> Result<(), ResolveError> {
        match self.index.named(name).first() {
            Some(&package) => self.choose(package, None),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> ResolveError {
        let mut providers: Vec<String> = Vec::new();
        for (package, _) in self.index.providers(name) {
            let provider = &self.index.get(*package).name;
            if !providers.contains(provider) {
                providers.push(provider.clone());
            }
        }
        ResolveError::UnknownRoot {
            name: name.to_owned(),
            nearest: self.index.nearest(name),
            providers,
        }
    }

    fn run(&mut self) -> Result<(), ResolveError> {
        loop {
            if let Some(need) = self.forced.pop_front() {
                self.satisfy(need)?;
            } else if let Some(need) = self.choices.pop_front() {
                self.satisfy(need)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Takes a package into the closure; what it needs, now or later.
    fn choose(&mut self, number: usize, by: Option<usize>) -> Result<(), ResolveError> {
        let index = self.index;
        let package = index.get(number);
        if self.chosen.contains_key(package.name.as_str()) {
            return Ok(());
        }
        let chosen = Chosen {
            package: number,
            by,
        };
        self.chosen.insert(&package.name, chosen);
        let dependencies = package
            .dependencies()
            .map_err(|source| bad_relation(package, source))?;
        for dependency in dependencies {
            let need = Need {
                dependency,
                by: number,
            };
            match self.is_choice(&need.dependency) {
                true => self.choices.push_back(need),
                false => self.forced.push_back(need),
            }
        }
        Ok(())
    }

    fn is_choice(&self, dependency: &Dependency) -> bool {
        match dependency.alternatives.as_slice() {
            [relation] => self.index.named(&relation.name).is_empty(),
            _ => true,
        }
    }

    fn satisfy(&mut self, need: Need) -> Result<(), ResolveError> {
        let alternatives = &need.dependency.alternatives;
        if alternatives
            .iter()
            .any(|relation| self.is_satisfied(relation))
        {
            return Ok(());
        }
        let candidate = alternatives.iter().find_map(|one| self.candidate(one));
        match candidate {
            Some(package) if self.is_excluded(package) => Ok(()),
            Some(package) => self.choose(package, Some(need.by)),
            None => Err(self.unsatisfied(&need)),
        }
    }

    fn is_excluded(&mut self, package: usize) -> bool {
        let name = &self.index.get(package).name;
        let excluded = self.exclude.contains(name.as_str());
        if excluded {
            self.cut.insert(name.clone());
        }
        excluded
    }

    fn is_satisfied(&self, relation: &Relation) -> bool {
        let named = self.chosen.get(relation.name.as_str());
        let by_name = named.is_some_and(|chosen| {
            let package = self.index.get(chosen.package);
            relation.accepts(&package.parsed_version())
        });
        by_name
            || self
                .provided(relation)
                .any(|package| self.is_chosen(package))
    }

    fn is_chosen(&self, package: usize) -> bool {
        let chosen = self.chosen.get(self.index.get(package).name.as_str());
        chosen.is_some_and(|chosen| chosen.package == package)
    }

    /// What would be taken for a relation. Of a package that is chosen no
    /// second version can be taken.
    fn candidate(&self, relation: &Relation) -> Option<usize> {
        let named = self.index.named(&relation.name).iter().copied();
        let named =
            named.filter(|&package| relation.accepts(&self.index.get(package).parsed_version()));
        named.chain(self.provided(relation)).find(|&package| {
            let name = self.index.get(package).name.as_str();
            !self.chosen.contains_key(name)
        })
    }

    fn provided<'r>(&self, relation: &'r Relation) -> impl Iterator<Item = usize> + use<'r, 'a> {
        let providers = self.index.providers(&relation.name).into_iter();
        let accepted = providers.filter(|(_, version)| relation.accepts_provided(version.as_ref()));
        accepted.map(|(package, _)| *package)
    }

    fn unsatisfied(&self, need: &Need) -> ResolveError {
        let dependency = need.dependency.to_string();
        let path = self.path(need.by);
        let names = need.dependency.alternatives.iter().map(|one| &one.name);
        let other = names
            .filter_map(|name| self.chosen.get(name.as_str()))
            .next();
        match other {
            None => ResolveError::Unsatisfiable { dependency, path },
            Some(other) => ResolveError::OtherVersion {
                dependency,
                path,
                chosen: self.title(other.package),
                chosen_path: self.path_above(other.package),
            },
        }
    }

    fn check_conflicts(&self) -> Result<(), ResolveError> {
        for chosen in self.chosen.values() {
            let package = self.index.get(chosen.package);
            let conflicts = package
                .conflicts()
                .map_err(|source| bad_relation(package, source))?;
            for relation in conflicts.iter().flat_map(|one| &one.alternatives) {
                if let Some(other) = self.struck(relation, chosen.package) {
                    return Err(ResolveError::Conflict {
                        a: self.title(chosen.package),
                        a_path: self.path_above(chosen.package),
                        b: self.title(other),
                        b_path: self.path_above(other),
                    });
                }
            }
        }
        Ok(())
    }

    /// The chosen package that a conflict hits. None hits its own package.
    fn struck(&self, relation: &Relation, by: usize) -> Option<usize> {
        let named = self.chosen.get(relation.name.as_str());
        let named = named.map(|chosen| chosen.package).filter(|&package| {
            package != by && relation.accepts(&self.index.get(package).parsed_version())
        });
        let provided = || {
            self.provided(relation)
                .find(|&package| package != by && self.is_chosen(package))
        };
        named.or_else(provided)
    }

    fn title(&self, package: usize) -> String {
        let package = self.index.get(package);
        format!("{} {}", package.name, package.version)
    }

    /// A package, who needs it, and so on up to a root.
    fn path(&self, package: usize) -> Vec<String> {
        let name = self.index.get(package).name.clone();
        [vec![name], self.path_above(package)].concat()
    }

    fn path_above(&self, package: usize) -> Vec<String> {
        let name = self.index.get(package).name.as_str();
        match self.chosen.get(name).and_then(|chosen| chosen.by) {
            Some(by) => self.path(by),
            None => vec!["the manifest".to_owned()],
        }
    }

    fn closure(self, query: &Query<'_>) -> Closure {
        let packages = self.chosen.values();
        let unused = query.exclude.iter();
        Closure {
            packages: packages
                .map(|chosen| self.index.get(chosen.package).clone())
                .collect(),
            unused_excludes: unused
                .filter(|name| !self.cut.contains(*name))
                .cloned()
                .collect(),
        }
    }
}

fn bad_relation(package: &Package, source: BadRelation) -> ResolveError {
    ResolveError::Relation {
        package: package.name.clone(),
        source,
    }
}
