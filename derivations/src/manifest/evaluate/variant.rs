//! What a variant reaches: an entry is another in it only if something below it
//! is replaced; any other is the same derivation as without.

use super::scope::{Scope, asked};
use super::{EvaluateError, Evaluator, For, Memo};
use crate::derivation::Target;
use crate::manifest::check::{runtime, uses, varies};
use crate::manifest::problem::Problem;
use crate::manifest::reference::{Found, Kind};

impl Evaluator<'_> {
    /// Where the names inside `found` are looked up, in the variant that it is
    /// built in. What is the same for all targets is so for all variants too:
    /// it has none but the one that it asks for.
    pub(super) fn within<'m>(
        &mut self,
        scope: Scope<'m>,
        found: Found<'m>,
        wanted: For,
    ) -> Result<Scope<'m>, EvaluateError> {
        let target = match wanted {
            For::Target(target) => target,
            For::BuildPlatform => None,
        };
        if found.home.is_some() && target.is_none() && found.kind == Kind::Package && varies(found)
        {
            let message = format!("`{}` is built for each target apart", found.name.value);
            let label = "put into something that is not";
            let there = scope.of(found);
            return Err(there.refuse(Problem::at(found.name.span, message, label)));
        }
        let inside = scope.inside(found, target)?;
        let plain = Scope {
            variant: None,
            ..inside
        };
        let inherits = asked(found, target).is_none();
        if inherits && target.is_none() || !self.is_affected(inside, found, target)? {
            return Ok(plain);
        }
        Ok(inside)
    }

    /// Whether anything below `found` is replaced in the variant of `scope`,
    /// which is the one inside it.
    fn is_affected(
        &mut self,
        scope: Scope<'_>,
        found: Found<'_>,
        target: Option<Target>,
    ) -> Result<bool, EvaluateError> {
        if scope.variant.is_none() {
            return Ok(false);
        }
        let name = found.name.value.as_str();
        let place = std::ptr::from_ref(scope.manifest) as usize;
        let wanted = For::Target(target);
        let key: Memo = (
            place,
            found.kind,
            name.to_owned(),
            wanted,
            scope.variant_key(),
        );
        if let Some(&known) = self.affected.get(&key) {
            return Ok(known);
        }
        let mut used = uses(scope.manifest, found.kind, name, target);
        if found.kind == Kind::Package {
            used.extend(runtime(scope.manifest, name, target));
        }
        let mut affected = false;
        for used in &used {
            let Some(below) = scope.manifest.look_up(&used.text, used.kinds) else {
                continue;
            };
            let below = scope.varied(below)?;
            // One that asks for a variant is in that whatever this one is.
            affected |= below.home.is_some()
                || varies(below)
                    && asked(below, target).is_none()
                    && self.is_affected(scope.of(below), below, target)?;
        }
        self.affected.insert(key, affected);
        Ok(affected)
    }
}
