//! Debian's archive: signatures, lists and closures, against a tiny archive
//! that is written by hand, `tests/debian-archive`.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use kiln_derivations::debian::archive::{Archive, Scope, pin};
use kiln_derivations::debian::keyring::Keyring;
use kiln_derivations::debian::packages::Index;
use kiln_derivations::debian::release::Stale;
use kiln_derivations::debian::resolve::{Query, resolve};
use kiln_derivations::fetch::{Cancel, FetchConfig, Fetcher, Silent};
use tempfile::TempDir;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/debian-archive")
        .join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(fixture(path)).expect("fixture")
}

fn keyring(file: &str) -> Keyring {
    Keyring::parse(&[&text(file)]).expect("keyring")
}

fn index() -> Index {
    let mut index = Index::default();
    let list = text("dists/kiln-test/main/binary-amd64/Packages");
    index.add(list.as_bytes()).expect("index");
    index
}

/// Resolves in the fixture; shows names and versions, or the error.
fn closure(roots: &str, exclude: &str) -> String {
    let names = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let roots = names(roots);
    let exclude = match exclude {
        "" => Vec::new(),
        exclude => names(exclude),
    };
    let query = Query {
        roots: &roots,
        exclude: &exclude,
    };
    match resolve(&index(), &query) {
        Err(error) => format!("error: {error}"),
        Ok(closure) => {
            let titles = closure.packages.iter();
            let titles = titles.map(|one| format!("{} {}", one.name, one.version));
            let unused = closure.unused_excludes.iter();
            let unused = unused.map(|name| format!("unused: {name}"));
            titles.chain(unused).collect::<Vec<_>>().join("\n")
        }
    }
}

fn check(roots: &str, exclude: &str, expected: Expect) {
    expected.assert_eq(&closure(roots, exclude));
}

#[test]
fn a_closure_holds_what_is_needed_and_nothing_else() {
    let expected = expect![[r#"
        app 1.0-1
        app-data 1.0-1
        base 1.0-1
        interpreter 1.0-1
        libc 2.36-9
        libx1 1.2-3
        mawk 1.0-1
        tool 1.0-1"#]];
    check("app", "", expected);
}

#[test]
fn the_order_of_roots_does_not_matter() {
    let expected = closure("app module fixed", "");
    assert_eq!(closure("fixed module app", ""), expected);
    assert_eq!(closure("module fixed app app", ""), expected);
}

#[test]
fn what_is_chosen_anyway_settles_a_choice() {
    check(
        "chooser",
        "",
        expect![[r#"
        chooser 1.0-1
        libc 2.36-9
        tool 1.0-1"#]],
    );
    check(
        "chooser fixed",
        "",
        expect![[r#"
        chooser 1.0-1
        fixed 1.0-1
        libc 2.36-9
        tool-ng 1.0-1"#]],
    );
    check(
        "app gawk",
        "",
        expect![[r#"
        app 1.0-1
        app-data 1.0-1
        base 1.0-1
        gawk 1.0-1
        interpreter 1.0-1
        libc 2.36-9
        libx1 1.2-3
        tool 1.0-1"#]],
    );
}

#[test]
fn what_is_excluded_is_cut_with_what_only_it_needs() {
    check(
        "app",
        "base mawk",
        expect![[r#"
        app 1.0-1
        interpreter 1.0-1
        libc 2.36-9
        libx1 1.2-3
        tool 1.0-1"#]],
    );
    check(
        "app",
        "bsae",
        expect![[r#"
        app 1.0-1
        app-data 1.0-1
        base 1.0-1
        interpreter 1.0-1
        libc 2.36-9
        libx1 1.2-3
        mawk 1.0-1
        tool 1.0-1
        unused: bsae"#]],
    );
    check(
        "app",
        "gawk",
        expect![[r#"
        app 1.0-1
        app-data 1.0-1
        base 1.0-1
        interpreter 1.0-1
        libc 2.36-9
        libx1 1.2-3
        mawk 1.0-1
        tool 1.0-1
        unused: gawk"#]],
    );
}

#[test]
fn provided_names_have_versions() {
    check(
        "module",
        "",
        expect![[r#"
        interpreter 1.0-1
        libc 2.36-9
        module 1.0-1"#]],
    );
    check(
        "old-module",
        "",
        expect![
            "error: nothing satisfies `interpreter-abi (<< 3)`, which is needed by old-module, needed by the manifest"
        ],
    );
}

#[test]
fn cycles_and_conflicts_with_oneself_are_fine() {
    check(
        "loop-a selfish",
        "",
        expect![[r#"
        loop-a 1.0-1
        loop-b 1.0-1
        selfish 1.0-1"#]],
    );
}

#[test]
fn what_cannot_be_resolved_says_why() {
    check(
        "clash",
        "",
        expect![
            "error: tool-ng 1.0-1, needed by clash, needed by the manifest, conflicts with tool 1.0-1, needed by clash, needed by the manifest"
        ],
    );
    check(
        "broken",
        "",
        expect![
            "error: nothing satisfies `missing (>= 3) | also-missing`, which is needed by broken-middle, needed by broken, needed by the manifest"
        ],
    );
    check(
        "app needs-old-libc",
        "",
        expect![
            "error: `libc (<< 2.35)`, needed by needs-old-libc, needed by the manifest, is not satisfied by libc 2.36-9, needed by app, needed by the manifest"
        ],
    );
    check(
        "needs-old-libc",
        "",
        expect![[r#"
        libc 2.30-1
        needs-old-libc 1.0-1"#]],
    );
    check(
        "ap",
        "",
        expect!["error: there is no package `ap`; is one of `app` meant?"],
    );
    check(
        "awk",
        "",
        expect!["error: there is no package `awk`; it is provided by `mawk`, `gawk`"],
    );
    check("zzzzz", "", expect!["error: there is no package `zzzzz`"]);
}

fn judgement(keyring: &Keyring, file: &str, change: impl Fn(String) -> String) -> String {
    match keyring.verify(change(text(file)).as_bytes()) {
        Ok(signed) => format!("signed by {}", signed.signers.join(", ")),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn signatures_are_judged() {
    let same = |text: String| text;
    let mine = keyring("key.asc");
    let in_release = "dists/kiln-test/InRelease";
    let mut shown = vec![
        judgement(&mine, in_release, same),
        judgement(&mine, "InRelease.primary", same),
        judgement(&mine, in_release, |text| {
            text.replace("main/source", "main/sauce")
        }),
        judgement(&keyring("stranger.asc"), in_release, same),
        judgement(&keyring("expired.asc"), "InRelease.expired", same),
        judgement(&mine, "dists/kiln-test/main/source/Sources", same),
        judgement(&mine, in_release, |text| format!("Codename: evil\n{text}")),
        judgement(&mine, in_release, |text| format!("{text}Codename: evil\n")),
    ];
    let pinned = Keyring::pinned().expect("keyring");
    shown.push(judgement(&pinned, in_release, same));
    expect![[r#"
        signed by kiln fixture <fixture@example.org>
        signed by kiln fixture <fixture@example.org>
        error: the signature of kiln fixture <fixture@example.org> is wrong: the text was changed
        error: it is signed by 351777f83273f2eccaaa3e43d9502ebb7277869b, none of which is trusted; trusted are a stranger <stranger@example.org>
        error: expired <expired@example.org> signed at 20261121T081500Z, but was valid only until 20261107T000000Z
        error: it is not signed: not enough bytes in buffer: cleartext header
        error: it is not signed: must not have leading data for a cleartext message
        error: it is not signed: not enough bytes in buffer: armor header
        error: it is signed by 351777f83273f2eccaaa3e43d9502ebb7277869b, none of which is trusted; trusted are Debian Archive Automatic Signing Key (12/bookworm) <ftpmaster@debian.org>, Debian Security Archive Automatic Signing Key (12/bookworm) <ftpmaster@debian.org>, Debian Stable Release Key (12/bookworm) <debian-release@lists.debian.org>, Debian Archive Automatic Signing Key (13/trixie) <ftpmaster@debian.org>, Debian Security Archive Automatic Signing Key (13/trixie) <ftpmaster@debian.org>, Debian Stable Release Key (13/trixie) <debian-release@lists.debian.org>"#]].assert_eq(&shown.join("\n"));
}

fn with_archive<T>(roots: &[PathBuf], run: impl FnOnce(&Archive<'_>, &Scope) -> T) -> T {
    let cache = TempDir::new().expect("directory");
    let mut config = FetchConfig::new(cache.path().to_owned());
    let roots = roots.iter();
    config.debian_roots = roots
        .map(|root| format!("file:{}", root.display()))
        .collect();
    let fetcher = Fetcher::new(config).expect("fetcher");
    let archive = Archive {
        fetcher: &fetcher,
        keyring: &keyring("key.asc"),
        progress: &Silent,
        cancel: &Cancel::default(),
    };
    let scope = Scope {
        suites: vec!["kiln-test".to_owned()],
        components: vec!["main".to_owned()],
        now: "20261122T000000Z".parse().expect("time"),
        stale: Stale::Refuse,
    };
    run(&archive, &scope)
}

#[test]
fn an_archive_is_read_from_its_signature_to_its_packages() {
    with_archive(&[fixture("")], |archive, scope| {
        let index = archive.packages(scope, "amd64").expect("index");
        assert_eq!(
            index.latest("libc").map(|one| one.version.as_str()),
            Some("2.36-9")
        );
        let source = archive.source(scope, "pool/main/t/thing/thing_1.0.orig.tar.gz");
        assert_eq!(source.expect("source").file.size, 1234);
        let error = archive.source(scope, "pool/main/t/thing/thing_0.9.orig.tar.gz");
        expect!["`pool/main/t/thing/thing_0.9.orig.tar.gz` is in none of the suites; there are pool/main/t/thing/thing_1.0-2.dsc, pool/main/t/thing/thing_1.0.orig.tar.gz"].assert_eq(&error.expect_err("gone").to_string());
        let error = archive
            .packages(scope, "riscv64")
            .expect_err("no such list");
        expect!["the suite `kiln-test` has no `main/binary-riscv64/Packages`; it has main/binary-amd64/Packages"].assert_eq(&error.to_string());
    });
}

/// The first archive serves an index of yesterday's attacker, the second one is
/// honest.
#[test]
fn an_archive_that_is_not_trusted_is_passed_over() {
    let evil = TempDir::new().expect("directory");
    let suite = evil.path().join("dists/kiln-test");
    fs::create_dir_all(&suite).expect("mkdir");
    let signed = text("dists/kiln-test/InRelease");
    let changed = signed.replace("main/source", "main/sauce");
    fs::write(suite.join("InRelease"), changed).expect("write");
    let roots = [evil.path().to_owned(), fixture("")];
    with_archive(&roots, |archive, scope| {
        archive.packages(scope, "amd64").expect("index");
    });
    with_archive(&roots[..1], |archive, scope| {
        let error = archive.packages(scope, "amd64").expect_err("untrusted");
        let error = error.to_string();
        let (_, reason) = error.rsplit_once('\n').expect("lines");
        expect![
            "the signature of kiln fixture <fixture@example.org> is wrong: the text was changed"
        ]
        .assert_eq(reason.trim());
    });
}

#[test]
fn an_old_index_is_used_only_if_that_is_said() {
    with_archive(&[fixture("")], |archive, scope| {
        let later = Scope {
            now: "20270101T000000Z".parse().expect("time"),
            ..scope.clone()
        };
        let error = archive.packages(&later, "amd64").expect_err("old");
        assert!(
            error.to_string().contains("valid until 20261128T081403Z"),
            "{error}"
        );
        let accepted = Scope {
            stale: Stale::Accept,
            ..later
        };
        archive.packages(&accepted, "amd64").expect("index");
    });
}

#[test]
fn pinning_verifies_what_it_pins() {
    let pool = TempDir::new().expect("directory");
    with_archive(&[pool.path().to_owned()], |archive, _| {
        let package = index().latest("tool").expect("package").clone();
        let path = pool.path().join(&package.path);
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(&path, vec![0; 100]).expect("write");
        let pins = pin(archive, &[package], 2);
        let error = pins[0].as_ref().expect_err("wrong bytes").to_string();
        assert!(error.contains("wrong sha256: expected "), "{error}");
    });
}
