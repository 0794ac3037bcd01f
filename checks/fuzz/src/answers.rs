//! What servers of caches answer, and the files in which other programs keep who
//! kiln is to them.

use std::io::Read;

use kiln_store::cache::backend::ByteRange;
use kiln_store::cache::name::Name;
use kiln_store::cache::{foreign, hint, recipes};
use kiln_store::trust::policy::Policy;
use kiln_store::trust::statement::Statements;

/// More than a fuzzer's answers hold.
const BODY_BYTES: u64 = 1 << 20;
/// Longer than anything that is shown of an answer.
const SHOWN_BYTES: usize = 500;

/// A hint: read again as the same, and nothing in it is believed. Or a list of
/// recipes, which is added to.
pub fn hint(bytes: &[u8]) {
    if let Ok(list) = recipes::decode(bytes) {
        assert_eq!(recipes::decode(&recipes::encode(list.clone())), Ok(list));
    }
    let Ok(claims) = hint::decode(bytes) else {
        return;
    };
    let again = hint::decode(&hint::encode(claims.clone())).expect("its own");
    assert!(again.len() <= claims.len());
    assert!(again.iter().all(|claim| claims.contains(claim)));
    let (policy, statements) = (Policy::default(), Statements::default());
    for claim in &claims {
        let recipe = &claim.realisation.recipe;
        assert!(policy.count(&statements, "any", recipe, claim).is_err());
    }
}

/// What a bucket says: a page of a listing, an error.
pub fn bucket(bytes: &[u8]) {
    if let Ok((files, _)) = foreign::s3_page(bytes) {
        assert!(files.len() <= bytes.len());
    }
    if let Some(code) = foreign::s3_error(bytes) {
        assert!(code.len() <= 80 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}

/// What a registry says: manifests, tags, tokens, challenges, further pages.
pub fn registry(bytes: &[u8]) {
    let name = Name::new("packs/0a/0a1b.pack").expect("a name");
    if let Ok(manifest) = foreign::oci_manifest(bytes, &name) {
        let again = foreign::oci_manifest(&manifest.written, &name);
        assert_eq!(again.as_ref(), Ok(&manifest));
        // It becomes part of a URL.
        let is_hex = |byte: u8| byte.is_ascii_hexdigit();
        assert!(manifest.digest.is_none_or(|text| {
            let hex = text.strip_prefix("sha256:").unwrap_or_default();
            hex.len() == 64 && hex.bytes().all(is_hex)
        }));
    }
    let _ = foreign::oci_tags(bytes);
    let _ = foreign::oci_token(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some((scheme, values)) = foreign::oci_challenge(text) {
        let values = values.iter().map(|(key, value)| key.len() + value.len());
        assert!(scheme.len() + values.sum::<usize>() <= text.len());
    }
    let here = "https://registry.example:5000/v2/a/tags/list";
    if let Some(next) = foreign::oci_next(text, here) {
        assert!(next.starts_with("https://registry.example:5000/"), "{next}");
    }
}

/// Files with logins and keys; the first line says for which host. What is wrong
/// with them is said without a secret.
pub fn login(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (host, text) = text.split_once('\n').unwrap_or(("a.example", text));
    let _ = foreign::netrc(text, host);
    let _ = foreign::docker(text, &format!("https://{host}/"));
    if let Ok(sections) = foreign::aws(text) {
        let settings = sections.values().map(|section| section.len());
        assert!(settings.sum::<usize>() <= text.lines().count());
    }
}

/// What a client asks a served cache for: a path, and in a second line a range of
/// a file of 1000 bytes.
pub fn request(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (path, range) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(name) = foreign::served_name(path) {
        let is_hidden = |part: &str| part.is_empty() || part.starts_with('.');
        assert!(!name.as_str().split('/').any(is_hidden), "{name}");
    }
    if let Some((start, length)) = foreign::served_part(range, 1000) {
        assert!(length > 0 && start < 1000 && start + length <= 1000);
    }
}

/// The head and the body of an answer to the question for a file, or for a part
/// of it:
///
/// ```text
/// STATUS START LENGTH     a part if LENGTH is no zero
/// NAME: VALUE             headers, to the first empty line
/// ```
pub fn answer(bytes: &[u8]) {
    let head_end = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = bytes.split_at(head_end.unwrap_or(bytes.len()));
    let (Ok(head), body) = (std::str::from_utf8(head), body.get(2..).unwrap_or(b"")) else {
        return;
    };
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut number = || first.next().and_then(|word| word.parse::<u64>().ok());
    let (Some(status), Some(start), Some(length)) = (number(), number(), number()) else {
        return;
    };
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    for (_, value) in &headers {
        let _ = foreign::retry_after(value);
    }
    let range = (length > 0).then_some(ByteRange { start, length });
    let status = u16::try_from(status).unwrap_or(999);
    match foreign::answered(status, &headers, body, range) {
        Ok(None) => {}
        Ok(Some(opened)) => {
            let mut read = Vec::new();
            let ended = opened.content.take(BODY_BYTES).read_to_end(&mut read);
            check_read(status, range, body, &read);
            if let (Some(expected), Ok(got)) = (opened.length, ended) {
                assert!(
                    got as u64 == expected.min(BODY_BYTES),
                    "{got} of {expected}"
                );
            }
        }
        Err(kind) => {
            let shown = kind.to_string();
            assert!(shown.len() <= SHOWN_BYTES, "{shown}");
        }
    }
}

/// What was read is what was asked for, and of the body in its order.
fn check_read(status: u16, range: Option<ByteRange>, body: &[u8], read: &[u8]) {
    let skipped = match (status, range) {
        (200, Some(range)) => range.start as usize,
        _ => 0,
    };
    assert!(range.is_none_or(|range| read.len() as u64 <= range.length));
    let expected = body.get(skipped..).unwrap_or_default();
    assert!(expected.starts_with(read));
}
