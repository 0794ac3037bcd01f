//! Names that stand for entries: `musl`, `linux#debug`, `seed.llvm`,
//! `kiln.busybox`, `minsys@gcc`.

use std::fmt;

use super::assemble::{Imported, Manifest};
use super::lock::Lock;
use super::problem::Problem;
use super::schema::Table;
use super::span::At;

/// The kinds of entries that can be referred to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// `[image.X]`.
    Image,
    /// `[rootfs.X]`.
    Rootfs,
    /// `[package.X]`.
    Package,
    /// `[compose.X]`.
    Compose,
    /// `[source.X]`.
    Source,
    /// `[seed.X]`.
    Seed,
    /// `[format.X]`.
    Format,
    /// `[variant.X]`.
    Variant,
}

impl Kind {
    /// All kinds, in the order in which a name on the command line is looked
    /// up.
    pub const ALL: [Kind; 8] = [
        Kind::Image,
        Kind::Rootfs,
        Kind::Package,
        Kind::Compose,
        Kind::Source,
        Kind::Seed,
        Kind::Format,
        Kind::Variant,
    ];

    /// The kinds that can be built by themselves, in the same order.
    pub const BUILT: [Kind; 6] = [
        Kind::Image,
        Kind::Rootfs,
        Kind::Package,
        Kind::Compose,
        Kind::Source,
        Kind::Seed,
    ];

    /// As the name of its table.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Image => "image",
            Kind::Rootfs => "rootfs",
            Kind::Package => "package",
            Kind::Compose => "compose",
            Kind::Source => "source",
            Kind::Seed => "seed",
            Kind::Format => "format",
            Kind::Variant => "variant",
        }
    }

    /// The kind whose table has this name.
    pub fn of(name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a reference stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'m> {
    /// The import it went through.
    pub(super) import: Option<&'m Imported>,
    /// The manifest that has the entry.
    pub(super) manifest: &'m Manifest,
    /// The kind of the entry.
    pub(super) kind: Kind,
    /// Its name there.
    pub(super) name: &'m At<String>,
    /// The output that is meant, if one is named.
    pub(super) output: Option<&'m str>,
    /// The variant that is named with it, one of `manifest`.
    pub(super) variant: Option<&'m At<String>>,
    /// Where the variant stands that put it in another's place, if one did.
    pub(super) home: Option<(&'m Manifest, &'m Lock)>,
}

impl Found<'_> {
    /// Whether both are the same entry.
    pub(super) fn is(&self, other: &Found<'_>) -> bool {
        std::ptr::eq(self.manifest, other.manifest)
            && self.kind == other.kind
            && self.name.value == other.name.value
    }
}

/// The parts of a reference as written.
struct Parts<'m, 't> {
    import: Option<&'m Imported>,
    kind: Option<Kind>,
    name: &'t str,
    variant: Option<&'t str>,
    output: Option<&'t str>,
}

impl Manifest {
    /// Finds what `text` refers to, looking into `kinds` in their order.
    pub(super) fn find<'m>(
        &'m self,
        text: &'m At<String>,
        kinds: &[Kind],
    ) -> Result<Found<'m>, Problem> {
        self.look_up(text, kinds)
            .ok_or_else(|| self.not_found(text, kinds))
    }

    /// The same for a text without a place.
    pub(super) fn look_up<'m>(&'m self, text: &'m str, kinds: &[Kind]) -> Option<Found<'m>> {
        let parts = self.split(text);
        let manifest = parts.import.map_or(self, |import| &import.manifest);
        let variant = match parts.variant {
            Some(name) => Some(manifest.key(Kind::Variant, name)?),
            None => None,
        };
        kinds
            .iter()
            .filter(|kind| parts.kind.is_none_or(|wanted| wanted == **kind))
            .find_map(|&kind| Some((kind, manifest.key(kind, parts.name)?)))
            .map(|(kind, name)| Found {
                import: parts.import,
                manifest,
                kind,
                name,
                output: parts.output,
                variant,
                home: None,
            })
    }

    fn split<'m, 't>(&'m self, text: &'t str) -> Parts<'m, 't> {
        let (rest, output) = match text.split_once('#') {
            Some((rest, output)) => (rest, Some(output)),
            None => (text, None),
        };
        let (rest, variant) = match rest.split_once('@') {
            Some((rest, variant)) => (rest, Some(variant)),
            None => (rest, None),
        };
        let (import, rest) = match rest.split_once('.') {
            Some((first, after)) if self.imports.contains_key(first) => {
                (self.imports.get(first), after)
            }
            _ => (None, rest),
        };
        let (kind, name) = match rest.split_once('.') {
            Some((first, after)) if Kind::of(first).is_some() => (Kind::of(first), after),
            _ => (None, rest),
        };
        Parts {
            import,
            kind,
            name,
            variant,
            output,
        }
    }

    fn not_found(&self, text: &At<String>, kinds: &[Kind]) -> Problem {
        let parts = self.split(text);
        let manifest = parts.import.map_or(self, |import| &import.manifest);
        let names = |kinds: &[Kind]| -> Vec<String> {
            let keys = kinds.iter().flat_map(|kind| manifest.keys(*kind));
            keys.map(|key| key.value.clone()).collect()
        };
        if let Some(variant) = parts.variant
            && manifest.key(Kind::Variant, variant).is_none()
        {
            let message = format!("unknown variant `{variant}`");
            let problem = Problem::at(text.span, message, "no variant has the name after `@`");
            let known = names(&[Kind::Variant]);
            return problem.suggest(variant, known.iter().map(String::as_str));
        }
        let wanted = parts.kind.unwrap_or(kinds[0]);
        let message = format!("unknown {wanted} `{}`", text.value);
        let problem = Problem::at(text.span, message, format!("no {wanted} has this name"));
        let other = Kind::ALL
            .into_iter()
            .find(|kind| manifest.key(*kind, parts.name).is_some());
        if let Some(other) = other {
            let name = parts.name;
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            let help = format!(
                "there is a {other} `{name}`; expected one of: {}",
                kinds.join(", ")
            );
            return problem.help(help);
        }
        // `kiln.nothing`: names of the import are shown with its prefix.
        let prefix = &text.value[..text.find(parts.name).unwrap_or(0)];
        let names: Vec<String> = names(kinds)
            .into_iter()
            .map(|name| format!("{prefix}{name}"))
            .collect();
        problem.suggest(
            text.split(['#', '@']).next().unwrap_or(text),
            names.iter().map(String::as_str),
        )
    }

    fn key(&self, kind: Kind, name: &str) -> Option<&At<String>> {
        fn key<'m, T>(table: &'m Table<T>, name: &str) -> Option<&'m At<String>> {
            table.get_key_value(name).map(|(key, _)| key)
        }
        match kind {
            Kind::Image => key(&self.images, name),
            Kind::Rootfs => key(&self.rootfs, name),
            Kind::Package => key(&self.packages, name),
            Kind::Compose => key(&self.composes, name),
            Kind::Source => key(&self.sources, name),
            Kind::Seed => key(&self.seeds, name),
            Kind::Format => key(&self.formats, name),
            Kind::Variant => key(&self.variants, name),
        }
    }

    /// The names of one kind, sorted.
    pub fn keys(&self, kind: Kind) -> Box<dyn Iterator<Item = &At<String>> + '_> {
        match kind {
            Kind::Image => Box::new(self.images.keys()),
            Kind::Rootfs => Box::new(self.rootfs.keys()),
            Kind::Package => Box::new(self.packages.keys()),
            Kind::Compose => Box::new(self.composes.keys()),
            Kind::Source => Box::new(self.sources.keys()),
            Kind::Seed => Box::new(self.seeds.keys()),
            Kind::Format => Box::new(self.formats.keys()),
            Kind::Variant => Box::new(self.variants.keys()),
        }
    }
}
