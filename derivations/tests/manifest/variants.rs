//! What a variant reaches and what it leaves as it is, and mistakes with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::assemble::{Assembly, Imported};
use kiln_derivations::manifest::evaluate::Disk;
use kiln_derivations::manifest::load::{NoCheckout, load_lock};
use kiln_derivations::manifest::{Evaluation, LOCK_FILE, evaluate, load};

use super::support::{Memory, ROOT, all_keys, lock, manifest, manifest_in, render, requested};

/// Two compilers with a runtime each. The second is built for one target, by the
/// first.
const TWO: &str = r#"[flake]
name = "two"
targets = ["x86_64", "aarch64"]
[seed.base]
debian = "bookworm"
packages = ["dash"]
[template.step]
root = "base"
script = "step.sh"
[package.cc]
template = "step"
tool = true
at = "/toolchain"
[compose.hostcc]
packages = ["cc"]
at = "/in/hostcc"
tool = true
[package.builtins]
template = "step"
tools = ["cc"]
at = "/sysroot"
[package.gcc]
template = "step"
tools = ["hostcc"]
runtime = ["hostcc"]
tool = true
per-target = true
at = "/toolchain"
[package.libgcc]
template = "step"
inputs = { built = "gcc" }
at = "/sysroot"
[package.headers]
template = "step"
at = "/sysroot"
[package.libc]
template = "step"
tools = ["cc"]
materials = ["builtins", "headers"]
at = "/sysroot"
[package.sh]
template = "step"
tools = ["cc"]
materials = ["libc"]
[rootfs.sys]
packages = ["sh"]
[image.sys]
rootfs = "sys"
kernel = "sh"
[variant.gcc]
replace = { cc = "gcc", builtins = "libgcc" }
"#;

const X86: &[Target] = &[Target::X86_64];

fn files(root: &str) -> Memory {
    Memory::default().with(&format!("{root}/step.sh"), "step\n")
}

fn two(added: &str, want: &[&str]) -> Evaluation {
    let manifest = manifest(&format!("{TWO}{added}"));
    let lock = lock(&manifest);
    let evaluated = evaluate(&manifest, &lock, &requested(want, X86), &files(ROOT));
    evaluated.unwrap_or_else(|error| panic!("{}", render(&error)))
}

/// Each name with its action key, but for recipes and fetches.
fn keys(evaluation: &Evaluation) -> BTreeSet<(String, String)> {
    let keys = all_keys(evaluation, Target::X86_64);
    let named = evaluation.graph.iter().zip(keys);
    named
        .map(|((_, derivation), keys)| (derivation.name.clone(), keys.action.to_string()))
        .filter(|(name, _)| !name.ends_with(".recipe") && !name.ends_with(".deb"))
        .collect()
}

fn names(evaluation: &Evaluation) -> String {
    let names = evaluation.graph.iter().map(|(_, derivation)| {
        let inputs = derivation.inputs.iter();
        let inputs = inputs.map(|input| evaluation.graph.get(input.derivation).name.as_str());
        let inputs: Vec<&str> = inputs.filter(|name| !name.ends_with(".recipe")).collect();
        (derivation.name.as_str(), inputs.join(" "))
    });
    let wanted = names.filter(|(name, _)| !name.ends_with(".recipe") && !name.ends_with(".deb"));
    wanted
        .map(|(name, inputs)| format!("{name}: {inputs}\n"))
        .collect()
}

fn check_names(evaluation: &Evaluation, expected: Expect) {
    expected.assert_eq(&names(evaluation));
}

/// The key of the one derivation of this name.
fn root_key(evaluation: &Evaluation) -> String {
    let keys = all_keys(evaluation, Target::X86_64);
    let root = evaluation.roots[0].derivation.index();
    keys[root].action.to_string()
}

#[test]
fn an_image_in_a_variant() {
    check_names(
        &two("", &["sys@gcc"]),
        expect![[r#"
            seed.base: dash_1.0.deb
            cc: seed.base
            hostcc: cc
            gcc: seed.base hostcc
            libgcc: seed.base gcc
            headers: seed.base
            merge.sysroot: headers libgcc
            libc@gcc: seed.base hostcc merge.sysroot gcc
            sh@gcc: seed.base hostcc libc@gcc gcc
            rootfs.sys@gcc: sh@gcc
            rootfs.sys@gcc.tar: rootfs.sys@gcc
            image.sys@gcc: sh@gcc
        "#]],
    );
}

#[test]
fn both_share_what_the_variant_does_not_reach() {
    let plain = keys(&two("", &["sys"]));
    let both = keys(&two("", &["sys", "sys@gcc"]));
    assert!(both.is_superset(&plain), "{plain:#?} {both:#?}");
    // Nothing is there twice: no name, and no key under two names.
    let names: BTreeSet<_> = both.iter().map(|(name, _)| name).collect();
    let actions: BTreeSet<_> = both.iter().map(|(_, key)| key).collect();
    // What is mounted together is called after the place.
    assert_eq!(names.len() + 1, both.len());
    assert_eq!(actions.len(), both.len());
    let count = |name: &str| both.iter().filter(|(n, _)| n == name).count();
    assert_eq!([count("headers"), count("hostcc")], [1, 1]);
}

#[test]
fn the_order_of_asking_does_not_matter() {
    let one = keys(&two("", &["sys", "sys@gcc"]));
    let other = keys(&two("", &["sys@gcc", "sys"]));
    assert_eq!(one, other);
}

#[test]
fn the_key_of_an_image_is_the_same_as_asking_for_it() {
    let key = "[image.other]\nrootfs = 'sys'\nkernel = 'sh'\nvariant = 'gcc'\n";
    assert_eq!(
        root_key(&two(key, &["other"])),
        root_key(&two("", &["sys@gcc"]))
    );
}

#[test]
fn the_key_of_a_package_reaches_what_is_below_it_alone() {
    let added = "[package.fast]\ntemplate = 'step'\ntools = ['cc']\nmaterials = ['libc']\nvariant = 'gcc'\n\
                 [package.top]\ntemplate = 'step'\nmaterials = ['fast', 'sh']\n";
    check_names(
        &two(added, &["top"]),
        expect![[r#"
        seed.base: dash_1.0.deb
        cc: seed.base
        hostcc: cc
        gcc: seed.base hostcc
        libgcc: seed.base gcc
        headers: seed.base
        merge.sysroot: headers libgcc
        libc@gcc: seed.base hostcc merge.sysroot gcc
        fast@gcc: seed.base hostcc libc@gcc gcc
        builtins: seed.base cc
        merge.sysroot: builtins headers
        libc: seed.base merge.sysroot cc
        sh: seed.base libc cc
        top: seed.base fast@gcc sh
    "#]],
    );
}

#[test]
fn a_variant_for_one_target() {
    let added = "[package.fast]\ntemplate = 'step'\ntools = ['cc']\n\
                 [package.fast.target.aarch64]\nvariant = 'gcc'\n";
    check_names(
        &two(added, &["fast"]),
        expect![[r#"
        seed.base: dash_1.0.deb
        cc: seed.base
        fast: seed.base cc
    "#]],
    );
}

#[test]
fn a_name_that_is_replaced_stands_for_the_other() {
    assert_eq!(
        root_key(&two("", &["builtins@gcc"])),
        root_key(&two("", &["libgcc"]))
    );
}

#[test]
fn what_is_not_reached_is_as_without() {
    assert_eq!(
        root_key(&two("", &["headers@gcc"])),
        root_key(&two("", &["headers"]))
    );
}

/// kiln's own system with its own second toolchain: no program of it is left to
/// the first, and the first has nothing of the second.
#[test]
fn minsys_with_gcc() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../flake-like.toml");
    let path = path.canonicalize().expect("is in the repository");
    let kiln = load(&path, &NoCheckout).unwrap_or_else(|e| panic!("{}", render(&e)));
    let pinned = load_lock(&path.with_file_name(LOCK_FILE)).expect("is in the repository");
    for target in Target::ALL {
        let names = |wanted: &str| -> BTreeSet<String> {
            let request = requested(&[wanted], &[target]);
            let evaluation = evaluate(&kiln, &pinned, &request, &Disk);
            let evaluation = evaluation.unwrap_or_else(|error| panic!("{}", render(&error)));
            let names = evaluation.graph.iter();
            names.map(|(_, it)| it.name.clone()).collect()
        };
        let (clang, gcc) = (names("minsys"), names("minsys@gcc"));
        let ours = [
            "binutils",
            "gcc",
            "gcc-math",
            "hostcc",
            "libgcc",
            "musl-headers",
        ];
        for name in ours.iter().chain(&["busybox@gcc", "linux@gcc", "musl@gcc"]) {
            assert!(gcc.contains(*name), "{name} is not in {gcc:#?}");
        }
        for name in ["builtins", "busybox", "linux", "linux-headers", "musl"] {
            assert!(clang.contains(name), "{name} is not in {clang:#?}");
            assert!(!gcc.contains(name), "{name} is in {gcc:#?}");
        }
        for name in &clang {
            assert!(
                !name.contains('@') && !ours[..5].contains(&name.as_str()),
                "{name}"
            );
        }
    }
}

/// A variant of an imported flake holds for that flake's entries.
#[test]
fn imported() {
    let theirs = manifest_in("/theirs", TWO).expect("sound");
    let imported = Imported {
        lock: lock(&theirs),
        manifest: theirs,
    };
    let text = "[flake]\nname = 'own'\n[import.two]\npath = '../theirs'\n\
                [image.own]\nrootfs = 'two.sys'\nkernel = 'two.sh'\nvariant = 'two.gcc'\n";
    let mut assembly = Assembly::new(PathBuf::from(ROOT), "flake-like.toml", text);
    assembly.import("two", imported);
    let own = assembly
        .finish()
        .unwrap_or_else(|e| panic!("{}", render(&e)));
    let request = requested(&["own", "two.sh@gcc"], X86);
    let evaluation = evaluate(&own, &lock(&own), &request, &files("/theirs"));
    let evaluation = evaluation.unwrap_or_else(|error| panic!("{}", render(&error)));
    let image = evaluation.graph.get(evaluation.roots[0].derivation);
    let kernel = image.inputs.iter().find(|input| input.at == "kernel");
    let kernel = kernel.map(|input| input.derivation);
    assert_eq!(kernel, Some(evaluation.roots[1].derivation));
    let name = &evaluation.graph.get(evaluation.roots[1].derivation).name;
    assert_eq!(name, "sh@gcc");
}

/// One's own variant reaches into what is imported.
#[test]
fn own_for_what_is_imported() {
    let theirs = manifest_in("/theirs", TWO).expect("sound");
    let imported = Imported {
        lock: lock(&theirs),
        manifest: theirs,
    };
    let text = "[flake]\nname = 'own'\n[import.two]\npath = '../theirs'\n\
                [package.mycc]\nroot = 'two.base'\nscript = 'step.sh'\ntool = true\nat = '/toolchain'\n\
                [variant.my]\nreplace = { \"two.cc\" = 'mycc' }\n\
                [image.own]\nrootfs = 'two.sys'\nkernel = 'two.sh'\nvariant = 'my'\n";
    let mut assembly = Assembly::new(PathBuf::from(ROOT), "flake-like.toml", text);
    assembly.import("two", imported);
    let own = assembly
        .finish()
        .unwrap_or_else(|e| panic!("{}", render(&e)));
    let mut files = files("/theirs");
    files.0.extend(self::files(ROOT).0);
    let evaluation = evaluate(&own, &lock(&own), &requested(&["own"], X86), &files);
    let evaluation = evaluation.unwrap_or_else(|error| panic!("{}", render(&error)));
    check_names(
        &evaluation,
        expect![[r#"
            seed.base: dash_1.0.deb
            mycc: seed.base
            builtins@my: seed.base mycc
            headers: seed.base
            merge.sysroot: builtins@my headers
            libc@my: seed.base merge.sysroot mycc
            sh@my: seed.base libc@my mycc
            rootfs.sys@my: sh@my
            rootfs.sys@my.tar: rootfs.sys@my
            image.own@my: sh@my
        "#]],
    );
}

fn check(added: &str, expected: Expect) {
    let error = manifest_in(ROOT, &format!("{TWO}{added}")).expect_err("a mistake");
    expected.assert_eq(&render(&error));
}

#[test]
fn unknown_variant() {
    check(
        "[image.a]\nrootfs = 'sys'\nvariant = 'gc'\n",
        expect![[r#"
        unknown variant `gc`
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 53, column 1

        snippet line 53: rootfs = 'sys'
        snippet line 54: variant = 'gc'
            label at line 54, columns 11 to 14: no variant has this name
        diagnostic help: did you mean `gcc`?
    "#]],
    );
}

#[test]
fn unknown_variant_after_a_name() {
    check(
        "[rootfs.a]\npackages = ['sh@gc']\n",
        expect![[r#"
        unknown variant `gc`
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [rootfs.a]
        snippet line 53: packages = ['sh@gc']
            label at line 53, columns 13 to 19: no variant has the name after `@`
        diagnostic help: did you mean `gcc`?
    "#]],
    );
}

#[test]
fn unknown_variant_on_the_command_line() {
    let manifest = manifest(TWO);
    let request = requested(&["sys@gc"], X86);
    let error = evaluate(&manifest, &lock(&manifest), &request, &files(ROOT));
    expect![[r#"
        unknown name `sys@gc`
            Diagnostic severity: error
        diagnostic help: did you mean `sys@gcc`?
    "#]]
    .assert_eq(&render(&error.expect_err("a mistake")));
}

#[test]
fn unknown_names_in_a_variant() {
    check(
        "[variant.a]\nreplace = { c = 'gc' }\n",
        expect![[r#"
        unknown package `c`
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [variant.a]
        snippet line 53: replace = { c = 'gc' }
            label at line 53, column 13: no package has this name
        diagnostic help: did you mean `cc`?

        Error: unknown package `gc`
            Diagnostic severity: error

        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [variant.a]
        snippet line 53: replace = { c = 'gc' }
            label at line 53, columns 17 to 20: no package has this name
        diagnostic help: did you mean `cc`?
    "#]],
    );
}

#[test]
fn one_output_of_a_package() {
    check(
        "[variant.a]\nreplace = { cc = 'gcc#out' }\n",
        expect![[r#"
        `gcc#out` names one output
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [variant.a]
        snippet line 53: replace = { cc = 'gcc#out' }
            label at line 53, columns 18 to 26: expected a package or composition as a whole
    "#]],
    );
}

#[test]
fn no_tool_for_a_tool() {
    check(
        "[variant.a]\nreplace = { cc = 'libc' }\n",
        expect![[r#"
        `libc` cannot stand for `cc`: it is no tool
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [variant.a]
        snippet line 53: replace = { cc = 'libc' }
            label at line 53, columns 13 to 14: this is replaced
            label at line 53, columns 18 to 23: is read by builds

        Error: `libc` cannot stand for `cc`: it is mounted at `/sysroot`, not at `/toolchain`
            Diagnostic severity: error

        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [variant.a]
        snippet line 53: replace = { cc = 'libc' }
            label at line 53, columns 13 to 14: this is replaced
            label at line 53, columns 18 to 23: is found elsewhere
    "#]],
    );
}

#[test]
fn mounted_elsewhere() {
    check(
        "[variant.a]\nreplace = { cc = 'hostcc' }\n",
        expect![[r#"
        `hostcc` cannot stand for `cc`: it is mounted at `/in/hostcc`, not at `/toolchain`
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 52, column 1

        snippet line 52: [variant.a]
        snippet line 53: replace = { cc = 'hostcc' }
            label at line 53, columns 13 to 14: this is replaced
            label at line 53, columns 18 to 25: is found elsewhere
    "#]],
    );
}

#[test]
fn cycle_through_a_variant() {
    check(
        "[package.a]\ntemplate = 'step'\ntool = true\nat = '/toolchain'\nper-target = true\nvariant = 'a'\n[variant.a]\nreplace = { cc = 'a' }\n",
        expect![[r#"
            a cycle: a → a
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 56, column 1

            snippet line 56: per-target = true
            snippet line 57: variant = 'a'
                label at line 57, columns 11 to 13: `a` needs `a`
            snippet line 58: [variant.a]
            diagnostic help: take one of these edges out
        "#]],
    );
}

/// What takes the place of something that all targets share cannot be built for
/// each apart.
#[test]
fn per_target_in_what_is_not() {
    let added = "[package.tool]\ntemplate = 'step'\ntools = ['cc']\ntool = true\nvariant = 'gcc'\n";
    let manifest = manifest(&format!("{TWO}{added}"));
    let request = requested(&["tool"], X86);
    let error = evaluate(&manifest, &lock(&manifest), &request, &files(ROOT));
    expect![[r#"
        `gcc` is built for each target apart
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 21, column 1

        snippet line 21: at = "/sysroot"
        snippet line 22: [package.gcc]
            label at line 22, columns 10 to 12: put into something that is not
        snippet line 23: template = "step"
    "#]]
    .assert_eq(&render(&error.expect_err("a mistake")));
}
