//! The small languages inside a manifest's strings: sizes, times, modes,
//! owners and device lines. Each is parsed while the TOML is, so that a mistake
//! in one is reported at its place.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::derivation::{Attributes, Device};

/// Deserializes by `FromStr`, and describes itself to JSON Schema as a string
/// of this pattern.
macro_rules! string_type {
    ($type:ident, $pattern:literal, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $description,
                })
            }
        }
    };
}

/// A number of bytes, written like `4GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes(pub u64);

/// A number of seconds, written like `30min`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seconds(pub u64);

/// Permission bits, written like `0755`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode(pub u32);

/// User and group by number, written like `0:0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A device node and its path, written like `/dev/console c 5 1 0622`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceLine {
    /// The absolute path.
    pub path: String,
    /// The node.
    pub device: Device,
}

string_type!(
    Bytes,
    r"^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$",
    "A size such as 512MiB or 4GiB."
);
string_type!(
    Seconds,
    r"^[0-9]+ ?(s|min|h)$",
    "A time such as 90s, 30min or 2h."
);
string_type!(
    Mode,
    r"^0?[0-7]{3,4}$",
    "Permission bits in octal, such as 0755."
);
string_type!(
    Owner,
    r"^[0-9]+:[0-9]+$",
    "User and group by number, such as 0:0."
);
string_type!(
    DeviceLine,
    r"^/\S+ [bc] [0-9]+ [0-9]+ 0?[0-7]{3,4}( [0-9]+:[0-9]+)?$",
    "A device node: path, c or b, major, minor, mode, and owner if not 0:0."
);

const BYTE_UNITS: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
const TIME_UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3600)];

/// A number and one of `units`; `example` is shown when it is not.
fn quantity(text: &str, what: &str, example: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let refuse = || {
        let names = names.join(", ");
        format!("`{text}` is no {what}: expected a number and one of {names}, such as `{example}`")
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start());
    let (_, factor) = factor.ok_or_else(refuse)?;
    number.checked_mul(*factor).ok_or_else(refuse)
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        quantity(text, "size", "4GiB", &BYTE_UNITS).map(Self)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        quantity(text, "time", "30min", &TIME_UNITS).map(Self)
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = (3..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| digits && *mode <= 0o7777)
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is no mode: expected three or four octal digits, such as `0755`")
            })
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
            .map(|(uid, gid)| Self { uid, gid })
            .ok_or_else(|| {
                format!("`{text}` is no owner: expected user and group by number, such as `0:0`")
            })
    }
}

impl FromStr for DeviceLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        device_line(text).map_err(|why| {
            let form = "path, c or b, major, minor, mode and perhaps owner";
            let example = "/dev/console c 5 1 0622";
            format!("`{text}` is no device, since {why}: expected {form}, such as `{example}`")
        })
    }
}

/// A device line, or what is wrong with it.
fn device_line(text: &str) -> Result<DeviceLine, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (&[path, kind, major, minor, mode], owner) = words
        .split_first_chunk()
        .ok_or_else(|| format!("it has {} words", words.len()))?;
    let owner = match owner {
        [] => Owner::default(),
        [owner] => reason(owner.parse())?,
        _ => return Err(format!("it has {} words", words.len())),
    };
    if !is_clean_absolute(path) {
        return Err(format!("`{path}` is no absolute path"));
    }
    let Mode(mode) = reason(mode.parse())?;
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no number"));
    let device = Device {
        block: match kind {
            "b" => true,
            "c" => false,
            other => return Err(format!("`{other}` is neither c nor b")),
        },
        major: number(major)?,
        minor: number(minor)?,
        attributes: Attributes {
            mode,
            uid: owner.uid,
            gid: owner.gid,
        },
    };
    let path = path.to_owned();
    Ok(DeviceLine { path, device })
}

/// The error of a part, without its own word on what was expected.
fn reason<T>(parsed: Result<T, String>) -> Result<T, String> {
    parsed.map_err(|why| {
        why.split(": expected")
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Whether `path` is absolute and no component is empty, `.` or `..`.
pub(super) fn is_clean_absolute(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(is_clean_relative)
}

/// Whether `path` is relative and no component is empty, `.` or `..`.
pub(super) fn is_clean_relative(path: &str) -> bool {
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
        && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn check<T>(text: &str, expected: Option<T>)
    where
        T: FromStr<Err = String> + PartialEq + Debug,
    {
        let parsed: Result<T, String> = text.parse();
        assert_eq!(parsed.ok(), expected, "{text}");
    }

    #[test]
    fn sizes_and_times() {
        check("4GiB", Some(Bytes(4 << 30)));
        check("4 GiB", Some(Bytes(4 << 30)));
        check("1B", Some(Bytes(1)));
        check::<Bytes>("4", None);
        check::<Bytes>("GiB", None);
        check::<Bytes>("4gib", None);
        check::<Bytes>("-4GiB", None);
        check::<Bytes>("99999999TiB", None);
        check("30min", Some(Seconds(1800)));
        check::<Seconds>("30m", None);
    }

    #[test]
    fn modes_and_owners() {
        check("0755", Some(Mode(0o755)));
        check("755", Some(Mode(0o755)));
        check("1777", Some(Mode(0o1777)));
        check::<Mode>("0800", None);
        check::<Mode>("17777", None);
        check::<Mode>("+755", None);
        check("1000:5", Some(Owner { uid: 1000, gid: 5 }));
        check::<Owner>("root:root", None);
    }

    #[test]
    fn devices() {
        let attributes = Attributes {
            mode: 0o660,
            uid: 0,
            gid: 6,
        };
        let device = Device {
            block: true,
            major: 8,
            minor: 1,
            attributes,
        };
        let path = "/dev/sda1".to_owned();
        check(
            "/dev/sda1 b 8 1 0660 0:6",
            Some(DeviceLine { path, device }),
        );
        for wrong in [
            "/dev/x c 5 1",
            "/dev/x c 5 1 0622 0:0 more",
            "dev/x c 5 1 0622",
            "/dev/../x c 5 1 0622",
            "/dev/x p 5 1 0622",
            "/dev/x c five 1 0622",
            "/dev/x c 5 1 0622 root",
        ] {
            check::<DeviceLine>(wrong, None);
        }
    }
}
