//! The fields of a key for people, and by which of them two keys differ.
//!
//! What was hashed is a flat row of fields; here each has a name that says where
//! in the derivation it stands: `env.CFLAGS`, `argv[1]`, or in a part of its own
//! (an input, a device, a mode) that name within the part.

use kiln_store::cache::recipes::Field;
use kiln_store::hash::Digest;

use super::encode::Sink;
use super::resolve::INPUT;

/// The longest value that is kept as it is, in bytes.
const MAX_VALUE_BYTES: usize = 96;

/// Keeps every field under its name, in their order.
#[derive(Debug, Default)]
pub struct Named {
    /// What it was given.
    pub fields: Vec<Field>,
    part: String,
}

impl Named {
    fn push(&mut self, name: String, value: String) {
        self.fields.push(Field {
            part: self.part.clone(),
            name,
            value,
        });
    }
}

impl Sink for Named {
    fn field(&mut self, name: &str, value: &[u8]) {
        let value = match <[u8; 32]>::try_from(value) {
            Ok(digest) => Digest::from_bytes(digest).to_string(),
            Err(_) => format!("b3:{} ({} bytes)", Digest::of(value), value.len()),
        };
        self.push(name.to_owned(), value);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.push(name.to_owned(), short(value));
    }

    fn number(&mut self, name: &str, value: u64) {
        self.push(name.to_owned(), value.to_string());
    }

    /// How many there are shows in what they are.
    fn count(&mut self, _: &str, _: usize) {}

    fn list(&mut self, name: &str, values: &[String]) {
        for (at, value) in values.iter().enumerate() {
            self.push(format!("{name}[{at}]"), short(value));
        }
    }

    fn map(&mut self, name: &str, values: &std::collections::BTreeMap<String, String>) {
        for (key, value) in values {
            self.push(format!("{name}.{key}"), short(value));
        }
    }

    fn begin(&mut self, name: &str, key: &str) {
        self.part = format!("{name} {key}");
    }

    fn end(&mut self) {
        self.part.clear();
    }
}

/// A value as it is, or what tells it from others.
fn short(value: &str) -> String {
    match value.len() <= MAX_VALUE_BYTES {
        true => value.to_owned(),
        false => format!(
            "b3:{} ({} bytes)",
            Digest::of(value.as_bytes()),
            value.len()
        ),
    }
}

/// A field, or a whole part, by which two derivations differ.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Difference {
    /// Which: `env.CFLAGS`, `input /src: tree`, `devices /dev/null`.
    pub field: String,
    /// Its value in the first; none if it has none. Of a whole part only that
    /// it is there.
    pub ours: Option<String>,
    /// Its value in the second.
    pub theirs: Option<String>,
}

/// What stands for a whole part.
const THERE: &str = "there";

/// The place of the input that a difference is about.
pub fn input_of(difference: &Difference) -> Option<&str> {
    let part = difference.field.strip_prefix(INPUT)?.strip_prefix(' ')?;
    let content = [": tree", ": lineage"];
    content.iter().find_map(|name| part.strip_suffix(name))
}

/// By what two rows of fields differ, in the order of the first.
pub fn differences(ours: &[Field], theirs: &[Field]) -> Vec<Difference> {
    let mut found = Vec::new();
    for field in ours {
        let is_new_part = !field.part.is_empty() && !has_part(theirs, &field.part);
        if is_new_part {
            once(&mut found, whole(&field.part, true));
            continue;
        }
        let other = value(theirs, field);
        if other != Some(&field.value) {
            found.push(Difference {
                field: full_name(field),
                ours: Some(field.value.clone()),
                theirs: other.cloned(),
            });
        }
    }
    for field in theirs {
        if !field.part.is_empty() && !has_part(ours, &field.part) {
            once(&mut found, whole(&field.part, false));
        } else if value(ours, field).is_none() {
            found.push(Difference {
                field: full_name(field),
                ours: None,
                theirs: Some(field.value.clone()),
            });
        }
    }
    found.extend(order(ours, theirs));
    found
}

/// Inputs are layers too: which comes first counts.
fn order(ours: &[Field], theirs: &[Field]) -> Option<Difference> {
    let [mut a, mut b] = [parts(ours), parts(theirs)];
    if a == b {
        return None;
    }
    let difference = Difference {
        field: "order of inputs".to_owned(),
        ours: Some(short(&a.join(", "))),
        theirs: Some(short(&b.join(", "))),
    };
    a.sort_unstable();
    b.sort_unstable();
    (a == b).then_some(difference)
}

fn parts(fields: &[Field]) -> Vec<&str> {
    let inputs = fields.iter().filter_map(|it| it.part.strip_prefix(INPUT));
    let mut parts: Vec<&str> = inputs.map(str::trim_start).collect();
    parts.dedup();
    parts
}

fn has_part(fields: &[Field], part: &str) -> bool {
    fields.iter().any(|field| field.part == part)
}

fn value<'f>(fields: &'f [Field], like: &Field) -> Option<&'f String> {
    let same = |it: &&Field| it.part == like.part && it.name == like.name;
    fields.iter().find(same).map(|field| &field.value)
}

fn full_name(field: &Field) -> String {
    match field.part.is_empty() {
        true => field.name.clone(),
        false => format!("{}: {}", field.part, field.name),
    }
}

fn whole(part: &str, ours: bool) -> Difference {
    let there = Some(THERE.to_owned());
    Difference {
        field: part.to_owned(),
        ours: there.clone().filter(|_| ours),
        theirs: there.filter(|_| !ours),
    }
}

fn once(found: &mut Vec<Difference>, difference: Difference) {
    if !found.contains(&difference) {
        found.push(difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(part: &str, name: &str, value: &str) -> Field {
        Field {
            part: part.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn shown(ours: &[Field], theirs: &[Field]) -> Vec<String> {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let all = differences(ours, theirs).into_iter();
        all.map(|it| format!("{} {} {}", it.field, side(&it.ours), side(&it.theirs)))
            .collect()
    }

    #[test]
    fn differences_are_fields_or_whole_parts() {
        let one = [
            field("", "uid", "0"),
            field("", "env.A", "1"),
            field("input /src", "role", "material"),
            field("input /src", "tree", "aa"),
            field("devices /dev/a", "major", "1"),
            field("devices /dev/a", "minor", "1"),
        ];
        let mut other = one.to_vec();
        assert_eq!(shown(&one, &other), [""; 0]);
        other[0].value = "1000".to_owned();
        other[3].value = "bb".to_owned();
        other.truncate(4);
        other.push(field("", "env.B", "2"));
        assert_eq!(
            shown(&one, &other),
            [
                "uid 0 1000",
                "input /src: tree aa bb",
                "devices /dev/a there -",
                "env.B - 2"
            ]
        );
        let about: Vec<_> = differences(&one, &other);
        let inputs: Vec<_> = about.iter().filter_map(input_of).collect();
        assert_eq!(inputs, ["/src"]);
    }

    #[test]
    fn the_order_of_layers_counts_only_where_the_layers_are_the_same() {
        let layer = |at: &str| field(&format!("input {at}"), "tree", at);
        let (a, b, c) = (layer("a"), layer("b"), layer("c"));
        let (first, second) = ([a.clone(), b.clone()], [b.clone(), a.clone()]);
        assert_eq!(shown(&first, &second), ["order of inputs a, b b, a"]);
        assert_eq!(shown(&[a.clone(), b], &[c, a]).len(), 2);
    }

    #[test]
    fn fields_have_the_names_of_their_places() {
        let mut named = Named::default();
        named.text("target", "x86_64");
        named.count("inputs", 1);
        named.list("argv", &["/bin/sh".to_owned(), "x".repeat(97)]);
        named.map(
            "env",
            &std::collections::BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        );
        named.begin("input", "/src");
        named.field("tree", &[7; 32]);
        named.end();
        named.number("uid", 1000);
        let lines: Vec<_> = named
            .fields
            .iter()
            .map(|it| format!("{} = {:.14}", full_name(it), it.value))
            .collect();
        assert_eq!(
            lines,
            [
                "target = x86_64",
                "argv[0] = /bin/sh",
                "argv[1] = b3:ad8653372e0",
                "env.A = 1",
                "input /src: tree = 07070707070707",
                "uid = 1000",
            ]
        );
    }
}
