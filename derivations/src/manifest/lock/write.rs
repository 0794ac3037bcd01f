//! Writing a lock: the same content gives the same bytes.

use std::fmt::Write as _;

use toml::Value;

use super::{Lock, PinnedPackage, PinnedSeed, PinnedSource, VERSION};
use crate::derivation::Target;

const HEAD: &str =
    "# Written by `kiln lock`: what every source and seed is pinned to. Commit it.\n";

impl Lock {
    /// The lock as text.
    pub fn write(&self) -> String {
        let mut out = format!("{HEAD}version = {VERSION}\n");
        self.sources.values().for_each(|it| source(&mut out, it));
        self.seeds.values().for_each(|it| seed(&mut out, it));
        out
    }
}

fn source(out: &mut String, it: &PinnedSource) {
    out.push_str("\n[[source]]\n");
    line(out, "name", &it.name);
    list(out, "urls", &it.urls);
    if !it.candidates.is_empty() {
        list(out, "candidates", &it.candidates);
    }
    if it.rev.is_empty() {
        _ = writeln!(out, "size = {}", it.size);
        line(out, "sha256", &it.sha256);
        line(out, "blake3", &it.blake3);
    } else {
        line(out, "rev", &it.rev);
    }
    line(out, "first-seen", &it.first_seen);
}

fn seed(out: &mut String, it: &PinnedSeed) {
    out.push_str("\n[[seed]]\n");
    line(out, "name", &it.name);
    line(out, "debian", &it.debian);
    line(out, "request", &it.request.to_string());
    line(out, "first-seen", &it.first_seen);
    for platform in Target::ALL {
        let mut packages: Vec<&PinnedPackage> = it.packages(platform).iter().collect();
        packages.sort();
        _ = writeln!(out, "{platform} = [");
        for package in packages {
            _ = writeln!(out, "  {},", inline(package));
        }
        out.push_str("]\n");
    }
}

fn inline(it: &PinnedPackage) -> String {
    format!(
        "{{ name = {}, version = {}, path = {}, size = {}, sha256 = {}, blake3 = {}, installed-kib = {} }}",
        quoted(&it.name),
        quoted(&it.version),
        quoted(&it.path),
        it.size,
        quoted(&it.sha256),
        quoted(&it.blake3),
        it.installed_kib,
    )
}

fn line(out: &mut String, key: &str, value: &str) {
    _ = writeln!(out, "{key} = {}", quoted(value));
}

fn list(out: &mut String, key: &str, values: &[String]) {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    _ = writeln!(out, "{key} = [{}]", values.join(", "));
}

/// As a TOML string on one line.
fn quoted(text: &str) -> String {
    if text.contains(['\n', '\r']) {
        // The general writer would choose a string of several lines.
        return format!("{text:?}");
    }
    Value::from(text).to_string()
}
