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
        if found.replaced && target.is_none() && found.kind == Kind::Package && varies(found) {
            let message = format!("`{}` is built for each target apart", found.name.value);
            let label = "put into something that is not";
            return Err(scope.refuse(Problem::at(found.name.span, message, label)));
        }
        let inside = scope.inside(found, target)?;
        let plain = Scope {
            variant: None,
            ..inside
        };
        let inherits = asked(inside.manifest, found, target).is_none();
        if inherits && target.is_none() || !self.is_affected(inside, found, target) {
            return Ok(plain);
        }
        Ok(inside)
    }

    /// Whether anything below `found` is replaced in the variant of `scope`,
    /// which is the one inside it.
    fn is_affected(&mut self, scope: Scope<'_>, found: Found<'_>, target: Option<Target>) -> bool {
        if scope.variant.is_none() {
            return false;
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
            return known;
        }
        let mut used = uses(scope.manifest, found.kind, name, target);
        if found.kind == Kind::Package {
            used.extend(runtime(scope.manifest, name, target));
        }
        let affected = used.iter().any(|used| {
            let Some(below) = scope.manifest.look_up(&used.text, used.kinds) else {
                return false;
            };
            let below = scope.varied(below);
            let inside = scope.of(below);
            // One that asks for a variant is in that whatever this one is.
            below.replaced
                || varies(below)
                    && asked(inside.manifest, below, target).is_none()
                    && self.is_affected(inside, below, target)
        });
        self.affected.insert(key, affected);
        affected
    }
}
