//! What must hold of what comes from elsewhere.

use super::{Check, ROOTS};
use crate::manifest::reference::Kind;
use crate::manifest::schema::{Import, Seed, Source};
use crate::manifest::span::{At, Span};

impl Check<'_, '_> {
    pub(super) fn runners(&mut self) {
        let manifest = self.manifest;
        let verify = &manifest.verify;
        let runners = [
            &manifest.emulator,
            &manifest.sandbox,
            &verify.clock,
            &verify.locale,
        ];
        for runner in runners.into_iter().flatten() {
            self.reference(&runner.root, &ROOTS);
        }
        if let Some(emulation) = &manifest.emulation {
            self.reference(&emulation.root, &ROOTS);
            if let Some(resident) = &emulation.resident {
                self.reference(&resident.root, &ROOTS);
            }
        }
    }

    pub(super) fn import(&mut self, name: &At<String>, import: &Import) {
        if Kind::of(name).is_some() {
            let message = format!("an import cannot be called `{}`", name.value);
            self.push(name.span, message, "this word stands for a kind of entry");
        }
        match (&import.path, &import.git) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(path), Some(_)) => {
                self.push(path.span, "both `path` and `git`", "expected one of them")
            }
            (None, None) => self.missing(name.span, "path", "expected `path` or `git`"),
        }
        self.commit(name, import.git.as_ref(), import.rev.as_ref());
    }

    fn commit(&mut self, name: &At<String>, git: Option<&At<String>>, rev: Option<&At<String>>) {
        match (git, rev) {
            (Some(_), None) => self.missing(name.span, "rev", "`git` needs a commit"),
            (None, Some(rev)) => self.push(rev.span, "`rev` without `git`", "belongs to `git`"),
            (Some(_), Some(rev)) if !is_commit(rev) => {
                let message = format!("`{}` is no commit", rev.value);
                self.push(
                    rev.span,
                    message,
                    "expected 40 or 64 lower-case hexadecimal digits",
                );
            }
            _ => {}
        }
    }

    pub(super) fn source(&mut self, name: &At<String>, source: &Source) {
        let ways = [
            ("url", source.url.as_ref().map(|url| url.span)),
            (
                "urls",
                source
                    .urls
                    .as_ref()
                    .map(|urls| urls.first().map_or(name.span, |u| u.span)),
            ),
            ("path", source.path.as_ref().map(|path| path.span)),
            ("git", source.git.as_ref().map(|git| git.span)),
        ];
        let used: Vec<(&str, Span)> = ways.iter().filter_map(|(k, s)| Some((*k, (*s)?))).collect();
        match used[..] {
            [] => self.missing(name.span, "url", "expected `url`, `urls`, `path` or `git`"),
            [_] => {}
            [(first, _), (second, span), ..] => {
                self.push(
                    span,
                    format!("both `{first}` and `{second}`"),
                    "expected one of them",
                );
            }
        }
        for url in source.urls() {
            const SCHEMES: [&str; 4] = ["debian:", "https://", "http://", "file:"];
            if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
                let message = format!("`{}` is no URL that can be fetched", url.value);
                self.push(
                    url.span,
                    message,
                    "expected `debian:`, `https:`, `http:` or `file:`",
                );
            }
        }
        if source.urls.as_ref().is_some_and(Vec::is_empty) {
            self.push(name.span, "`urls` is empty", "expected at least one");
        }
        self.globs(source.keep.iter().chain(&source.ignore).flatten());
        self.commit(name, source.git.as_ref(), source.rev.as_ref());
    }

    pub(super) fn seed(&mut self, seed: &Seed) {
        self.absolute(seed.links.keys());
        self.globs(seed.remove.iter().chain(seed.prefer.keys()));
    }
}

fn is_commit(text: &str) -> bool {
    (text.len() == 40 || text.len() == 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
