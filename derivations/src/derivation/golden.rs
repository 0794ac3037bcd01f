//! One derivation of each builder, its fields in their order and both its keys:
//! a key here that changes is a break of the format, and nothing that was built
//! before is found again.
//!
//! `docs/formats.md`, "Keys", tells the same in words.

use expect_test::{Expect, expect};
use kiln_store::hash::{Digest, TreeId};

use super::encode::Sink;
use super::resolve::{Lineage, ResolvedInput, encode_action, encode_recipe, keys, recipe_inputs};
use super::*;

/// Keeps every field as it is hashed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields(Vec<(String, Vec<u8>)>);

impl Sink for Fields {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_owned(), value.to_vec()));
    }
}

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
/// The input called N has the tree "tree N" and the lineage "lineage N".
fn check(derivation: &Derivation, expected: &Expect) {
    let resolve = |input: &Input| ResolvedInput {
        tree: tree(&format!("tree {}", input.at)),
        lineage: Lineage(Digest::of(format!("lineage {}", input.at).as_bytes())),
    };
    let inputs: Vec<_> = derivation.inputs.iter().map(resolve).collect();
    let (mut action, mut recipe) = (Fields::default(), Fields::default());
    encode_action(&mut action, derivation, &inputs);
    encode_recipe(&mut recipe, derivation, &recipe_inputs(derivation, &inputs));
    let keys = keys(derivation, &inputs);
    let recipe = match recipe == action {
        true => "the same\n".to_owned(),
        false => show(&recipe),
    };
    let text = format!(
        "{}K {}\n\n{recipe}C {}\n\nlineage {}\n",
        show(&action),
        keys.action,
        keys.recipe,
        keys.lineage.0
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
            executed_on: None,
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
        executed_on: None,
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
            executed-on ""
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
            K 87694cea6e91363936c83aac084d5e22d9ef7266b91257df886ac5c7932b21ad

            the same
            C d3271d717b48b9a93bb33683799338a1726f0946b5555c4083c767fe79949c7e

            lineage 16ee2db0aaab3891ccb2028cfce164dbd4cc860fe79d4a009c9e72137eedea7f
        "#]],
    );
}

#[test]
fn fetch_of_a_file() {
    let name = "x.bin".to_owned();
    check(
        &fetch(Unpack::Raw { name }),
        &expect![[r#"
            executed-on ""
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
            K 641344d53298a53aeed2ae95e0752d8d4216ac49185d93563a634b9e812205cb

            the same
            C 1534451b1c0c62a529942d4f8281c8c2f6f5551a0dc78b2c98e7af7986210673

            lineage 3879dd9bed71381d59aabd631d48699f40555bcd18b809d15f83edee16368a45
        "#]],
    );
}

#[test]
fn fetch_of_a_package() {
    check(
        &fetch(Unpack::Deb),
        &expect![[r#"
            executed-on ""
            contract 1
            target ""
            builder "fetch"
            hash "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
            size 1080786
            unpack "deb"
            outputs 1
            outputs "out"
            inputs 0
            K e97573163ed8600d850f2ef130d333026b1a470fcfad1aa6af38ad8485d13ffb

            the same
            C 9e701b8d739f0f6498871d7d1b9514cb435aaf4e60769b81f8dfab371e28c7d1

            lineage 5409f70e026b8a53ac47b1d24a7f645b62730d3282dc79c5c6a0e1a10ae088a2
        "#]],
    );
}

#[test]
fn fetch_of_a_commit() {
    check(
        &fetch(Unpack::Git),
        &expect![[r#"
            executed-on ""
            contract 1
            target ""
            builder "fetch"
            hash "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
            size 1080786
            unpack "git"
            outputs 1
            outputs "out"
            inputs 0
            K fe63847757bb398731bfecf2897b6bbaae8bb2926858a4d9c5548222e05f4a10

            the same
            C aa9ca9316a12d927da2b921be92927b0d18b61b62b871aa215db07f20e99eed4

            lineage 8dcce3477de2512ac37d67f30f260fc3b81094c7e5a4ebd9f0c1ed3c5bad3e32
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
            executed-on ""
            contract 1
            target "aarch64"
            builder "local"
            tree 5cbc7f78…
            outputs 1
            outputs "out"
            inputs 0
            K d86a526778b609332e92deb6623746c74a814d03a4f4310425feb63b230fcb62

            the same
            C 46c75105ba8dd476c2424e5fe92a98f4c9a1fdf134449fee9b8a9bd48dee46b1

            lineage 69b4c4917b79ccbc21d728ac1acdf971b95fdcd6daa3f9aa4a6c19e06647798c
        "#]],
    );
}

#[test]
fn composition() {
    let layers = [("a", Role::Material), ("b", Role::Material)];
    check(
        &derivation(Builder::Compose(compose()), &layers),
        &expect![[r#"
            executed-on ""
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
            K ee81fd3c77f808346c596f8e6d825f8e095625080ea4beb917b53fbc1267fda4

            the same
            C fc3a7bf64e8bdf2cbf93b93cc4764c862f4c506e2611c1fa502ded841df87042

            lineage c2bffd68908cd15d52e5f50d5c7e5c22aaa0480a204c56306dd95392c0b09045
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
            executed-on ""
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
            K b4592cf6d78db991602a7aeccc99618765ecc866e03bbdf01f7d8c7ea3292993

            executed-on ""
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
            C 5e90e792e1a9f16cbb11bfeab1ed59f4295790de6b6f828ff3c64a0433408764

            lineage 96d612d04f5d0a0b47186237a847c30de84cb043db4347b8537f942a4aa70532
        "#]],
    );
}

#[test]
fn script() {
    check(
        &derivation(Builder::Exec(exec()), &EXEC_INPUTS),
        &expect![[r#"
            executed-on ""
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
            K b1450cd1c35dff63dd25836be27eea7a6bc4da90f7ca3286b6cb5d9325c69809

            executed-on ""
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
            lineage 4ada259c…
            role "tool"
            at "/toolchain"
            output "out"
            lineage 0c1d35a5…
            role "material"
            at "/src"
            output "out"
            tree 4aa3f4e8…
            C 911d36381f63af56071b104c4d428d640b9b972304860d4c186d80c99b512e74

            lineage b1006d2314b990a377090b49d6b75c8c3bf31552650ad0c77913e148b60ab7ad
        "#]],
    );
}

#[test]
fn script_of_a_tool() {
    let tool = Derivation {
        executed_on: Some(Target::X86_64),
        target: None,
        outputs: vec!["dev".to_owned(), "out".to_owned()],
        ..derivation(Builder::Exec(exec()), &EXEC_INPUTS)
    };
    check(
        &tool,
        &expect![[r#"
            executed-on "x86_64"
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
            K 7b1d01224ce0abd2f9f19cb68ec431a8427b31a631b5170cf395f6a269a0f763

            executed-on "x86_64"
            contract 1
            target ""
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
            outputs 2
            outputs "dev"
            outputs "out"
            inputs 3
            role "root"
            at "/"
            output "out"
            lineage 4ada259c…
            role "tool"
            at "/toolchain"
            output "out"
            lineage 0c1d35a5…
            role "material"
            at "/src"
            output "out"
            tree 4aa3f4e8…
            C fd91cc1fbc05bbb670773022d82c6e594a23495ae9c8863c821007eeaca3841b

            lineage 27a8d90b6ad34c539eff40ec2fe124f64d2f3796d2d6e2fbad43930d5e8ab2a5
        "#]],
    );
}

#[test]
fn root_file_system() {
    let layers = [("busybox", Role::Material), ("(files)", Role::Material)];
    check(
        &derivation(Builder::Rootfs(rootfs()), &layers),
        &expect![[r#"
            executed-on ""
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
            K e5c9461a63e3bb91e7af12ff9e9514ee21fb1fccfecc96a63f4befdf92f88fd7

            the same
            C 1da44f981091bcf23e154bcaea6f7e163b2888018e41c52acbe9d3b341914c74

            lineage 1ea80fdcc3ec5ebbef1ad66a844ab3369b6fe5a050458937e1eb79014bb36124
        "#]],
    );
}

#[test]
fn archive() {
    check(
        &derivation(Builder::Archive, &[("rootfs", Role::Material)]),
        &expect![[r#"
            executed-on ""
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
            K 8e54995ddd4370a33fe47bc6d7af0d195ef159833bb2033046384b8aa0a7201b

            the same
            C f80afa3ffa478f8d392ffebfcc368bdc85c79452762f3cb8529109fd13283a96

            lineage e28bb17203c8a40524182453e8ba4904221af19e1e0bf85d902f41bbba44865b
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
    let resolved = |tree_text: &str, lineage: &str| ResolvedInput {
        tree: tree(tree_text),
        lineage: Lineage(Digest::of(lineage.as_bytes())),
    };
    let on = |platform: Target, is_tool: bool, root: &str| {
        let derivation = Derivation {
            executed_on: is_tool.then_some(platform),
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
