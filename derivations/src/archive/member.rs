//! The names of archive members, taken apart the way GNU tar does it: leading
//! `/` and every `.` are dropped. `..` is refused, where tar would merely skip.

use kiln_store::tree::{MAX_DEPTH, Name};

use super::Refusal;

/// Splits the name of a member into the names of its path. Empty for the root.
pub(super) fn components(path: &[u8]) -> Result<Vec<Name>, Refusal> {
    let mut names = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Refusal::Parent),
            part => names.push(Name::new(part).map_err(|_| Refusal::BadName)?),
        }
    }
    if names.len() > MAX_DEPTH {
        return Err(Refusal::TooDeep);
    }
    Ok(names)
}

/// The path with one `/` between names and none around.
pub(super) fn join(names: &[Name]) -> Vec<u8> {
    let parts: Vec<&[u8]> = names.iter().map(Name::as_bytes).collect();
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Result<&str, Refusal>) {
        let joined = components(path.as_bytes()).map(|names| join(&names));
        assert_eq!(joined, expected.map(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn names_are_taken_apart_as_tar_does() {
        check("./usr/bin/x", Ok("usr/bin/x"));
        check("/usr//bin/./x/", Ok("usr/bin/x"));
        check("./", Ok(""));
        check("a/../b", Err(Refusal::Parent));
        check("..", Err(Refusal::Parent));
        check("a\0b", Err(Refusal::BadName));
        check(&"d/".repeat(257), Err(Refusal::TooDeep));
    }
}
