//! Relations between packages: `a (>= 1.2) | b:any, c`.

use std::cmp::Ordering;
use std::fmt;

use debversion::Version;

/// How a version has to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// One alternative of a dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The package.
    pub name: String,
    /// What follows its name after a `:`; `any`, `native` or an architecture.
    pub architecture: Option<String>,
    /// What its version has to be.
    pub version: Option<(Comparison, Version)>,
}

/// A dependency: one of several alternatives, the first one liked best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The alternatives.
    pub alternatives: Vec<Relation>,
}

/// A text that is no relation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a relation between packages")]
pub struct BadRelation {
    /// The text.
    pub text: String,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Earlier => ordering.is_lt(),
            Self::EarlierOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::LaterOrEqual => ordering.is_ge(),
            Self::Later => ordering.is_gt(),
        }
    }
}

impl Relation {
    /// Whether a package of this version is meant.
    pub fn accepts(&self, version: &Version) -> bool {
        let wanted = self.version.as_ref();
        wanted.is_none_or(|(comparison, wanted)| comparison.holds(version.cmp(wanted)))
    }

    /// Whether a provided name is meant. A provide without a version satisfies
    /// only a relation without one (policy 7.5).
    pub fn accepts_provided(&self, version: Option<&Version>) -> bool {
        match version {
            Some(version) => self.accepts(version),
            None => self.version.is_none(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // Restrictions by architecture and profile, which may follow, belong to
        // source packages.
        let (name, version) = match text.split_once('(') {
            None => (text.split(['[', '<']).next()?, None),
            Some((name, rest)) => (name, Some(constraint(rest.split_once(')')?.0)?)),
        };
        let name = name.trim();
        let (name, architecture) = match name.split_once(':') {
            None => (name, None),
            Some((name, architecture)) => (name, Some(architecture.to_owned())),
        };
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        (!name.is_empty() && name.bytes().all(valid)).then(|| Self {
            name: name.to_owned(),
            architecture,
            version,
        })
    }
}

fn constraint(text: &str) -> Option<(Comparison, Version)> {
    let text = text.trim();
    let end = text.find(|c| !matches!(c, '<' | '>' | '='))?;
    let (comparison, version) = text.split_at(end);
    let comparison = match comparison {
        "<<" => Comparison::Earlier,
        // A single `<` means `<=`, for what it meant before 1996.
        "<=" | "<" => Comparison::EarlierOrEqual,
        "=" => Comparison::Equal,
        ">=" | ">" => Comparison::LaterOrEqual,
        ">>" => Comparison::Later,
        _ => return None,
    };
    Some((comparison, version.trim().parse().ok()?))
}

/// Reads a field such as `Depends`.
pub fn parse(field: &str) -> Result<Vec<Dependency>, BadRelation> {
    let parts = field.split(',').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            let alternatives: Option<Vec<Relation>> =
                part.split('|').map(Relation::parse).collect();
            alternatives
                .map(|alternatives| Dependency { alternatives })
                .ok_or_else(|| BadRelation {
                    text: part.to_owned(),
                })
        })
        .collect()
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, relation) in self.alternatives.iter().enumerate() {
            let bar = if number > 0 { " | " } else { "" };
            write!(f, "{bar}{relation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        let Some((comparison, version)) = &self.version else {
            return Ok(());
        };
        let comparison = match comparison {
            Comparison::Earlier => "<<",
            Comparison::EarlierOrEqual => "<=",
            Comparison::Equal => "=",
            Comparison::LaterOrEqual => ">=",
            Comparison::Later => ">>",
        };
        write!(f, " ({comparison} {version})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, expected: Option<&str>) {
        let shown = parse(field).ok().map(|dependencies| {
            let texts: Vec<String> = dependencies.iter().map(ToString::to_string).collect();
            texts.join(", ")
        });
        assert_eq!(shown.as_deref(), expected, "{field}");
    }

    #[test]
    fn relations_are_read() {
        check(
            "libc6 (>= 2.34), a:any|b(<<1:2-3)  ,",
            Some("libc6 (>= 2.34), a:any | b (<< 1:2-3)"),
        );
        check("x [amd64] <!nocheck>", Some("x"));
        check("", Some(""));
        check("x (", None);
        check("x (~ 1)", None);
        check("../x", None);
        check("a | ", None);
    }

    #[test]
    fn versions_are_compared_as_debian_does() {
        let accepts = |field: &str, version: &str| {
            let dependencies = parse(field).expect("relation");
            let version = version.parse().expect("version");
            dependencies[0].alternatives[0].accepts(&version)
        };
        assert!(accepts("x (>= 1.2~rc1)", "1.2"));
        assert!(!accepts("x (>= 1.2)", "1.2~rc1"));
        assert!(accepts("x (<< 1:0)", "9.9"));
        assert!(!accepts("x (= 1.0)", "1.0-1"));
        assert!(accepts("x (= 1.0-0)", "1.0"));
    }
}
