//! Lists of named things with fields and contents, which is what archives and
//! file systems are: matched by name, compared field by field.

use std::collections::HashMap;

use super::clue::Clue;
use super::difference::{Excerpt, What};
use super::excerpt::{list, readable};
use super::look::{Finding, Look, Pair, Place};
use super::marks;
use super::order;
use super::time;

/// One of the list.
pub(super) struct Member<'a> {
    /// Its name; several may have the same.
    pub name: Vec<u8>,
    /// What its header says, in an order that is always the same.
    pub fields: Vec<Field>,
    /// What it holds.
    pub content: &'a [u8],
}

/// A field of a header.
pub(super) struct Field {
    pub name: &'static str,
    pub value: Value,
}

/// What a field holds, and so what a difference in it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Seconds of UNIX time.
    Time(i64),
    /// The number of a user or a group.
    Owner(u64),
    /// The name of a user or a group.
    OwnerName(Vec<u8>),
    /// Type and permission bits.
    Mode(u64),
    /// A number that a file system gave.
    Inode(u64),
    /// How many names there were.
    Links(u64),
    /// A number that follows from others.
    Following(u64),
    /// Another number.
    Number(u64),
    /// A text.
    Text(Vec<u8>),
    /// Bytes that are drawn or computed, such as a UUID.
    Bytes(Vec<u8>),
}

impl Field {
    pub fn new(name: &'static str, value: Value) -> Self {
        Self { name, value }
    }
}

/// Words for a list and its members.
pub(super) struct Words {
    /// Such as `member`; places are called ``member `name` ``.
    pub one: &'static str,
    /// Such as `members`.
    pub many: &'static str,
}

/// Compares two lists: what is only in one, the order, the fields, the
/// contents.
pub(super) fn compare(
    look: &mut Look<'_>,
    words: &Words,
    expected: &[Member<'_>],
    got: &[Member<'_>],
) {
    let (left, right) = (keys(expected), keys(got));
    let index: HashMap<_, _> = right.iter().zip(got).collect();
    let known: HashMap<_, _> = left.iter().zip(expected).collect();
    order_of(look, words, &left, &right, &known, &index);
    for (key, member) in left.iter().zip(expected) {
        let Some(other) = index.get(key) else {
            only(look, words, member, What::OnlyExpected);
            continue;
        };
        look.within(place(words, member), |look| both(look, member, other));
    }
    for (key, member) in right.iter().zip(got) {
        if !known.contains_key(key) {
            only(look, words, member, What::OnlyGot);
        }
    }
}

/// A name, and how many of the same name come before.
type Key<'m> = (&'m [u8], usize);

fn keys<'m>(members: &'m [Member<'_>]) -> Vec<Key<'m>> {
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    let key = |member: &'m Member<'_>| {
        let count = seen.entry(&member.name).or_default();
        *count += 1;
        (member.name.as_slice(), *count)
    };
    members.iter().map(key).collect()
}

fn place(words: &Words, member: &Member<'_>) -> Place {
    Place::one_of(
        words.one,
        format!("{} `{}`", words.one, readable(&member.name)),
    )
}

/// Reports that what both have stands in another order.
fn order_of(
    look: &mut Look<'_>,
    words: &Words,
    left: &[Key<'_>],
    right: &[Key<'_>],
    known: &HashMap<&Key<'_>, &Member<'_>>,
    index: &HashMap<&Key<'_>, &Member<'_>>,
) {
    let common = |keys: &[Key<'_>], other: &HashMap<&Key<'_>, &Member<'_>>| -> Vec<Vec<u8>> {
        let keys = keys.iter().filter(|key| other.contains_key(key));
        keys.map(|(name, _)| name.to_vec()).collect()
    };
    let (left, right) = (common(left, index), common(right, known));
    let Some(clue) = order::clue(words.many, &left, &right) else {
        return;
    };
    let [range, other] = order::differing(&left, &right);
    let value = |names: &[Vec<u8>]| Excerpt::value(list(names));
    let finding = Finding::new(What::Order, value(&left[range]), value(&right[other]));
    look.report(finding.clue(clue));
}

fn only(look: &mut Look<'_>, words: &Words, member: &Member<'_>, what: What) {
    let there = Excerpt::value(format!("{} of {} bytes", words.one, member.content.len()));
    let (finding, window) = match what {
        What::OnlyExpected => (
            Finding::new(what, there, Excerpt::Absent),
            look.windows.expected,
        ),
        _ => (Finding::new(what, Excerpt::Absent, there), look.windows.got),
    };
    let name = member
        .name
        .rsplit(|&b| b == b'/')
        .next()
        .unwrap_or_default();
    let clues = marks::name(name, window).into_iter().collect();
    look.within(place(words, member), |look| {
        look.report(Finding { clues, ..finding });
    });
}

fn both(look: &mut Look<'_>, expected: &Member<'_>, got: &Member<'_>) {
    fields(look, &expected.fields, &got.fields);
    look.content(Pair {
        expected: expected.content,
        got: got.content,
    });
}

/// Compares fields of the same names in the same order; says nothing of those
/// that only one side has.
pub(super) fn fields(look: &mut Look<'_>, expected: &[Field], got: &[Field]) {
    for left in expected {
        let right = got.iter().find(|right| right.name == left.name);
        if let Some(right) = right
            && left.value != right.value
        {
            field(look, left.name, &left.value, &right.value);
        }
    }
}

fn field(look: &mut Look<'_>, name: &str, expected: &Value, got: &Value) {
    let what = What::Field {
        name: name.to_owned(),
    };
    let clues = field_clues(look, name, expected, got);
    look.report(Finding {
        clues,
        ..Finding::new(
            what,
            Excerpt::value(expected.to_string()),
            Excerpt::value(got.to_string()),
        )
    });
}

fn field_clues(look: &Look<'_>, name: &str, expected: &Value, got: &Value) -> Vec<Clue> {
    match (expected, got) {
        (Value::Time(a), Value::Time(b)) => {
            let clock = time::field_clue(*a, *b, &format!("field {name}"), look.windows);
            clock.into_iter().chain([Clue::ModTime]).collect()
        }
        (Value::Owner(_) | Value::OwnerName(_), _) => vec![Clue::Owner],
        (Value::Mode(_), _) => vec![Clue::Mode],
        (Value::Inode(_), _) => vec![Clue::Inode],
        (Value::Links(_), _) => vec![Clue::Links],
        (Value::Following(_), _) => vec![Clue::Follows],
        (Value::Text(expected), Value::Text(got)) => {
            marks::clues(Pair { expected, got }, look.windows)
        }
        (Value::Bytes(_), Value::Bytes(_)) => vec![Clue::RandomLooking {
            form: "bytes".to_owned(),
        }],
        _ => Vec::new(),
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(second) => f.write_str(&time::shown(*second)),
            Self::Mode(mode) => write!(f, "{mode:06o}"),
            Self::Owner(n) | Self::Inode(n) | Self::Links(n) | Self::Number(n) => write!(f, "{n}"),
            Self::Following(n) => write!(f, "{n:#x}"),
            Self::OwnerName(text) | Self::Text(text) => write!(f, "`{}`", readable(text)),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}
