//! How the name of a file is a tag. Pure.
//!
//! A tag is `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`. Names have no upper case, so:
//!
//! ```text
//! N-…   the name, its slashes as S         packs/0a/0a1b.pack → N-packsS0aS0a1b.pack
//! H-…   BLAKE3 of a name that is too long for that, in hexadecimal
//! ```

use crate::cache::name::Name;

const MAX_BYTES: usize = 128;
const PLAIN: &str = "N-";
const HASHED: &str = "H-";
const SLASH: &str = "S";

/// The tag of a file.
pub(super) fn of(name: &Name) -> String {
    let plain = format!("{PLAIN}{}", name.as_str().replace('/', SLASH));
    match plain.len() <= MAX_BYTES {
        true => plain,
        false => format!(
            "{HASHED}{}",
            blake3::hash(name.as_str().as_bytes()).to_hex()
        ),
    }
}

/// Whether a tag may be of a file whose name begins with `prefix`.
pub(super) fn may_be(tag: &str, prefix: &str) -> bool {
    match tag.strip_prefix(PLAIN) {
        Some(name) => name.starts_with(&prefix.replace('/', SLASH)),
        None => tag.starts_with(HASHED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tags_and_none_is_another_ones() {
        let check = |name: &str, expected: &str| {
            assert_eq!(of(&Name::new(name).expect("a name")), expected);
        };
        check("packs/0a/0a1b.pack", "N-packsS0aS0a1b.pack");
        check("-_.x", "N--_.x");
        let longest = "a".repeat(126);
        check(&longest, &format!("N-{longest}"));
        let long = "a".repeat(127);
        check(
            &long,
            "H-34642f132550dbc2098a799d73431936815317b10786ec69a11c76db3cc5b4b7",
        );
    }

    #[test]
    fn prefixes_choose_tags() {
        for (tag, prefix, expected) in [
            ("N-packsS0a", "", true),
            ("N-packsS0a", "packs/", true),
            ("N-packs-0a", "packs/", false),
            ("H-00", "packs/", true),
            ("latest", "", false),
        ] {
            assert_eq!(may_be(tag, prefix), expected, "{tag} {prefix}");
        }
    }
}
