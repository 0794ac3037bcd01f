//! Putting one table over another: a package over its template, an override
//! for one target over what holds for all.
//!
//! The rule: what the upper table says replaces what the lower says, but
//! tables (`env`, `sources`, `files` written as a table, `limits`, …) merge key
//! by key.

use std::collections::BTreeMap;

/// Something that can lie over another of its kind.
pub(crate) trait Overlay {
    /// Takes over whatever `upper` says.
    fn overlay(&mut self, upper: &Self);
}

impl<T: Clone + Overlay> Overlay for Option<T> {
    fn overlay(&mut self, upper: &Self) {
        match (self.as_mut(), upper) {
            (Some(lower), Some(upper)) => lower.overlay(upper),
            (None, Some(upper)) => *self = Some(upper.clone()),
            (_, None) => {}
        }
    }
}

impl<K: Clone + Ord, V: Clone> Overlay for BTreeMap<K, V> {
    fn overlay(&mut self, upper: &Self) {
        for (key, value) in upper {
            // The entry's key is replaced too: it holds the place to blame.
            self.remove(key);
            self.insert(key.clone(), value.clone());
        }
    }
}

/// Implements [`Overlay`] for a struct of options: the first fields replace,
/// the second merge, and of the third (tables of overlayable tables) the entries
/// do.
macro_rules! overlay {
    ($type:ty { replace: $($replace:ident),* ; merge: $($merge:ident),* ; deep: $($deep:ident),* }) => {
        impl $crate::manifest::schema::Overlay for $type {
            fn overlay(&mut self, upper: &Self) {
                $(if upper.$replace.is_some() {
                    self.$replace.clone_from(&upper.$replace);
                })*
                $($crate::manifest::schema::Overlay::overlay(&mut self.$merge, &upper.$merge);)*
                $(for (key, value) in &upper.$deep {
                    let lower = self.$deep.entry(key.clone()).or_default();
                    $crate::manifest::schema::Overlay::overlay(lower, value);
                })*
            }
        }
    };
}

pub(super) use overlay;
