//! Locks: read, written, compared.

use expect_test::{Expect, expect};
use kiln_derivations::manifest::Lock;

use super::support::{lock, manifest, render};

const MANIFEST: &str = r#"
[flake]
name = "l"
[seed.base]
debian = "bookworm"
packages = ["make", "dash"]
[source.musl]
url = "debian:pool/musl.tar.gz"
[source.tool]
git = "https://example.org/tool"
rev = "0123456789abcdef0123456789abcdef01234567"
[source.here]
path = "."
"#;

#[test]
fn is_written_the_same_each_time() {
    let lock = lock(&manifest(MANIFEST));
    let text = lock.write();
    expect![[r##"
        # Written by `kiln lock`: what every source and seed is pinned to. Commit it.
        version = 1

        [[source]]
        name = "musl"
        urls = ["debian:pool/musl.tar.gz"]
        size = 1000
        sha256 = "f0fd71aa0188b00ff3c78cc455398517c4cc011d70fea359044e19b1d0a47922"
        blake3 = "f0fd71aa0188b00ff3c78cc455398517c4cc011d70fea359044e19b1d0a47922"
        first-seen = "20261121T000000Z"

        [[source]]
        name = "tool"
        urls = ["https://example.org/tool"]
        rev = "0123456789abcdef0123456789abcdef01234567"
        first-seen = "20261121T000000Z"

        [[seed]]
        name = "base"
        debian = "bookworm"
        request = "909607976721bead996b1f8d43b2f1718f940d65961c4ced699269bce6848183"
        first-seen = "20261121T000000Z"
        x86_64 = [
          { name = "dash", version = "1.0", path = "pool/dash_1.0_amd64.deb", size = 100, sha256 = "484413ef6de387ffa19ea45dd0d1228d38f38ca3bceae0aab2a430cc6dd4f5ab", blake3 = "484413ef6de387ffa19ea45dd0d1228d38f38ca3bceae0aab2a430cc6dd4f5ab", installed-kib = 10 },
          { name = "make", version = "1.0", path = "pool/make_1.0_amd64.deb", size = 100, sha256 = "a56ea78d1c7a79a5692a35c5052a6e98d7894b609799ead556bc55770574491e", blake3 = "a56ea78d1c7a79a5692a35c5052a6e98d7894b609799ead556bc55770574491e", installed-kib = 10 },
        ]
        aarch64 = [
          { name = "dash", version = "1.0", path = "pool/dash_1.0_arm64.deb", size = 100, sha256 = "3c1b6d3d093eb8efdb3a9e047b63c6a4046c33067e8e933944f909dcfb4bd51c", blake3 = "3c1b6d3d093eb8efdb3a9e047b63c6a4046c33067e8e933944f909dcfb4bd51c", installed-kib = 10 },
          { name = "make", version = "1.0", path = "pool/make_1.0_arm64.deb", size = 100, sha256 = "e25f3ee798a0dd3b9c573556a04cd0b7e312c80b146ccad1326e2fe8c580e1ca", blake3 = "e25f3ee798a0dd3b9c573556a04cd0b7e312c80b146ccad1326e2fe8c580e1ca", installed-kib = 10 },
        ]
    "##]].assert_eq(&text);
    assert_eq!(
        Lock::parse("flake-like.lock", &text)
            .expect("was just written")
            .write(),
        text
    );
    lock.check(&manifest(MANIFEST)).expect("pins everything");
    // In the recipe key of everything that is built in this seed.
    expect!["ece4b9a2668de3de6d20409897403d40a4da64080e2f3308a873184503efb0bc"]
        .assert_eq(&lock.seeds["base"].digest().to_string());
}

/// What a change of the manifest makes of its lock.
fn check_stale(from: &str, to: &str, expected: Expect) {
    let lock = lock(&manifest(MANIFEST));
    let changed = MANIFEST.replace(from, to);
    let result = lock.check(&manifest(&changed));
    let text = result.map_or_else(|stale| render(&stale), |()| "up to date\n".to_owned());
    expected.assert_eq(&text);
}

#[test]
fn another_url_is_out_of_date_even_if_it_had_the_same_bytes() {
    check_stale(
        "pool/musl",
        "pool/moved/musl",
        expect![[r#"
        the lock is out of date: source `musl` has other URLs than the lock
            Diagnostic severity: error
        diagnostic help: run `kiln lock`
    "#]],
    );
}

#[test]
fn another_commit() {
    check_stale(
        "rev = \"0123",
        "rev = \"9999",
        expect![[r#"
        the lock is out of date: source `tool` is at commit 0123456789abcdef0123456789abcdef01234567 in the lock, at 9999456789abcdef0123456789abcdef01234567 in the manifest
            Diagnostic severity: error
        diagnostic help: run `kiln lock`
    "#]],
    );
}

#[test]
fn another_package() {
    check_stale(
        "\"dash\"]",
        "\"dash\", \"gcc\"]",
        expect![[r#"
        the lock is out of date: seed `base` asks for other packages or excludes than the lock
            Diagnostic severity: error
        diagnostic help: run `kiln lock`
    "#]],
    );
}

#[test]
fn another_suite() {
    check_stale(
        "bookworm",
        "trixie",
        expect![[r#"
        the lock is out of date: seed `base` is of suite bookworm in the lock, of trixie in the manifest
            Diagnostic severity: error
        diagnostic help: run `kiln lock`
    "#]],
    );
}

#[test]
fn a_new_source() {
    check_stale(
        "[source.here]",
        "[source.muslc]\nurl = \"https://x/y\"\n[source.here]",
        expect![[r#"
            the lock is out of date: source `muslc` is not in the lock, which has `musl`
                Diagnostic severity: error
            diagnostic help: run `kiln lock`
        "#]],
    );
}

#[test]
fn order_does_not_matter() {
    check_stale(
        "\"make\", \"dash\"",
        "\"dash\", \"make\"",
        expect![[r#"
        up to date
    "#]],
    );
}

#[test]
fn a_place_cannot_change_its_bytes() {
    let mut lock = lock(&manifest(MANIFEST));
    let mut again = lock.sources["musl"].clone();
    again.name = "musl-2".to_owned();
    again.sha256 = "0".repeat(64);
    let before = lock.clone();
    let conflict = lock.pin(again).expect_err("another hash");
    expect![[r#"
        source `musl-2`: debian:pool/musl.tar.gz was pinned to sha256 f0fd71aa0188b00ff3c78cc455398517c4cc011d70fea359044e19b1d0a47922, but has 0000000000000000000000000000000000000000000000000000000000000000 now
            Diagnostic severity: error
        diagnostic help: the file changed where it should not; if that is meant, pin it anew with `kiln update musl-2`
    "#]].assert_eq(&render(&conflict));
    assert_eq!(lock, before);
}

fn check_refused(text: &str, expected: Expect) {
    let error = Lock::parse("flake-like.lock", text).expect_err("a mistake");
    expected.assert_eq(&render(&error));
}

#[test]
fn of_a_newer_kiln() {
    check_refused(
        "# x\nversion = 7\nwhatever = true\n",
        expect![[r#"
        the lock has format 7; this kiln reads up to 1
            Diagnostic severity: error
        Begin snippet for flake-like.lock starting at line 1, column 1

        snippet line 1: # x
        snippet line 2: version = 7
            label at line 2, columns 1 to 7: written by a newer kiln
        snippet line 3: whatever = true
        diagnostic help: use that kiln, or a newer one
    "#]],
    );
}

#[test]
fn malformed() {
    check_refused(
        "version = 1\n[[source]]\nname = 3\n",
        expect![[r#"
        the lock is malformed
            Diagnostic severity: error
        Begin snippet for flake-like.lock starting at line 2, column 1

        snippet line 2: [[source]]
        snippet line 3: name = 3
            label at line 3, column 8: invalid type: integer `3`, expected a string
        diagnostic help: restore the file, or write it again with `kiln lock`
    "#]],
    );
}

#[test]
fn pinned_twice() {
    let entry = "[[source]]\nname = \"a\"\nsha256 = \"00\"\nfirst-seen = \"x\"\n";
    check_refused(
        &format!("version = 1\n{entry}{entry}"),
        expect![[r#"
        source `a` is pinned twice
            Diagnostic severity: error
        Begin snippet for flake-like.lock starting at line 6, column 1

        snippet line 6: [[source]]
        snippet line 7: name = "a"
            label at line 7, columns 1 to 10: the second time
        snippet line 8: sha256 = "00"
        diagnostic help: a merge may have kept both: write the lock again with `kiln lock`
    "#]],
    );
}

#[test]
fn hash_that_is_none() {
    let text = "version = 1\n[[source]]\nname = \"a\"\nsha256 = \"../../x\"\nfirst-seen = \"x\"\n";
    check_refused(
        text,
        expect![[r#"
        the hash of `a` is malformed
            Diagnostic severity: error
        Begin snippet for flake-like.lock starting at line 3, column 1

        snippet line 3: name = "a"
        snippet line 4: sha256 = "../../x"
            label at line 4, columns 11 to 17: expected hexadecimal digits
        snippet line 5: first-seen = "x"
        diagnostic help: restore the file, or write it again with `kiln lock`
    "#]],
    );
}
