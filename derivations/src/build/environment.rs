//! The environment of every script: part of the sandbox contract, but for what
//! a derivation adds.

use std::collections::BTreeMap;

use kiln_store::hash::{Digest, TreeId};
use kiln_store::tree::MTIME_S;

use super::Job;
use super::setting::Setting;
use crate::derivation::{Exec, Role};

/// The `derive_key` context of `KILN_SEED_UUID`.
const SEED_CONTEXT: &str = "kiln 2026-11 seed uuid v1";

/// The environment that the contract fixes.
const FIXED: [(&str, &str); 5] = [
    ("HOME", "/build"),
    ("LC_ALL", "C"),
    ("PATH", "/toolchain/bin:/usr/bin:/usr/sbin:/bin:/sbin"),
    ("TMPDIR", "/tmp"),
    ("TZ", "UTC"),
];

/// All variables that `job` sees. `jobs` is `KILN_JOBS`: a free variable, which
/// must not reach an output.
pub(super) fn variables(
    job: &Job<'_>,
    exec: &Exec,
    setting: &Setting<'_>,
    jobs: usize,
) -> BTreeMap<String, String> {
    let jobs = setting.jobs.unwrap_or(jobs);
    let mut variables: BTreeMap<String, String> = FIXED
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    variables.insert("SOURCE_DATE_EPOCH".to_owned(), MTIME_S.to_string());
    variables.insert("KILN_SEED_UUID".to_owned(), seed_uuid(job));
    variables.insert(
        "KILN_BUILD_PLATFORM".to_owned(),
        exec.platform.name().to_owned(),
    );
    variables.insert("KILN_JOBS".to_owned(), jobs.to_string());
    variables.extend(setting.environment.clone());
    variables.extend(exec.env.clone());
    variables
}

/// A UUID made of the content of the job's materials, and of nothing else: the
/// same root file system gets the same one on every build platform.
fn seed_uuid(job: &Job<'_>) -> String {
    let inputs = job.derivation.inputs.iter().zip(&job.inputs);
    let materials = inputs.filter(|(input, _)| input.role == Role::Material && input.at != RECIPE);
    uuid_of(materials.map(|(_, resolved)| resolved.tree))
}

/// The UUID that stands for these trees.
fn uuid_of(trees: impl Iterator<Item = TreeId>) -> String {
    let digests: Vec<u8> = trees.flat_map(|tree| *tree.digest().as_bytes()).collect();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::derive(SEED_CONTEXT, &digests).as_bytes()[..16]);
    // RFC 9562, version 8: custom.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// Where a recipe's own files are.
pub(super) const RECIPE: &str = "/in/recipe";

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(trees: &[&str], expected: &Expect) {
        let trees = trees.iter().map(|text| TreeId(Digest::of(text.as_bytes())));
        expected.assert_eq(&uuid_of(trees));
    }

    /// File systems have them: a change here changes every disk image.
    #[test]
    fn golden_uuids() {
        check(&[], &expect!["91b09540-6fba-8ca3-9964-f41496cbef3e"]);
        check(&["a"], &expect!["4f825fab-f8fc-8c9b-82b0-75ba578437e7"]);
        check(
            &["a", "b"],
            &expect!["00be9f59-ba50-8479-8c11-b311ddac3e2a"],
        );
    }
}
