//! Manifests on a disk: found, included, imported.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::evaluate::Disk;
use kiln_derivations::manifest::load::{Checkout, NoCheckout};
use kiln_derivations::manifest::{Lock, Manifest, ManifestError, evaluate, find, load};
use tempfile::TempDir;

use super::support::{lock, render, requested};

fn written(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    root
}

fn load_in(root: &Path) -> Result<Manifest, ManifestError> {
    load(&root.join("flake-like.toml"), &NoCheckout)
}

fn check(files: &[(&str, &str)], expected: Expect) {
    let root = written(files);
    let error = load_in(root.path()).expect_err("a mistake");
    let place = root.path().to_str().expect("is text");
    expected.assert_eq(&render(&error).replace(place, "ROOT"));
}

const FLAKE: &str = "[flake]\nname = 'a'\ninclude = ['recipes']\n";
const PACKAGE: &str = "[package.p]\nroot = 'base'\nscript = 'p.sh'\nfiles = ['../lib/x']\n";
const SEED: &str = "[seed.base]\ndebian = 'bookworm'\npackages = ['dash']\n";

#[test]
fn includes_a_folder() {
    let root = written(&[
        ("flake-like.toml", FLAKE),
        ("recipes/base.toml", SEED),
        ("recipes/p/recipe.toml", PACKAGE),
        ("recipes/p/other.toml", "not = 'read'"),
        ("recipes/p/p.sh", "true"),
        ("recipes/lib/x", "x"),
        ("deep/below/here", ""),
    ]);
    let manifest = load_in(root.path()).expect("is sound");
    let names: Vec<&str> = manifest
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "flake-like.toml",
            "recipes/base.toml",
            "recipes/p/recipe.toml"
        ]
    );
    let request = requested(&["p"], &[Target::X86_64]);
    evaluate(&manifest, &lock(&manifest), &request, &Disk).expect("finds its files");
    assert_eq!(
        find(&root.path().join("deep/below")),
        Some(root.path().join("flake-like.toml"))
    );
}

#[test]
fn defined_in_two_files() {
    check(
        &[
            ("flake-like.toml", FLAKE),
            ("recipes/a.toml", SEED),
            ("recipes/b.toml", SEED),
        ],
        expect![[r#"
            seed `base` is defined twice
                Diagnostic severity: error
            Begin snippet for recipes/b.toml starting at line 1, column 1

            snippet line 1: [seed.base]
                label at line 1, columns 7 to 10: the second time
            snippet line 2: debian = 'bookworm'

            Error: first defined here
                Diagnostic severity: error

            Begin snippet for recipes/a.toml starting at line 1, column 1

            snippet line 1: [seed.base]
                label at line 1, columns 7 to 10
            snippet line 2: debian = 'bookworm'
        "#]],
    );
}

#[test]
fn includes_nothing() {
    check(
        &[("flake-like.toml", FLAKE), ("recipes/readme", "")],
        expect![[r#"
            `recipes` includes nothing
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 2, column 1

            snippet line 2: name = 'a'
            snippet line 3: include = ['recipes']
                label at line 3, columns 12 to 20: no `*.toml` in it, no `recipe.toml` below it
        "#]],
    );
}

#[test]
fn includes_what_is_not_there() {
    check(
        &[("flake-like.toml", FLAKE)],
        expect![[r#"
        `recipes` cannot be included: No such file or directory (os error 2)
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 2, column 1

        snippet line 2: name = 'a'
        snippet line 3: include = ['recipes']
            label at line 3, columns 12 to 20: expected a file or a folder
    "#]],
    );
}

#[test]
fn included_file_with_a_mistake() {
    check(
        &[
            ("flake-like.toml", FLAKE),
            ("recipes/p/recipe.toml", &PACKAGE.replace("base", "bse")),
        ],
        expect![[r#"
            unknown seed `bse`
                Diagnostic severity: error
            Begin snippet for recipes/p/recipe.toml starting at line 1, column 1

            snippet line 1: [package.p]
            snippet line 2: root = 'bse'
                label at line 2, columns 8 to 12: no seed has this name
            snippet line 3: script = 'p.sh'
            diagnostic help: expected one of: p
        "#]],
    );
}

#[test]
fn imports_a_flake() {
    let kiln = format!("[flake]\nname = 'kiln'\n{SEED}{PACKAGE}");
    let mine = "[flake]\nname = 'mine'\n[import.kiln]\npath = '../kiln'\n[rootfs.r]\npackages = ['kiln.p']\n";
    let root = written(&[
        ("mine/flake-like.toml", mine),
        ("kiln/flake-like.toml", &kiln),
        ("kiln/p.sh", "true"),
        ("lib/x", "x"),
    ]);
    let theirs = load_in(&root.path().join("kiln")).expect("is sound");
    let pinned = lock(&theirs).write();
    fs::write(root.path().join("kiln/flake-like.lock"), pinned).expect("a file");

    let mine = load_in(&root.path().join("mine")).expect("is sound");
    let request = requested(&["r", "kiln.p"], &[Target::X86_64]);
    let evaluation = evaluate(&mine, &lock(&mine), &request, &Disk).expect("finds its files");
    let [rootfs, package] = &evaluation.roots[..] else {
        panic!("two roots");
    };
    let input = &evaluation.graph.get(rootfs.derivation).inputs[0];
    assert_eq!(input.derivation, package.derivation);
}

/// Pretends that a folder is what a commit holds.
struct Fetched(PathBuf);

impl Checkout for Fetched {
    fn checkout(&self, _: &str, _: &str) -> io::Result<PathBuf> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_strangers_flake_cannot_read_this_machines_files() {
    let theirs =
        format!("[flake]\nname = 'k'\n{SEED}[package.p]\nroot = 'base'\nscript = 'SCRIPT'\n");
    let rev = "0123456789012345678901234567890123456789";
    let mine = format!("[flake]\nname = 'a'\n[import.k]\ngit = 'https://x/k'\nrev = '{rev}'\n");
    for script in ["../secret", "/etc/passwd", "link", "below/../../secret"] {
        let theirs = theirs.replace("SCRIPT", script);
        let root = written(&[
            ("flake-like.toml", &mine),
            ("k/flake-like.toml", &theirs),
            ("secret", "secret"),
        ]);
        std::os::unix::fs::symlink("../secret", root.path().join("k/link")).expect("a link");
        let fetched = Fetched(root.path().join("k"));
        let manifest = load(&root.path().join("flake-like.toml"), &fetched);
        let mut manifest = manifest.expect("is sound");
        let import = manifest.imports.get_mut("k").expect("is imported");
        import.lock = lock(&import.manifest);
        let request = requested(&["k.p"], &[Target::X86_64]);
        let error = evaluate(&manifest, &Lock::default(), &request, &Disk);
        let text = render(&error.expect_err("is refused"));
        let expected = "is not in the imported repository";
        assert!(text.contains(expected), "{script}: {text}");
    }
}

#[test]
fn imports_itself() {
    check(
        &[(
            "flake-like.toml",
            "[flake]\nname = 'a'\n[import.b]\npath = '.'\n",
        )],
        expect![[r#"
            ROOT/flake-like.toml imports itself
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 2, column 1

            snippet line 2: name = 'a'
            snippet line 3: [import.b]
                label at line 3, column 9: leads back
            snippet line 4: path = '.'
        "#]],
    );
}

#[test]
fn imports_a_name_that_is_not_there() {
    check(
        &[
            (
                "flake-like.toml",
                "[flake]\nname = 'a'\n[import.k]\npath = 'k'\n[rootfs.r]\npackages = ['k.q']\n",
            ),
            (
                "k/flake-like.toml",
                &format!("[flake]\nname = 'k'\n{SEED}{PACKAGE}"),
            ),
        ],
        expect![[r#"
            unknown package `k.q`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 5, column 1

            snippet line 5: [rootfs.r]
            snippet line 6: packages = ['k.q']
                label at line 6, columns 13 to 17: no package has this name
            diagnostic help: did you mean `k.p`?
        "#]],
    );
}
