//! From the text of one file to its tables.
//!
//! Pure. TOML is parsed once into spanned values; then every entry is
//! deserialized by itself, so that a mistake in one hides none in another.

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::{ManifestError, Problem, SourceFile, nearest};
use super::schema::{Document, Table};
use super::span::{At, FileId, Span, within};
use super::units::is_clean_relative;

/// Parses one file of a manifest. `name` is what errors call it.
pub fn parse(name: &str, text: &str) -> Result<Document, ManifestError> {
    let file = SourceFile {
        name: name.to_owned(),
        text: text.into(),
    };
    let (document, problems) = parse_file(FileId(0), text);
    ManifestError::check(problems, &[file])?;
    Ok(document)
}

/// Parses one of several files: what could be read, and what is wrong with the
/// rest.
pub(super) fn parse_file(file: FileId, text: &str) -> (Document, Vec<Problem>) {
    parse_kinds(file, text, &KINDS)
}

/// The same for a file that may have some kinds of tables only.
pub(super) fn parse_kinds(
    file: FileId,
    text: &str,
    kinds: &'static [&'static str],
) -> (Document, Vec<Problem>) {
    let mut reader = Reader {
        file,
        kinds,
        problems: Vec::new(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    reader.problems.extend(errors.iter().map(|error| {
        let span = Span::new(file, error.span().unwrap_or(0..0));
        Problem::at(span, "this is not TOML", error.message())
    }));
    let mut document = Document::default();
    if reader.problems.is_empty() {
        within(file, || reader.document(root.into_inner(), &mut document));
    }
    (document, reader.problems)
}

/// The keys of the top level.
const KINDS: [&str; 19] = [
    "boot-check",
    "cache",
    "compose",
    "emulation",
    "emulator",
    "flake",
    "format",
    "image",
    "import",
    "mirrors",
    "package",
    "rootfs",
    "sandbox",
    "seed",
    "source",
    "template",
    "trust",
    "variant",
    "verify",
];

struct Reader {
    file: FileId,
    /// The tables that may stand here.
    kinds: &'static [&'static str],
    problems: Vec<Problem>,
}

type Value<'i> = serde_spanned::Spanned<DeValue<'i>>;

impl Reader {
    fn document(&mut self, root: DeTable<'_>, document: &mut Document) {
        for (key, value) in root {
            let span = Span::new(self.file, key.span());
            match key.get_ref().as_ref() {
                other if !self.kinds.contains(&other) => self.problems.push(
                    Problem::at(
                        span,
                        format!("unknown table `{other}`"),
                        "not a table of this kind of file",
                    )
                    .suggest(other, self.kinds.iter().copied()),
                ),
                "flake" => document.flake = self.value(value, span).map(|v| At::new(v, span)),
                "mirrors" => document.mirrors = self.value(value, span),
                "emulator" => document.emulator = self.value(value, span),
                "emulation" => document.emulation = self.value(value, span),
                "sandbox" => document.sandbox = self.value(value, span),
                "verify" => document.verify = self.value(value, span),
                "cache" => document.cache = self.table(value),
                "trust" => document.trust = self.value(value, span).map(|v| At::new(v, span)),
                "import" => document.import = self.table(value),
                "seed" => document.seed = self.table(value),
                "source" => document.source = self.table(value),
                "package" => document.package = self.table(value),
                "template" => document.template = self.table(value),
                "compose" => document.compose = self.table(value),
                "rootfs" => document.rootfs = self.table(value),
                "image" => document.image = self.table(value),
                "format" => document.format = self.table(value),
                "variant" => document.variant = self.table(value),
                "boot-check" => document.boot_check = self.table(value),
                known => unreachable!("no table is read from `{known}`"),
            }
        }
    }

    /// Named entries of one kind.
    fn table<T: DeserializeOwned>(&mut self, value: Value<'_>) -> Table<T> {
        let span = Span::new(self.file, value.span());
        let DeValue::Table(entries) = value.into_inner() else {
            let form = "expected a table for each name, like `[package.musl]`";
            self.problems.push(Problem::at(span, "wrong type", form));
            return Table::new();
        };
        let mut table = Table::new();
        for (key, value) in entries {
            let span = Span::new(self.file, key.span());
            let name = At::new(key.into_inner().into_owned(), span);
            if !is_name(&name) {
                let expected = "expected letters, digits, `-`, `_`, `+` and `.`, not first a sign";
                let message = format!("`{}` is no name", name.value);
                self.problems.push(Problem::at(span, message, expected));
            }
            if let Some(value) = self.value(value, span) {
                table.insert(name, value);
            }
        }
        table
    }

    fn value<T: DeserializeOwned>(&mut self, value: Value<'_>, key: Span) -> Option<T> {
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(explain(self.file, key, &error));
                None
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_+.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(word)
        && is_clean_relative(name)
}

/// Says in our words what serde found. Its messages are stable enough to be
/// read; one that is not recognised is shown as it is.
fn explain(file: FileId, key: Span, error: &toml::de::Error) -> Problem {
    let span = error.span().map_or(key, |bytes| Span::new(file, bytes));
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        let (found, names) = quoted.split_first().unwrap_or((&"", &[]));
        let what = if message.contains("field") {
            "key"
        } else {
            "value"
        };
        let near = nearest(found, names).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| format!("expected one of: {}", names.join(", ")));
        return Problem::at(span, format!("unknown {what} `{found}`"), "not known here").help(help);
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        let found = format!("missing key {field}");
        return Problem::at(key, found, format!("{field} is needed here"));
    }
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let expected = plain_type(expected);
        return Problem::at(
            span,
            format!("wrong type: expected {expected}"),
            format!("found {}", plain_type(found)),
        );
    }
    match message.split_once(": expected ") {
        Some((found, expected)) => Problem::at(span, found, format!("expected {expected}")),
        None => Problem::at(span, message.to_owned(), ""),
    }
}

/// serde's word for a type as manifests call it.
fn plain_type(word: &str) -> String {
    match word {
        "a sequence" | "sequence" => "a list".to_owned(),
        "a map" | "map" => "a table".to_owned(),
        "a borrowed string" => "a string".to_owned(),
        "u32" | "u64" => "a whole number".to_owned(),
        other => match other.strip_prefix("struct ") {
            Some(_) => "a table".to_owned(),
            None => other.to_owned(),
        },
    }
}
