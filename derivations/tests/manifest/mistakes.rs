//! Every mistake in a manifest, as it is shown.

use expect_test::{Expect, expect};
use kiln_derivations::derivation::Target;
use kiln_derivations::manifest::evaluate;

use super::support::{Memory, ROOT, lock, manifest, manifest_in, render, requested};

/// A sound beginning that mistakes are added to.
const SOUND: &str = r#"[flake]
name = "test"
targets = ["x86_64", "aarch64"]
[seed.base]
debian = "bookworm"
packages = ["dash"]
[source.musl]
url = "debian:pool/musl.tar.gz"
[package.cc]
root = "base"
script = "cc.sh"
tool = true
at = "/toolchain"
"#;

fn check(added: &str, expected: Expect) {
    let error = manifest_in(ROOT, &format!("{SOUND}{added}")).expect_err("a mistake");
    expected.assert_eq(&render(&error));
}

/// The same for mistakes that only show when something is evaluated.
fn check_evaluation(added: &str, want: &str, expected: Expect) {
    let manifest = manifest(&format!("{SOUND}{added}"));
    let lock = lock(&manifest);
    let files = Memory::default().with("/flake/cc.sh", "true");
    let request = requested(&[want], &[Target::X86_64]);
    let error = evaluate(&manifest, &lock, &request, &files).expect_err("a mistake");
    expected.assert_eq(&render(&error));
}

#[test]
fn not_toml() {
    check(
        "[package.a\nroot = 'base'\n",
        expect![[r#"
        this is not TOML
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 13, column 1

        snippet line 13: at = "/toolchain"
        snippet line 14: [package.a
            label at line 14, column 11: unclosed table, expected `]`
        snippet line 15: root = 'base'
    "#]],
    );
}

#[test]
fn unknown_key() {
    check(
        "[package.a]\nroot = 'base'\nsorce = 'musl'\n",
        expect![[r#"
            unknown key `sorce`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 15, column 1

            snippet line 15: root = 'base'
            snippet line 16: sorce = 'musl'
                label at line 16, columns 1 to 5: not known here
            diagnostic help: did you mean `source`?
        "#]],
    );
}

#[test]
fn unknown_key_that_resembles_none() {
    check(
        "[image.a]\nrootfs = 'a'\nwhatever = 1\n",
        expect![[r#"
            unknown key `whatever`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 15, column 1

            snippet line 15: rootfs = 'a'
            snippet line 16: whatever = 1
                label at line 16, columns 1 to 8: not known here
            diagnostic help: expected one of: description, rootfs, kernel, variant, formats, cmdline, size, label, remove, target
        "#]],
    );
}

#[test]
fn unknown_table() {
    check(
        "[pakage.a]\nroot = 'base'\n",
        expect![[r#"
            unknown table `pakage`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 13, column 1

            snippet line 13: at = "/toolchain"
            snippet line 14: [pakage.a]
                label at line 14, columns 2 to 7: not a table of this kind of file
            snippet line 15: root = 'base'
            diagnostic help: did you mean `package`?
        "#]],
    );
}

#[test]
fn wrong_type() {
    check(
        "[package.a]\nroot = 3\nscript = 'a.sh'\n",
        expect![[r#"
            wrong type: expected a string
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [package.a]
            snippet line 15: root = 3
                label at line 15, column 8: found integer `3`
            snippet line 16: script = 'a.sh'
        "#]],
    );
}

#[test]
fn wrong_type_of_a_list() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\ntools = 'cc'\n",
        expect![[r#"
            wrong type: expected a list
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: tools = 'cc'
                label at line 17, columns 9 to 12: found string "cc"
        "#]],
    );
}

#[test]
fn missing_key() {
    check(
        "[seed.a]\npackages = []\n",
        expect![[r#"
        missing key `debian`
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 13, column 1

        snippet line 13: at = "/toolchain"
        snippet line 14: [seed.a]
            label at line 14, column 7: `debian` is needed here
        snippet line 15: packages = []
    "#]],
    );
}

#[test]
fn no_flake() {
    let error =
        manifest_in(ROOT, "[seed.a]\ndebian = 'x'\npackages = []\n").expect_err("a mistake");
    expect![[r#"
        there is no table `[flake]`
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 1, column 1

        snippet line 1: [seed.a]
            label at line 1, column 1
        snippet line 2: debian = 'x'
        diagnostic help: begin with `[flake]` and `name = "…"`
    "#]]
    .assert_eq(&render(&error));
}

#[test]
fn unknown_target() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\ntarget.arm64 = {}\n",
        expect![[r#"
            unknown value `arm64`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: target.arm64 = {}
                label at line 17, columns 8 to 12: not known here
            diagnostic help: did you mean `aarch64`?
        "#]],
    );
}

#[test]
fn several_mistakes_at_once() {
    check(
        "[package.a]\nroot = 'bse'\nscript = 'a.sh'\nmaterials = ['mussl', 'musl']\n[package.musl]\nroot = 'base'\n",
        expect![[r#"
            unknown seed `bse`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [package.a]
            snippet line 15: root = 'bse'
                label at line 15, columns 8 to 12: no seed has this name
            snippet line 16: script = 'a.sh'
            diagnostic help: did you mean `base`?

            Error: unknown package `mussl`
                Diagnostic severity: error

            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: materials = ['mussl', 'musl']
                label at line 17, columns 14 to 20: no package has this name
            snippet line 18: [package.musl]
            diagnostic help: did you mean `musl`?
        "#]],
    );
}

#[test]
fn unknown_package() {
    check(
        "[rootfs.a]\npackages = ['cd']\n",
        expect![[r#"
            unknown package `cd`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [rootfs.a]
            snippet line 15: packages = ['cd']
                label at line 15, columns 13 to 16: no package has this name
            diagnostic help: did you mean `cc`?
        "#]],
    );
}

#[test]
fn another_kind_has_the_name() {
    check(
        "[package.a]\nsource = 'base'\nroot = 'musl'\nscript = 'a.sh'\n",
        expect![[r#"
            unknown source `base`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [package.a]
            snippet line 15: source = 'base'
                label at line 15, columns 10 to 15: no source has this name
            snippet line 16: root = 'musl'
            diagnostic help: there is a seed `base`; expected one of: source

            Error: unknown seed `musl`
                Diagnostic severity: error

            Begin snippet for flake-like.toml starting at line 15, column 1

            snippet line 15: source = 'base'
            snippet line 16: root = 'musl'
                label at line 16, columns 8 to 13: no seed has this name
            snippet line 17: script = 'a.sh'
            diagnostic help: there is a source `musl`; expected one of: seed, compose, package
        "#]],
    );
}

#[test]
fn unknown_output() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\noutputs = ['out', 'debug']\n[compose.b]\npackages = ['a#debg']\n",
        expect![[r#"
            `a` has no output `debg`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 18, column 1

            snippet line 18: [compose.b]
            snippet line 19: packages = ['a#debg']
                label at line 19, columns 13 to 20: names an output after `#`
            diagnostic help: did you mean `debug`?
        "#]],
    );
}

#[test]
fn unknown_template() {
    check(
        "[template.make]\n[package.a]\ntemplate = 'mak'\n",
        expect![[r#"
            unknown template `mak`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 15, column 1

            snippet line 15: [package.a]
            snippet line 16: template = 'mak'
                label at line 16, columns 12 to 16: nothing has this name
            diagnostic help: did you mean `make`?
        "#]],
    );
}

#[test]
fn not_a_tool() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\n[package.b]\nroot = 'base'\nscript = 'b.sh'\ntools = ['a']\n",
        expect![[r#"
            `a` is used as a tool, but does not say that it is one
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 19, column 1

            snippet line 19: script = 'b.sh'
            snippet line 20: tools = ['a']
                label at line 20, columns 10 to 12: executed in this build
            diagnostic help: write `tool = true` into `[package.a]`, or use it as a material
        "#]],
    );
}

#[test]
fn not_a_root() {
    check(
        "[compose.r]\npackages = ['cc']\n[package.a]\nroot = 'r'\nscript = 'a.sh'\n",
        expect![[r#"
            `r` is no build root
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: [package.a]
            snippet line 17: root = 'r'
                label at line 17, columns 8 to 10: used as `/`
            snippet line 18: script = 'a.sh'
            diagnostic help: write `skeleton = true` into `[compose.r]`
        "#]],
    );
}

#[test]
fn cycle() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\nmaterials = ['b']\n[package.b]\nroot = 'base'\nscript = 'b.sh'\nmaterials = ['c']\n[compose.c]\npackages = ['a']\n",
        expect![[r#"
            a cycle: a → b → c → a
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: materials = ['b']
                label at line 17, columns 14 to 16: `a` needs `b`
            snippet line 18: [package.b]
            snippet line 19: root = 'base'
            snippet line 20: script = 'b.sh'
            snippet line 21: materials = ['c']
                label at line 21, columns 14 to 16: `b` needs `c`
            snippet line 22: [compose.c]
            snippet line 23: packages = ['a']
                label at line 23, columns 13 to 15: `c` needs `a`
            diagnostic help: take one of these edges out
        "#]],
    );
}

#[test]
fn cycle_through_what_a_tool_needs_at_run_time() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\nruntime = ['b']\n[package.b]\nroot = 'base'\nscript = 'b.sh'\nmaterials = ['a']\n",
        expect![[r#"
            a cycle: b → a → b
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: runtime = ['b']
                label at line 17, columns 12 to 14: `a` needs `b`
            snippet line 18: [package.b]
            snippet line 19: root = 'base'
            snippet line 20: script = 'b.sh'
            snippet line 21: materials = ['a']
                label at line 21, columns 14 to 16: `b` needs `a`
            diagnostic help: take one of these edges out
        "#]],
    );
}

#[test]
fn shared_package_of_varying_material() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\n[package.b]\nroot = 'base'\nscript = 'b.sh'\nper-target = false\nmaterials = ['a']\n",
        expect![[r#"
            `b` is the same for all targets, `a` is not
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 20, column 1

            snippet line 20: per-target = false
            snippet line 21: materials = ['a']
                label at line 21, columns 14 to 16: built for each target apart
            diagnostic help: write `per-target = true` into `[package.b]`
        "#]],
    );
}

#[test]
fn bad_unit() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\nlimits = { memory = '4 gigs', wall = '30min' }\n",
        expect![[r#"
            `4 gigs` is no size
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: limits = { memory = '4 gigs', wall = '30min' }
                label at line 17, columns 21 to 28: expected a number and one of B, KiB, MiB, GiB, TiB, such as `4GiB`
        "#]],
    );
}

#[test]
fn bad_device() {
    check(
        "[rootfs.a]\ndevices = ['/dev/console x 5 1 0622']\n",
        expect![[r#"
            `/dev/console x 5 1 0622` is no device, since `x` is neither c nor b
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [rootfs.a]
            snippet line 15: devices = ['/dev/console x 5 1 0622']
                label at line 15, columns 11 to 37: expected path, c or b, major, minor, mode and perhaps owner, such as `/dev/console c 5 1 0622`
        "#]],
    );
}

#[test]
fn bad_mode() {
    check(
        "[rootfs.a]\nfiles = { '/init' = { text = '', mode = 'rwx' } }\n",
        expect![[r#"
            `rwx` is no mode
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [rootfs.a]
            snippet line 15: files = { '/init' = { text = '', mode = 'rwx' } }
                label at line 15, columns 41 to 45: expected three or four octal digits, such as `0755`
        "#]],
    );
}

#[test]
fn bad_user() {
    check(
        "[rootfs.a]\nusers = ['root:0:0']\n",
        expect![[r#"
        `root:0:0` has 3 fields
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 14, column 1

        snippet line 14: [rootfs.a]
        snippet line 15: users = ['root:0:0']
            label at line 15, columns 10 to 19: expected `name:uid:gid:comment:home:shell`
    "#]],
    );
}

#[test]
fn relative_path_in_a_rootfs() {
    check(
        "[rootfs.a]\ndirectories = { 'proc' = {} }\n",
        expect![[r#"
        `proc` is no absolute path
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 14, column 1

        snippet line 14: [rootfs.a]
        snippet line 15: directories = { 'proc' = {} }
            label at line 15, columns 17 to 22: expected a path from `/`, without `.` and `..`
    "#]],
    );
}

#[test]
fn bad_glob() {
    check(
        "[rootfs.a]\nremove = ['/usr/{a,b']\n",
        expect![[r#"
        `/usr/{a,b` is no glob
            Diagnostic severity: error
        Begin snippet for flake-like.toml starting at line 14, column 1

        snippet line 14: [rootfs.a]
        snippet line 15: remove = ['/usr/{a,b']
            label at line 15, columns 11 to 21: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
    "#]],
    );
}

#[test]
fn source_without_a_place() {
    check(
        "[source.a]\nstrip = 0\n[source.b]\ngit = 'https://example.org/b'\n",
        expect![[r#"
            missing key `url`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 13, column 1

            snippet line 13: at = "/toolchain"
            snippet line 14: [source.a]
                label at line 14, column 9: expected `url`, `urls`, `path` or `git`
            snippet line 15: strip = 0

            Error: missing key `rev`
                Diagnostic severity: error

            Begin snippet for flake-like.toml starting at line 15, column 1

            snippet line 15: strip = 0
            snippet line 16: [source.b]
                label at line 16, column 9: `git` needs a commit
            snippet line 17: git = 'https://example.org/b'
        "#]],
    );
}

#[test]
fn url_of_another_scheme() {
    check(
        "[source.a]\nurl = 'ftp://example.org/a.tar'\n",
        expect![[r#"
            `ftp://example.org/a.tar` is no URL that can be fetched
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 14, column 1

            snippet line 14: [source.a]
            snippet line 15: url = 'ftp://example.org/a.tar'
                label at line 15, columns 7 to 31: expected `debian:`, `https:`, `http:` or `file:`
        "#]],
    );
}

#[test]
fn script_and_command() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\ncommand = ['/bin/true']\n",
        expect![[r#"
            both `script` and `command`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: command = ['/bin/true']
                label at line 17, columns 12 to 22: expected one of them
        "#]],
    );
}

#[test]
fn unknown_variable() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\nenv = { ARCH = '${targt}' }\n",
        expect![[r#"
            unknown variable `${targt}`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: env = { ARCH = '${targt}' }
                label at line 17, columns 16 to 25: in this text
            diagnostic help: did you mean `${target}`? A plain `${` is written `$${`
        "#]],
    );
}

#[test]
fn target_in_what_all_targets_share() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\ntool = true\nenv = { ARCH = '${target}' }\n",
        expect![[r#"
            `${target}` has no value here
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 17, column 1

            snippet line 17: tool = true
            snippet line 18: env = { ARCH = '${target}' }
                label at line 18, columns 16 to 26: it is the same for all targets, so no target can be part of it
        "#]],
    );
}

#[test]
fn environment_of_kiln() {
    check(
        "[package.a]\nroot = 'base'\nscript = 'a.sh'\nenv = { KILN_TARGET = 'x' }\n",
        expect![[r#"
            `KILN_TARGET` cannot be set
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 16, column 1

            snippet line 16: script = 'a.sh'
            snippet line 17: env = { KILN_TARGET = 'x' }
                label at line 17, columns 9 to 19: `KILN_…` is kiln's own, and `=` ends a name
        "#]],
    );
}

#[test]
fn boot_check_of_a_format_that_the_image_has_not() {
    check(
        "[rootfs.a]\n[format.ext4]\nroot = 'base'\nscript = 'e.sh'\n[image.a]\nrootfs = 'a'\nformats = ['ext4']\n[boot-check.a]\nimage = 'a'\nexpect = 'up'\nformats = ['ext3']\n",
        expect![[r#"
            image `a` has no format `ext3`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 23, column 1

            snippet line 23: expect = 'up'
            snippet line 24: formats = ['ext3']
                label at line 24, columns 12 to 17: not packed in this format
            diagnostic help: did you mean `ext4`?
        "#]],
    );
}

#[test]
fn missing_script() {
    check_evaluation(
        "[package.a]\nroot = 'base'\nscript = 'nowhere.sh'\n",
        "a",
        expect![[r#"
            there is no file `nowhere.sh`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 15, column 1

            snippet line 15: root = 'base'
            snippet line 16: script = 'nowhere.sh'
                label at line 16, columns 10 to 21: looked for /flake/nowhere.sh
        "#]],
    );
}

#[test]
fn mounted_where_nothing_can_be() {
    check_evaluation(
        "[package.k]\nroot = 'base'\nscript = 'cc.sh'\nat = '/boot'\n[package.a]\nroot = 'base'\nscript = 'cc.sh'\nmaterials = ['k']\n",
        "a",
        expect![[r#"
            `k` cannot be mounted at `/boot`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 20, column 1

            snippet line 20: script = 'cc.sh'
            snippet line 21: materials = ['k']
                label at line 21, columns 14 to 16: mounted in this build
            diagnostic help: expected `at` to be `/sysroot`, `/toolchain` or `/in/NAME`; or mount it with `inputs`
        "#]],
    );
}

#[test]
fn two_things_at_one_place() {
    check_evaluation(
        "[package.a]\nroot = 'base'\nscript = 'cc.sh'\nsources = { x = 'musl' }\ninputs = { x = 'musl' }\n",
        "a",
        expect![[r#"
            two things are to be mounted at `/in/x`
                Diagnostic severity: error
            Begin snippet for flake-like.toml starting at line 17, column 1

            snippet line 17: sources = { x = 'musl' }
            snippet line 18: inputs = { x = 'musl' }
                label at line 18, column 12: the second of them
        "#]],
    );
}

#[test]
fn unknown_name_on_the_command_line() {
    check_evaluation(
        "",
        "cd",
        expect![[r#"
        unknown name `cd`
            Diagnostic severity: error
        diagnostic help: did you mean `cc`?
    "#]],
    );
}

#[test]
fn unknown_part_on_the_command_line() {
    check_evaluation(
        "",
        "cc#dev",
        expect![[r#"
        package `cc` has no part `dev`
            Diagnostic severity: error
        diagnostic help: it has: out
    "#]],
    );
}

#[test]
fn target_that_the_manifest_is_not_for() {
    let text = SOUND.replace(r#"["x86_64", "aarch64"]"#, r#"["aarch64"]"#);
    let manifest = manifest(&text);
    let request = requested(&["cc"], &[Target::X86_64]);
    let error = evaluate::evaluate(&manifest, &lock(&manifest), &request, &Memory::default());
    expect![[r#"
        this manifest is not for target x86_64
            Diagnostic severity: error
        diagnostic help: it is for: aarch64
    "#]]
    .assert_eq(&render(&error.expect_err("a mistake")));
}

proptest::proptest! {
    /// Whatever stands in a file, it is parsed or refused, and the refusal can
    /// be shown.
    #[test]
    fn no_text_is_too_odd(at in 0..SOUND.len(), len in 0..40usize, text in ".{0,12}|[\\[\\]{}=\"'.,#\n a-z\\$]{0,12}") {
        let end = (at + len).min(SOUND.len());
        let odd = format!("{}{text}{}", &SOUND[..at], &SOUND[end..]);
        if let Err(error) = manifest_in(ROOT, &odd) {
            render(&error);
        }
        if let Err(error) = kiln_derivations::manifest::Lock::parse("flake-like.lock", &odd) {
            render(&error);
        }
    }
}
