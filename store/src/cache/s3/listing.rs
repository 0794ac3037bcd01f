//! What S3 answers in XML. Pure.

use std::time::SystemTime;

use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::Event;

/// A file of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cache) struct File {
    pub(in crate::cache) key: String,
    pub(in crate::cache) size_bytes: u64,
    pub(in crate::cache) modified: SystemTime,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cache) struct Page {
    pub(in crate::cache) files: Vec<File>,
    /// What to ask for next.
    pub(in crate::cache) next: Option<String>,
}

#[derive(Default)]
struct Entry {
    key: Option<String>,
    size: Option<String>,
    modified: Option<String>,
}

impl Page {
    /// Reads a `ListBucketResult`.
    pub(in crate::cache) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut page = Self {
            files: Vec::new(),
            next: None,
        };
        let (mut entry, mut is_truncated, mut is_listing) = (Entry::default(), false, false);
        walk(bytes, &mut |path, text| {
            match path {
                ["ListBucketResult"] => is_listing = true,
                ["ListBucketResult", "IsTruncated"] => is_truncated = text == "true",
                ["ListBucketResult", "NextContinuationToken"] => page.next = Some(text.to_owned()),
                ["ListBucketResult", "Contents", "Key"] => entry.key = Some(text.to_owned()),
                ["ListBucketResult", "Contents", "Size"] => entry.size = Some(text.to_owned()),
                ["ListBucketResult", "Contents", "LastModified"] => {
                    entry.modified = Some(text.to_owned());
                }
                ["ListBucketResult", "Contents"] => {
                    page.files.push(std::mem::take(&mut entry).file()?);
                }
                _ => {}
            }
            Ok(())
        })?;
        match (is_listing, is_truncated, &page.next) {
            (false, _, _) => Err("no ListBucketResult".to_owned()),
            (true, true, None) => Err("a page without the way to the next".to_owned()),
            (true, false, _) => Ok(Self { next: None, ..page }),
            (true, true, Some(_)) => Ok(page),
        }
    }
}

impl Entry {
    fn file(self) -> Result<File, String> {
        let missing = |what: &str| format!("a file without a {what} that can be read");
        let size = self.size.and_then(|size| size.trim().parse().ok());
        let modified = self
            .modified
            .and_then(|time| time.trim().parse::<Timestamp>().ok());
        Ok(File {
            key: self.key.ok_or_else(|| missing("Key"))?,
            size_bytes: size.ok_or_else(|| missing("Size"))?,
            modified: modified.ok_or_else(|| missing("LastModified"))?.into(),
        })
    }
}

/// The code in an `Error`, if it is one.
pub(in crate::cache) fn error_code(bytes: &[u8]) -> Option<String> {
    let mut code = None;
    let _ = walk(bytes, &mut |path, text| {
        if let ["Error", "Code"] = path {
            code = Some(text.to_owned());
        }
        Ok(())
    });
    code.filter(|code: &String| code.len() <= 80 && code.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// What is done with an element: its path and its text.
type Visit<'v> = dyn FnMut(&[&str], &str) -> Result<(), String> + 'v;

/// Visits every element at its end, with the names of those around it and its
/// own, and its text. Prefixes of names are left out.
fn walk(bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
    const MAX_DEPTH: usize = 16;
    let text = std::str::from_utf8(bytes).map_err(|_| "no UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut content) = (Vec::<String>::new(), String::new());
    loop {
        let broken = |error: &dyn std::fmt::Display| format!("no XML: {error}");
        match reader.read_event().map_err(|error| broken(&error))? {
            Event::Start(start) if path.len() < MAX_DEPTH => {
                let name = start.local_name();
                path.push(name.as_ref().to_owned());
                content.clear();
            }
            Event::Start(_) => return Err("elements in elements without end".to_owned()),
            Event::Text(text) => {
                content.push_str(&text);
            }
            Event::GeneralRef(reference) => {
                match reference
                    .resolve_char_ref()
                    .map_err(|error| broken(&error))?
                {
                    Some(char) => content.push(char),
                    None => {
                        let known = quick_xml::escape::resolve_predefined_entity(&reference);
                        content.push_str(known.ok_or("an entity that nobody knows")?);
                    }
                }
            }
            Event::CData(text) => {
                content.push_str(&text);
            }
            Event::End(_) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                visit(&names, &content)?;
                path.pop();
                content.clear();
            }
            // No entities, so no bombs.
            Event::DocType(_) => return Err("a document type".to_owned()),
            Event::Eof => return Ok(()),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";

    fn parse(inner: &str) -> Result<Page, String> {
        Page::parse(format!("{HEAD}{inner}</ListBucketResult>").as_bytes())
    }

    #[test]
    fn pages_are_read() {
        let file = "<Contents><Key>a/b&amp;c&#100;</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;e&quot;</ETag><Size>12</Size><Owner><ID>Key</ID></Owner></Contents>";
        let end =
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t=</NextContinuationToken>";
        let page = parse(&format!("<Name>b</Name><Prefix/>{file}{end}")).expect("a page");
        let modified = UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
        assert_eq!(page.next.as_deref(), Some("t="));
        assert_eq!(
            page.files,
            [File {
                key: "a/b&cd".to_owned(),
                size_bytes: 12,
                modified
            }]
        );
        let last = parse("<IsTruncated>false</IsTruncated>").expect("a page");
        assert_eq!((last.files.len(), last.next), (0, None));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let check = |bytes: &str, part: &str| {
            let error = Page::parse(bytes.as_bytes()).expect_err("it is none");
            assert!(error.contains(part), "{bytes}: {error}");
        };
        check("", "no ListBucketResult");
        check("<html></html>", "no ListBucketResult");
        check("<html>", "no ListBucketResult");
        check("{}", "no ListBucketResult");
        check("<ListBucketResult><a></b>", "no XML");
        check(&"<a>".repeat(100), "without end");
        check(
            "<!DOCTYPE x [<!ENTITY y \"z\">]><ListBucketResult/>",
            "a document type",
        );
        check(
            &format!("{HEAD}<IsTruncated>true</IsTruncated></ListBucketResult>"),
            "the next",
        );
        check(
            &format!("{HEAD}<Contents><Key>&x;</Key></Contents></ListBucketResult>"),
            "an entity",
        );
        check(
            &format!("{HEAD}<Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>"),
            "a Size",
        );
    }

    #[test]
    fn only_the_code_of_an_error_is_taken() {
        let error = b"<Error><Code>AccessDenied</Code><Message>for KEY</Message></Error>";
        assert_eq!(error_code(error).as_deref(), Some("AccessDenied"));
        assert_eq!(error_code(b"<Error><Code>a b\n</Code></Error>"), None);
        assert_eq!(error_code(b"no"), None);
    }
}
