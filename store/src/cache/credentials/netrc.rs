//! The file in which ftp, curl and git keep logins: words after words. Pure.

use super::{Login, Secret};

/// The login for `host`: of the first `machine` of that name, or of `default`,
/// whichever comes first. The error says what is wrong without quoting it.
pub(in crate::cache) fn find(text: &str, host: &str) -> Result<Option<Login>, String> {
    let mut words = words(text)?.into_iter();
    let mut found: Option<Entry> = None;
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("`{word}` without a value"))
        };
        match word.as_str() {
            "machine" | "default" if found.as_ref().is_some_and(|entry| entry.is_it) => break,
            "machine" => found = Some(Entry::new(value()?.eq_ignore_ascii_case(host))),
            "default" => found = Some(Entry::new(true)),
            "login" => entry(&mut found)?.login = value()?,
            "password" => entry(&mut found)?.password = value()?,
            "account" => _ = value()?,
            // The file may hold anything; what is not understood is not shown.
            _ => return Err("expected machine, default, login, password, account".to_owned()),
        }
    }
    Ok(found.filter(|entry| entry.is_it).map(|entry| Login::Basic {
        user: entry.login,
        password: Secret::new(entry.password),
    }))
}

struct Entry {
    is_it: bool,
    login: String,
    password: String,
}

impl Entry {
    fn new(is_it: bool) -> Self {
        Self {
            is_it,
            login: String::new(),
            password: String::new(),
        }
    }
}

fn entry(found: &mut Option<Entry>) -> Result<&mut Entry, String> {
    found
        .as_mut()
        .ok_or_else(|| "a login before any machine".to_owned())
}

/// The words: separated by white space, quoted or not, without comments and
/// without macros, which end at an empty line.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        if line.split_whitespace().next() == Some("macdef") {
            lines.by_ref().find(|line| line.trim().is_empty());
            continue;
        }
        let mut rest = line.trim_start();
        while !rest.is_empty() {
            let (word, after) = word(rest)?;
            words.push(word);
            rest = after.trim_start();
        }
    }
    Ok(words)
}

fn word(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((word, &quoted[at + 1..])),
            '\\' => word.extend(chars.next().map(|(_, char)| char)),
            _ => word.push(char),
        }
    }
    Err("a quote that does not end on its line".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, host: &str, expected: Result<Option<(&str, &str)>, &str>) {
        let expected = expected.map_err(str::to_owned).map(|login| {
            login.map(|(user, password)| Login::Basic {
                user: user.to_owned(),
                password: Secret::new(password),
            })
        });
        assert_eq!(find(text, host), expected, "{text:?} for {host}");
    }

    #[test]
    fn the_first_that_fits_counts() {
        let text = "# mine\nmachine a login me password p#1\n\tmachine b\n login \"you two\" account x password \"q\\\"\"\nmacdef init\nmachine c login no password no\n\nmachine a login later password r\ndefault login any password z\nmachine d login never password n";
        check(text, "a", Ok(Some(("me", "p#1"))));
        check(text, "B", Ok(Some(("you two", "q\""))));
        check(text, "c", Ok(Some(("any", "z"))));
        check(text, "d", Ok(Some(("any", "z"))));
        check("machine a login x password y", "b", Ok(None));
        check("", "b", Ok(None));
    }

    #[test]
    fn mistakes_are_named_without_a_secret() {
        let words = "expected machine, default, login, password, account";
        check("machine a login x passwort s3cret", "a", Err(words));
        check("machine a password", "a", Err("`password` without a value"));
        check("password x", "a", Err("a login before any machine"));
        check(
            "machine a password \"x",
            "a",
            Err("a quote that does not end on its line"),
        );
    }
}
