//! Mistakes of a user's: each is told with its place, what was expected and the
//! nearest valid name; exit status 2, and nothing on disk has changed.

#[path = "misfortune_support/mod.rs"]
mod support;

use kiln_checks::Outcome;
use support::{HEAD, Shop, Who, failure_of, listing};

/// A sound beginning that mistakes are added to.
const SOUND: &str = r#"[package.musl]
root = "base"
script = "build.sh"
"#;

/// The line of the manifest on which what is added to [`SOUND`] begins.
fn first_line() -> usize {
    HEAD.lines().count() + SOUND.lines().count() + 1
}

/// What kiln said, without the frame that holds it.
fn words(text: &str) -> String {
    let words = text.split_whitespace();
    let words = words.filter(|word| !matches!(*word, "│" | "·" | "×"));
    words.collect::<Vec<_>>().join(" ")
}

fn shop(who: Who, added: &str) -> Shop {
    let shop = Shop::without_store(who, &format!("{SOUND}{added}"));
    shop.write("build.sh", "echo x > /out/x\n");
    shop
}

/// Runs kiln, which says all of `said`, refuses, and touches nothing.
fn refuse(shop: &Shop, arguments: &[&str], said: &[&str]) -> Outcome {
    let before = listing(shop.path());
    let outcome = shop.kiln(arguments).run().expect_status(2);
    let text = words(&outcome.stderr);
    for part in said {
        assert!(text.contains(part), "{part:?} in {}", outcome.stderr);
    }
    assert_eq!(outcome.stdout, "");
    assert_eq!(listing(shop.path()), before);
    outcome
}

/// As everybody: the manifest with `added` is refused where `line` of that is,
/// counted from one, by every command that reads it.
fn check(added: &str, line: usize, said: &[&str]) {
    let place = format!("flake-like.toml:{}:", first_line() + line - 1);
    for who in Who::all() {
        let shop = shop(who, added);
        let said: Vec<_> = said.iter().copied().chain([place.as_str()]).collect();
        for arguments in [&["build", "musl"][..], &["graph", "musl"], &["lock"]] {
            refuse(&shop, arguments, &said);
        }
    }
}

#[test]
fn an_unknown_key() {
    let added = "[package.a]\nroot = 'base'\nsorce = 'musl'\n";
    let said = ["unknown key `sorce`", "did you mean `source`?"];
    check(added, 3, &said);
}

#[test]
fn a_wrong_type() {
    let added = "[package.a]\nroot = 3\nscript = 'build.sh'\n";
    check(
        added,
        2,
        &["wrong type: expected a string", "found integer `3`"],
    );
}

#[test]
fn an_unknown_package() {
    let added = "[package.a]\nroot = 'base'\nscript = 'build.sh'\nmaterials = ['mussl']\n";
    check(
        added,
        4,
        &["unknown package `mussl`", "did you mean `musl`?"],
    );
}

#[test]
fn an_unknown_target() {
    let added = "[package.a]\nroot = 'base'\nscript = 'build.sh'\ntarget.arm64 = {}\n";
    check(
        added,
        4,
        &["unknown value `arm64`", "did you mean `aarch64`?"],
    );
}

#[test]
fn a_cycle_with_its_path() {
    let added = "\
        [package.a]\nroot = 'base'\nscript = 'build.sh'\nmaterials = ['b']\n\
        [package.b]\nroot = 'base'\nscript = 'build.sh'\nmaterials = ['a']\n";
    check(
        added,
        4,
        &["a cycle: a → b → a", "`a` needs `b`", "`b` needs `a`"],
    );
}

#[test]
fn what_is_not_toml() {
    check("[package.a\n", 1, &["this is not TOML"]);
}

#[test]
fn a_missing_script() {
    let added = "[package.a]\nroot = 'base'\nscript = 'buidl.sh'\n";
    let place = format!("flake-like.toml:{}:", first_line() + 2);
    for who in Who::all() {
        let shop = shop(who, added);
        let said = ["there is no file `buidl.sh`", "looked for", &place];
        refuse(&shop, &["build", "a"], &said);
        refuse(&shop, &["shell", "a"], &said);
    }
}

#[test]
fn an_unknown_name_on_the_command_line() {
    for who in Who::all() {
        let shop = shop(who, "");
        for command in ["build", "graph", "log", "shell", "verify", "run"] {
            let said = ["unknown name `musk`", "did you mean `musl`?"];
            refuse(&shop, &[command, "musk"], &said);
        }
        let said = ["package `musl` has no part `dev`", "it has: out"];
        refuse(&shop, &["build", "musl#dev"], &said);
    }
}

#[test]
fn an_unknown_target_on_the_command_line() {
    let shop = shop(Who::me(), "");
    let arguments = ["build", "musl", "--target", "arm64"];
    refuse(
        &shop,
        &arguments,
        &["arm64", "--target", "x86_64", "aarch64"],
    );
}

#[test]
fn an_unknown_command_or_option() {
    let shop = shop(Who::me(), "");
    refuse(&shop, &["biuld"], &["biuld", "build"]);
    refuse(&shop, &["build", "--ofline"], &["--ofline", "--offline"]);
    refuse(&shop, &["build", "--jobs", "0"], &["--jobs", "0"]);
}

#[test]
fn no_manifest() {
    let shop = shop(Who::me(), "");
    std::fs::remove_file(shop.project().join("flake-like.toml")).expect("it is ours");
    refuse(&shop, &["build"], &["no flake-like.toml", "kiln init"]);
    let arguments = ["--manifest", "elsewhere.toml", "build"];
    refuse(&shop, &arguments, &["elsewhere.toml"]);
}

#[test]
fn a_lock_that_is_out_of_date() {
    for who in Who::all() {
        let shop = shop(who, "[source.new]\nurl = 'https://example.org/new.tar'\n");
        shop.replace(
            "script = \"build.sh\"",
            "script = \"build.sh\"\nsource = \"new\"",
        );
        refuse(&shop, &["build", "musl"], &["`new`", "kiln lock"]);
        refuse(&shop, &["lock", "--check"], &["`new`", "kiln lock"]);
        shop.replace("\"dash\"", "\"dash\", \"gzip\"");
        refuse(&shop, &["build", "base"], &["`base`", "kiln lock"]);
    }
}

#[test]
fn a_malformed_lock() {
    for who in Who::all() {
        let shop = shop(who, "");
        shop.write("flake-like.lock", "version = 1\n[[source]\n");
        let said = ["the lock is malformed", "flake-like.lock:2:", "kiln lock"];
        refuse(&shop, &["build", "musl"], &said);
        shop.write("flake-like.lock", "version = 1\n[[source]]\nnam = 'x'\n");
        refuse(
            &shop,
            &["build", "musl"],
            &["the lock is malformed", "flake-like.lock:"],
        );
    }
}

#[test]
fn a_lock_of_a_newer_version() {
    for who in Who::all() {
        let shop = shop(who, "");
        shop.write("flake-like.lock", "version = 2\nwhatever = 'that means'\n");
        let said = [
            "the lock has format 2; this kiln reads up to 1",
            "flake-like.lock:1:",
        ];
        for arguments in [&["build", "musl"][..], &["lock"], &["update"]] {
            refuse(&shop, arguments, &said);
        }
    }
}

/// Only what was built can show this one.
#[test]
fn a_conflict_of_two_packages_names_both_owners() {
    let package = |name: &str| {
        format!(
            "[package.{name}]\nroot = \"base\"\n\
             command = [\"/bin/sh\", \"-c\", \"mkdir /out/bin; echo {name} > /out/bin/tool\"]\n"
        )
    };
    let both = "[compose.both]\npackages = [\"first\", \"second\"]\n";
    for who in Who::all() {
        let text = format!("{}{}{both}", package("first"), package("second"));
        let shop = Shop::new(who, &text);
        let outcome = shop.build(&["both"]).expect_status(1);
        let (class, message) = failure_of(&outcome.events, "both");
        assert_eq!(class, "compose");
        for part in ["first", "second", "/bin/tool"] {
            assert!(message.contains(part), "{message}");
            assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
        }
        shop.assert_sound();
        let prefer = both.to_owned() + "prefer = { \"/bin/*\" = \"second\" }\n";
        shop.replace(both, &prefer);
        shop.build(&["both"]).expect_status(0);
    }
}
