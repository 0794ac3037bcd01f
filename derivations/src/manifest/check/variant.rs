//! What must hold of variants: what takes another's place fits there.

use super::{Check, REPLACEABLE, is_tool};
use crate::manifest::problem::Problem;
use crate::manifest::reference::{Found, Kind};
use crate::manifest::schema::Variant;
use crate::manifest::span::At;

impl<'m> Check<'m, '_> {
    pub(super) fn variant(&mut self, variant: &'m Variant) {
        for (of, by) in &variant.replace {
            if let (Some(lower), Some(upper)) = (self.whole(of), self.whole(by)) {
                self.stands_for((of, lower), (by, upper));
            }
        }
    }

    /// A reference to all outputs of something.
    fn whole(&mut self, text: &'m At<String>) -> Option<Found<'m>> {
        let found = self.reference(text, &REPLACEABLE)?;
        if found.output.is_some() {
            let message = format!("`{}` names one output", text.value);
            let label = "expected a package or composition as a whole";
            self.push(text.span, message, label);
            return None;
        }
        Some(found)
    }

    fn stands_for(
        &mut self,
        (of, lower): (&At<String>, Found<'_>),
        (by, upper): (&At<String>, Found<'_>),
    ) {
        let mut unlike = |what: String, label: &str| {
            let message = format!("`{}` cannot stand for `{}`: {what}", by.value, of.value);
            let problem = Problem::at(by.span, message, label);
            self.problems.push(problem.and(of.span, "this is replaced"));
        };
        match (is_tool(lower), is_tool(upper)) {
            (true, false) => unlike("it is no tool".to_owned(), "is read by builds"),
            (false, true) => unlike("it is a tool".to_owned(), "is executed in builds"),
            _ => {}
        }
        let (expected, actual) = (place(lower), place(upper));
        if expected != actual {
            let what = format!("it is mounted at `{actual}`, not at `{expected}`");
            unlike(what, "is found elsewhere");
        }
    }
}

/// Where users mount it.
fn place(found: Found<'_>) -> String {
    let name = found.name.value.as_str();
    let manifest = found.manifest;
    let at = match found.kind {
        Kind::Package => manifest.packages.get(name).and_then(|p| p.at.as_ref()),
        _ => manifest.composes.get(name).and_then(|c| c.at.as_ref()),
    };
    at.map_or_else(|| format!("/in/{name}"), |at| at.value.clone())
}
