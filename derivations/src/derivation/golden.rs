//! One derivation of each builder, its fields in their order and both its keys:
//! a key here that changes is a break of the format, and nothing that was built
//! before is found again.
//!
//! `docs/formats.md`, "Keys", tells the same in words.

use expect_test::{Expect, expect};
use kiln_store::hash::{Digest, RecipeKey, TreeId};

use super::encode::{Fields, Sink};
use super::resolve::{ResolvedInput, encode_action, encode_recipe, keys};
use super::*;

/// Numbers stand as such, digests by their first bytes, texts quoted.
fn show(fields: &Fields) -> String {
    let is_text = |value: &[u8]| value.iter().all(|byte| (b' '..=b'~').contains(byte));
    let value = |value: &[u8]| match <[u8; 8]>::try_from(value) {
        _ if is_text(value) => format!("{:?}", String::from_utf8_lossy(value)),
        Ok(number) => u64::from_le_bytes(number).to_string(),
        Err(_) => format!(
            "{:08x}…",
            u32::from_be_bytes([value[0], value[1], value[2], value[3]])
        ),
    };
    let lines = fields
        .0
        .iter()
        .map(|(name, bytes)| format!("{name} {}\n", value(bytes)));
    lines.collect()
}

fn tree(text: &str) -> TreeId {
    TreeId(Digest::of(text.as_bytes()))
}

/// Checks the fields of K, those of C as far as they differ, and both keys.
/// The input called N has the tree "tree N" and the recipe "recipe N".
fn check(derivation: &Derivation, expected: &Expect) {
    let resolve = |input: &Input| ResolvedInput {
        tree: tree(&format!("tree {}", input.at)),
        recipe: RecipeKey(Digest::of(format!("recipe {}", input.at).as_bytes())),
    };
    let inputs: Vec<_> = derivation.inputs.iter().map(resolve).collect();
    let (mut action, mut recipe) = (Fields::default(), Fields::default());
    encode_action(&mut action, derivation, &inputs);
    encode_recipe(&mut recipe, derivation, &inputs);
    let keys = keys(derivation, &inputs);
    let recipe = match recipe == action {
        true => "the same\n".to_owned(),
        false => show(&recipe),
    };
    let text = format!(
        "{}K {}\n\n{recipe}C {}\n",
        show(&action),
        keys.action,
        keys.recipe
    );
    expected.assert_eq(&text);
}

fn derivation(builder: Builder, inputs: &[(&str, Role)]) -> Derivation {
    let mut graph = crate::graph::Graph::default();
    let input = |&(at, role): &(&str, Role)| Input {
        derivation: graph.add(Derivation {
            name: at.to_owned(),
            description: String::new(),
            target: None,
            is_tool: false,
            builder: Builder::Archive,
            inputs: Vec::new(),
            outputs: Vec::new(),
        }),
        output: OUT.to_owned(),
        role,
        at: at.to_owned(),
    };
    let inputs = inputs.iter().map(input).collect();
    Derivation {
        name: "a name".to_owned(),
        description: "a description".to_owned(),
        target: Some(Target::Aarch64),
        is_tool: false,
        builder,
        inputs,
        outputs: vec![OUT.to_owned()],
    }
}

fn fetch(unpack: Unpack) -> Derivation {
    let fetch = Fetch {
        urls: vec!["https://example.org/x.tar.gz".to_owned()],
        first_seen: "20261121T101500Z".to_owned(),
        hash: "5e".repeat(32),
        size_bytes: 1_080_786,
        unpack,
    };
    Derivation {
        target: None,
        ..derivation(Builder::Fetch(fetch), &[])
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn exec() -> Exec {
    Exec {
        platform: Target::X86_64,
        argv: vec![
            "/bin/sh".to_owned(),
            "-eu".to_owned(),
            "/in/recipe/b.sh".to_owned(),
        ],
        env: map(&[("A", "1"), ("B", "")]),
        uid: 1000,
        limits: Limits {
            memory_bytes: Some(1 << 30),
            wall_s: Some(60),
            ..Limits::default()
        },
        copy_source: true,
        at: Some("/sysroot".to_owned()),
    }
}

const EXEC_INPUTS: [(&str, Role); 3] = [
    ("/", Role::Root),
    ("/toolchain", Role::Tool),
    ("/src", Role::Material),
];

fn compose() -> Compose {
    Compose {
        usr_merge: true,
        skeleton: true,
        remove: vec!["/usr/share/doc/**".to_owned()],
        links: map(&[("/usr/bin/awk", "gawk")]),
        prefer: map(&[("/etc/*", "b")]),
        seed: None,
    }
}

fn rootfs() -> Rootfs {
    let attributes = |mode, uid, gid| Attributes { mode, uid, gid };
    let console = Device {
        block: false,
        major: 5,
        minor: 1,
        attributes: attributes(0o622, 0, 5),
    };
    Rootfs {
        modes: [("/bin/su".to_owned(), attributes(0o4755, 0, 0))].into(),
        devices: [("/dev/console".to_owned(), console)].into(),
        directories: [("/tmp".to_owned(), attributes(0o1777, 0, 0))].into(),
        links: map(&[("/etc/mtab", "/proc/mounts")]),
        users: vec!["root:x:0:0::/root:/bin/sh".to_owned()],
        groups: vec!["root:x:0:".to_owned()],
        remove: vec!["/usr/share/**".to_owned()],
        prefer: map(&[("/etc/motd", "a")]),
    }
}

#[test]
fn fetch_of_an_archive() {
    let unpack = Unpack::Tar {
        strip: 1,
        keep: vec!["lib/**".to_owned()],
    };
    check(
        &fetch(unpack),
        &expect![[r#"
        contract 1
        target ""
        builder "fetch"
        hash "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
        size 1080786
        unpack "tar"
        strip 1
        keep 1
        keep "lib/**"
        outputs 1
        outputs "out"
        inputs 0
        K 4551061ecf8c663ec1991f4d393b8095066fea6fac0d33dc828f6e64cfb2dc93

        the same
        C bd09bf4c431b4aff9a9197de6855427183e4c3d9b19143fa2ff06936c86edc65
    "#]],
    );
}

#[test]
fn fetch_of_a_file() {
    let name = "x.bin".to_owned();
    check(
        &fetch(Unpack::Raw { name }),
        &expect![[r#"
        contract 1
        target ""
        builder "fetch"
        hash "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
        size 1080786
        unpack "raw"
        name "x.bin"
        outputs 1
        outputs "out"
        inputs 0
        K 0367022ca5c62a8d1d33c5382d293b8ff4e95087d2a830a9119ac8f513b382a1

        the same
        C 191c1ba028314a08321a5229ef0aa29e0138e3c31ad4bc1d34276be26b7d61fb
    "#]],
    );
}

#[test]
fn fetch_of_a_package() {
    check(
        &fetch(Unpack::Deb),
        &expect![[r#"
        contract 1
        target ""
        builder "fetch"
        hash "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
        size 1080786
        unpack "deb"
        outputs 1
        outputs "out"
        inputs 0
        K 83696e3750023e87fd254513214c515ebd02502788c2e9fc3d1adc91dabdfea3

        the same
        C f06d006959d633886e6ea2de9191f48d7d9e938a321579afb9a1ddbf0faeb845
    "#]],
    );
}

#[test]
fn fetch_of_a_commit() {
    check(
        &fetch(Unpack::Git),
        &expect![[r#"
        contract 1
        target ""
        builder "fetch"
        hash "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
        size 1080786
        unpack "git"
        outputs 1
        outputs "out"
        inputs 0
        K 8f111dc0757c3668cb025412494ca676442ec027e36bbcbf9d434b3a2d5117fb

        the same
        C 6135714840344ecb0f5d2449be7f55d9325ad6f2feb614f21634453231e334a6
    "#]],
    );
}

#[test]
fn local_files() {
    let local = Local {
        tree: tree("local"),
        origin: LocalOrigin::Files(Vec::new()),
    };
    check(
        &derivation(Builder::Local(local), &[]),
        &expect![[r#"
        contract 1
        target "aarch64"
        builder "local"
        tree 5cbc7f78…
        outputs 1
        outputs "out"
        inputs 0
        K 74db3ad61f4e1782d7cb6cd470e20687600375f04320c7435cbd27434238eea4

        the same
        C fadb32b20695972237a3ba0c31eab8c8797b096ddb0fc45451280f2d43ac1af9
    "#]],
    );
}

#[test]
fn composition() {
    let layers = [("a", Role::Material), ("b", Role::Material)];
    check(
        &derivation(Builder::Compose(compose()), &layers),
        &expect![[r#"
            contract 1
            target "aarch64"
            builder "compose"
            usr-merge 1
            skeleton 1
            remove 1
            remove "/usr/share/doc/**"
            links 1
            links "/usr/bin/awk"
            links "gawk"
            prefer 1
            prefer "/etc/*"
            prefer "b"
            outputs 1
            outputs "out"
            inputs 2
            role "material"
            at "a"
            output "out"
            tree 453c5eac…
            role "material"
            at "b"
            output "out"
            tree ee3efdbd…
            K a48db407f87242aafe72a65a5cf3babacb6528ede1a165dd29c3b106edb52b46

            the same
            C d28d978654d9faea2f50e7d72f7b98269bc56a092773f541306396546ead5129
        "#]],
    );
}

#[test]
fn seed() {
    let seed = Compose {
        seed: Some(Digest::of(b"lock record")),
        ..compose()
    };
    check(
        &derivation(Builder::Compose(seed), &[("a", Role::Material)]),
        &expect![[r#"
            contract 1
            target "aarch64"
            builder "compose"
            usr-merge 1
            skeleton 1
            remove 1
            remove "/usr/share/doc/**"
            links 1
            links "/usr/bin/awk"
            links "gawk"
            prefer 1
            prefer "/etc/*"
            prefer "b"
            outputs 1
            outputs "out"
            inputs 1
            role "material"
            at "a"
            output "out"
            tree 453c5eac…
            K 47f9ddd3320207091501f8b73b79b6e3a1c570d8f30f2c15f73836106222ecbd

            contract 1
            target "aarch64"
            builder "compose"
            usr-merge 1
            skeleton 1
            remove 1
            remove "/usr/share/doc/**"
            links 1
            links "/usr/bin/awk"
            links "gawk"
            prefer 1
            prefer "/etc/*"
            prefer "b"
            outputs 1
            outputs "out"
            seed 8cd7c700…
            C 2b5199b9a3f6da90fcb16cbb544eb87446ce35a92f92a8a62bd4cc33ec0778d5
        "#]],
    );
}

#[test]
fn script() {
    check(
        &derivation(Builder::Exec(exec()), &EXEC_INPUTS),
        &expect![[r#"
            contract 1
            target "aarch64"
            builder "exec"
            platform "x86_64"
            argv 3
            argv "/bin/sh"
            argv "-eu"
            argv "/in/recipe/b.sh"
            env 2
            env "A"
            env "1"
            env "B"
            env ""
            uid 1000
            memory 1073741824
            processes 0
            copy-source 1
            at "/sysroot"
            outputs 1
            outputs "out"
            inputs 3
            role "root"
            at "/"
            output "out"
            tree b9ea24ad…
            role "tool"
            at "/toolchain"
            output "out"
            tree 443d5a42…
            role "material"
            at "/src"
            output "out"
            tree 4aa3f4e8…
            K 4aa992466d246337dad49672c228d86424966c1147bde4bb45b729f9fe45d24f

            contract 1
            target "aarch64"
            builder "exec"
            argv 3
            argv "/bin/sh"
            argv "-eu"
            argv "/in/recipe/b.sh"
            env 2
            env "A"
            env "1"
            env "B"
            env ""
            uid 1000
            memory 1073741824
            processes 0
            copy-source 1
            at "/sysroot"
            outputs 1
            outputs "out"
            inputs 3
            role "root"
            at "/"
            output "out"
            recipe 650dcd41…
            role "tool"
            at "/toolchain"
            output "out"
            recipe 3e5ffc48…
            role "material"
            at "/src"
            output "out"
            tree 4aa3f4e8…
            C 90e1726fbac2f675543f8773c5149c8a2e0b8c9131e461ac233a14d1a9db7150
        "#]],
    );
}

#[test]
fn script_of_a_tool() {
    let tool = Derivation {
        is_tool: true,
        target: None,
        outputs: vec!["dev".to_owned(), "out".to_owned()],
        ..derivation(Builder::Exec(exec()), &EXEC_INPUTS)
    };
    check(
        &tool,
        &expect![[r#"
            contract 1
            target ""
            builder "exec"
            platform "x86_64"
            argv 3
            argv "/bin/sh"
            argv "-eu"
            argv "/in/recipe/b.sh"
            env 2
            env "A"
            env "1"
            env "B"
            env ""
            uid 1000
            memory 1073741824
            processes 0
            copy-source 1
            at "/sysroot"
            outputs 2
            outputs "dev"
            outputs "out"
            inputs 3
            role "root"
            at "/"
            output "out"
            tree b9ea24ad…
            role "tool"
            at "/toolchain"
            output "out"
            tree 443d5a42…
            role "material"
            at "/src"
            output "out"
            tree 4aa3f4e8…
            K 24252982ab7914c16590fccf6c9e7cc935d8ad8f150da48ddb3a116d50601f51

            contract 1
            target ""
            builder "exec"
            platform "x86_64"
            argv 3
            argv "/bin/sh"
            argv "-eu"
            argv "/in/recipe/b.sh"
            env 2
            env "A"
            env "1"
            env "B"
            env ""
            uid 1000
            memory 1073741824
            processes 0
            copy-source 1
            at "/sysroot"
            outputs 2
            outputs "dev"
            outputs "out"
            inputs 3
            role "root"
            at "/"
            output "out"
            recipe 650dcd41…
            role "tool"
            at "/toolchain"
            output "out"
            recipe 3e5ffc48…
            role "material"
            at "/src"
            output "out"
            tree 4aa3f4e8…
            C 95c074344bdee9d1fe0a96b31ecdef5cfe1239e9e1fa8c03dca920d7c1fe7645
        "#]],
    );
}

#[test]
fn root_file_system() {
    let layers = [("busybox", Role::Material), ("(files)", Role::Material)];
    check(
        &derivation(Builder::Rootfs(rootfs()), &layers),
        &expect![[r#"
            contract 1
            target "aarch64"
            builder "rootfs"
            modes 1
            modes "/bin/su"
            mode 2541
            uid 0
            gid 0
            devices 1
            device "/dev/console"
            block 0
            major 5
            minor 1
            mode 402
            uid 0
            gid 5
            directories 1
            directories "/tmp"
            mode 1023
            uid 0
            gid 0
            links 1
            links "/etc/mtab"
            links "/proc/mounts"
            users 1
            users "root:x:0:0::/root:/bin/sh"
            groups 1
            groups "root:x:0:"
            remove 1
            remove "/usr/share/**"
            prefer 1
            prefer "/etc/motd"
            prefer "a"
            outputs 1
            outputs "out"
            inputs 2
            role "material"
            at "busybox"
            output "out"
            tree 5571ec2f…
            role "material"
            at "(files)"
            output "out"
            tree 602e0bbe…
            K 66c038d57dd963e44d6f89f5bc38bb8793dd40a650b9cbcf897905a42fc9e3a6

            the same
            C 62dfd128d2dc1890bb87ff929b598f51cf7a86f98fdcfef0826872531c521a9f
        "#]],
    );
}

#[test]
fn archive() {
    check(
        &derivation(Builder::Archive, &[("rootfs", Role::Material)]),
        &expect![[r#"
            contract 1
            target "aarch64"
            builder "archive"
            outputs 1
            outputs "out"
            inputs 1
            role "material"
            at "rootfs"
            output "out"
            tree 92c50b12…
            K 1c10f23021017c8019954fdf32de45f3e1ec4329513cdaeb379c3e700f843e0e

            the same
            C f268e540a0dbdd3e4084f05cac620971c1135f0d27e9f87b0a5e4989f535ae17
        "#]],
    );
}

#[test]
fn bytes_of_a_field() {
    struct Bytes(Vec<u8>);

    impl Sink for Bytes {
        fn field(&mut self, name: &str, value: &[u8]) {
            self.0.extend((name.len() as u32).to_le_bytes());
            self.0.extend(name.as_bytes());
            self.0.extend((value.len() as u64).to_le_bytes());
            self.0.extend(value);
        }
    }

    let mut hash = encode::HashSink::new(encode::ACTION_CONTEXT);
    hash.text("uid", "ab");
    hash.number("n", 258);
    let mut bytes = Bytes(Vec::new());
    bytes.text("uid", "ab");
    bytes.number("n", 258);
    let hex: String = bytes.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = blake3::derive_key(encode::ACTION_CONTEXT, &bytes.0);
    assert_eq!(hash.finish(), Digest::from_bytes(plain));
    expect![[r#"
        0300000075696402000000000000006162010000006e08000000000000000201000000000000
        f4a13a3c9666d1fd09c380492e168e86915163147f58768376a7301cad0b7b24"#]]
    .assert_eq(&format!("{hex}\n{}", hash.finish()));
}

/// What is cosmetic is in no key.
#[test]
fn names_and_places_do_not_count() {
    let keys_of = |derivation: &Derivation| keys(derivation, &[]);
    let one = fetch(Unpack::Deb);
    let mut other = one.clone();
    other.name = "another".to_owned();
    other.description = String::new();
    let Builder::Fetch(fetch) = &mut other.builder else {
        unreachable!("it is a fetch")
    };
    fetch.urls.clear();
    fetch.first_seen = String::new();
    assert_eq!(keys_of(&one), keys_of(&other));

    // Limits that end a build are in no key, those it can feel are.
    let script = |limits| {
        let exec = Exec { limits, ..exec() };
        keys_of(&derivation(Builder::Exec(exec), &[]))
    };
    let none = script(Limits::default());
    let ending = Limits {
        output_bytes: Some(1),
        log_bytes: Some(2),
        wall_s: Some(3),
        silence_s: Some(4),
        hard: true,
        ..Limits::default()
    };
    assert_eq!(script(ending), none);
    let felt = Limits {
        processes: Some(1),
        ..Limits::default()
    };
    assert_ne!(script(felt), none);
}

/// Two platforms meet under C until their materials differ.
#[test]
fn platforms_share_the_recipe_key_of_what_is_no_tool() {
    let resolved = |tree_text: &str, recipe: &str| ResolvedInput {
        tree: tree(tree_text),
        recipe: RecipeKey(Digest::of(recipe.as_bytes())),
    };
    let on = |platform, is_tool, root: &str| {
        let derivation = Derivation {
            is_tool,
            ..derivation(Builder::Exec(Exec { platform, ..exec() }), &EXEC_INPUTS)
        };
        let inputs = [
            resolved(root, "seed"),
            resolved(root, "toolchain"),
            resolved("src", "fetch"),
        ];
        keys(&derivation, &inputs)
    };
    let [x86, arm] = [(Target::X86_64, "x86 root"), (Target::Aarch64, "arm root")];
    assert_ne!(
        on(x86.0, false, x86.1).action,
        on(arm.0, false, arm.1).action
    );
    assert_eq!(
        on(x86.0, false, x86.1).recipe,
        on(arm.0, false, arm.1).recipe
    );
    assert_ne!(on(x86.0, true, x86.1).recipe, on(arm.0, true, arm.1).recipe);
}
