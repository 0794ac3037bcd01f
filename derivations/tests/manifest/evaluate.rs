//! What evaluation makes of a manifest, and what its keys depend on.

use std::fmt::Write as _;

use expect_test::expect;
use kiln_derivations::derivation::{Builder, Target};
use kiln_derivations::manifest::{Evaluation, evaluate};

use super::support::{Memory, ROOT, all_keys, evaluated, lock, manifest, manifest_in, requested};

/// A system that is small but has one of everything.
const TINY: &str = r#"
[flake]
name = "tiny"
targets = ["x86_64", "aarch64"]

[seed.base]
debian = "bookworm"
packages = ["dash", "make"]
exclude = ["dpkg"]
remove = ["/usr/share/**"]

[source.musl]
url = "debian:pool/main/m/musl/musl_1.2.5.orig.tar.gz"

[package.cc]
description = "a compiler"
root = "base"
script = "cc/build.sh"
tool = true
at = "/toolchain"

[package.headers]
description = "headers"
source = "musl"
root = "base"
materials = []
at = "/sysroot"
script = "headers.sh"

[package.musl]
source = "musl"
root = "base"
tools = ["cc"]
materials = ["headers"]
at = "/sysroot"
script = "musl.sh"
files = ["lib/common.sh"]
env = { ARCH = "${target}" }

[package.sh]
root = "base"
tools = ["cc"]
materials = ["musl", "headers"]
script = "sh.sh"
patches = ["fix.patch"]
runtime = ["musl"]
limits = { memory = "1GiB" }

[format.tar]
root = "base"
script = "pack.sh"
file = "rootfs.tar.xz"

[rootfs.tiny]
packages = ["sh"]
files = { "/init" = { from = "init", mode = "0755" }, "/etc/motd" = { text = "hi\n", owner = "0:5" } }
directories = { "/proc" = { mode = "0555" } }
devices = ["/dev/console c 5 1 0622"]
users = ["root:0:0::/root:/bin/sh"]

[image.tiny]
rootfs = "tiny"
kernel = "sh"
formats = ["tar"]
cmdline = "console=${console}"

[boot-check.tiny]
image = "tiny"
expect = "up"
"#;

fn files_in(root: &str) -> Memory {
    Memory::default()
        .with(&format!("{root}/cc/build.sh"), "cc\n")
        .with(&format!("{root}/headers.sh"), "headers\n")
        .with(&format!("{root}/musl.sh"), "musl\n")
        .with(&format!("{root}/sh.sh"), "sh\n")
        .with(&format!("{root}/pack.sh"), "pack\n")
        .with(&format!("{root}/fix.patch"), "patch\n")
        .with(&format!("{root}/lib/common.sh"), "common\n")
        .with(&format!("{root}/init"), "#!/bin/sh\n")
}

fn tiny(want: &[&str], targets: &[Target]) -> Evaluation {
    evaluated(TINY, want, targets, &files_in(ROOT))
}

/// Every derivation with its edges.
fn describe(evaluation: &Evaluation) -> String {
    let mut out = String::new();
    for (_, derivation) in evaluation.graph.iter() {
        let target = derivation.target.map_or("", |target| target.name());
        let kind = derivation.builder.kind();
        _ = writeln!(out, "{} [{kind}] {target}", derivation.name);
        for input in &derivation.inputs {
            let name = &evaluation.graph.get(input.derivation).name;
            _ = writeln!(
                out,
                "    {} {} = {name}#{}",
                input.role.name(),
                input.at,
                input.output
            );
        }
    }
    out
}

/// Name and both keys of every derivation.
fn keys(evaluation: &Evaluation) -> Vec<(String, String, String)> {
    let keys = all_keys(evaluation, Target::X86_64);
    let named = evaluation.graph.iter().zip(keys);
    named
        .map(|((_, derivation), keys)| {
            let (action, recipe) = (keys.action.to_string(), keys.recipe.to_string());
            (derivation.name.clone(), action, recipe)
        })
        .collect()
}

#[test]
fn the_graph_of_an_image() {
    expect![[r#"
        cc.recipe [local] 
        dash_1.0.deb [fetch] 
        make_1.0.deb [fetch] 
        seed.base [compose] 
            material dash = dash_1.0.deb#out
            material make = make_1.0.deb#out
        cc [exec] 
            root / = seed.base#out
            material /in/recipe = cc.recipe#out
        source.musl [fetch] 
        headers.recipe [local] 
        headers [exec] x86_64
            root / = seed.base#out
            material /in/recipe = headers.recipe#out
            material /src = source.musl#out
        musl.recipe [local] 
        musl [exec] x86_64
            root / = seed.base#out
            material /in/recipe = musl.recipe#out
            material /src = source.musl#out
            material /sysroot = headers#out
            tool /toolchain = cc#out
        sh.recipe [local] 
        merge.sysroot [compose] x86_64
            material headers = headers#out
            material musl = musl#out
        sh [exec] x86_64
            root / = seed.base#out
            material /in/recipe = sh.recipe#out
            material /sysroot = merge.sysroot#out
            tool /toolchain = cc#out
        tiny.files [local] 
        rootfs.tiny [rootfs] x86_64
            material musl = musl#out
            material sh = sh#out
            material (files) = tiny.files#out
        rootfs.tiny.tar [archive] x86_64
            material rootfs = rootfs.tiny#out
        tar.recipe [local] 
        format.tar [exec] x86_64
            root / = seed.base#out
            material /in/recipe = tar.recipe#out
            material /in/rootfs = rootfs.tiny.tar#out
        tiny.cmdline [local] 
        image.tiny [compose] x86_64
            material kernel = sh#out
            material format.tar = format.tar#out
            material cmdline = tiny.cmdline#out
    "#]]
    .assert_eq(&describe(&tiny(&["tiny"], &[Target::X86_64])));
}

#[test]
fn golden_keys() {
    let rows = keys(&tiny(&["tiny"], &[Target::X86_64]));
    let text: String = rows
        .iter()
        .map(|(name, k, c)| format!("{name}\n  K {k}\n  C {c}\n"))
        .collect();
    // A change here is a change of what a key means: every store starts anew.
    expect![[r#"
        cc.recipe
          K a68f92bcad410747be2715eabf12b7f562ac5641cc771f8f4c6ca7410f681ae9
          C 6bef56188f49b2f697647d31a47d6014cfdba35b1c939c0c1b2a116c45913276
        dash_1.0.deb
          K a6b44e67ceedac8732c468dc59468309d06fa7aa8448c66127a95d3c4ac22e2b
          C 112b397898a740b1ae2fb343fb5cbe37afea799876b10aac48748e6216f650fe
        make_1.0.deb
          K 566abbe3c98b1ec854942624faa899f4125f1a16e3c564c3869d7217be74fb07
          C 1c7888de82cb329bed058501e6434948c57e6121b521c9875582b5aced743b6b
        seed.base
          K e75fc97c3ee7196947fbeee8f342f413c9dd487ad73df18858ce24a0bdfc65ca
          C 8485f596207eac53c847134d98e480e300963f20771c147d3432302df5b91ce9
        cc
          K 5138cc3ef07b08c6a5c861524a3abdfef313dc40d9a85ad0c303c80c0906aa67
          C b35890a223fb7a0b43fce771635dc410fa59b8949e8a57c80be40d541f47d681
        source.musl
          K c01c894ade9e8d23684cf98aeced50200cbf52696ecc6604f84183bbd8a65fee
          C 6296aa64b44ed8f8e7cabdace11cc33187440314a4d31a7805c50e458b6e4abc
        headers.recipe
          K bcbef594ac23b765e8b18636ddf6f8432ef15ce4144075ae622b18964a1b4a51
          C c00528a8f32471638027df768350f708353119e191960d74770f66126ce463df
        headers
          K 0ee66f77b4ee4b03743387619dfb5b6541b3175a6ed1b3e5b25fcef773688661
          C e21bf30f43b80066ed25efde6f941c73e46b06b1fdcb3a1d4d06dcb080d494fb
        musl.recipe
          K ad38a087a936fa4c3798df225e9e509f0955a59452411ef05f75bfec7f7213f7
          C 9f7af526d2445f931abf238322d1a3980831200094a7e13cba7b7f67bb03a9e4
        musl
          K b66ac7844f3f4e8e1ab0fd1fcb0ccac6c0add9b240a2f3f084e7385f6132d76e
          C 798d1e025e3d66199a42efca2db522e1a27fe2353ebd8a66763b11352fe08f7a
        sh.recipe
          K 0d881549773e75fb6b1d83f23bf81614f03c43d95da73a0d714bf3ddb904b504
          C 14516c6c59b4ce27897cb68c299e9f28db5e32144836ae7c4a52778be677fa77
        merge.sysroot
          K 7cdc2ce5d392b27afd9cab6235143b3acdc45ebae5499d4e8dae3167c99e6a00
          C abecec3fc769f8775771ee114dd88da58ce5d26bac39fe192c1e016e55bfeff7
        sh
          K 61814b26bc2273d270423f7d63ccf2d6a5d6886520b1a55502daf9c7126c40fa
          C 842333c06180200036aff081f44bd2ddb59ac2d6958b261e736b3c75eb9785e4
        tiny.files
          K 23e7950ddc09b58650bb5f96a79664e4ab925d50e957703db99d65ace38d5389
          C 71defb5f9263157d7e27e427710a07d1bee8164709e9d3321763fb90c3f6bd0d
        rootfs.tiny
          K 220c513d946f1aba8df2287959ef7a640c844e0952be6b0a44a9e2a454263565
          C 99c4707b3ce66185ac5cd6c6dd1d510a7ad2f2d06191132c22d624abc72492d4
        rootfs.tiny.tar
          K 7b932bab0ca8542e053ac3e2a45e2eca1713ae34a8f114bae7ca64a6f6e6c733
          C 75945d1f1292334387c8967229cb557a22e7fae5b39864f479371d8a52c526f4
        tar.recipe
          K 8a3a6bf3b72fab5fef464f91848aa806c22b937f6de76be48f7e6b129b330e02
          C 5b7d671c77b73fdf6238b9bcb5eee746c70d048ad755dad4d06ca3529bf574a6
        format.tar
          K b679191b8f61655aaaaf8cc57af20a9dca3cb97e26af736875e70a1e612520b6
          C 4ab2bd37a9c89bd9070530b190c821d6f067d5ecd6205c1a161c8795b0fbed0f
        tiny.cmdline
          K 8c7c00d4e95ca9002aafdccd078b6a25474b074fc3579c4db5744025629649c9
          C 71db495eeaa59ddb4b3ebcf42264dc96e5c83f603f6f2ade8dcd7330bb752677
        image.tiny
          K 46aa81404ae206a4d6e584d9eedcc37ba4a9ee0388bd08d8df97151f6a28d1ce
          C 44e2367a3feb727c89074ec465ac13151ed163cdb18048f044c9a2fc1096f7f1
    "#]]
    .assert_eq(&text);
}

#[test]
fn keys_do_not_depend_on_what_is_cosmetic() {
    let plain = keys(&tiny(&["tiny"], &[Target::X86_64]));

    // Descriptions, the order of tables, and entries that are not used.
    let text = TINY.replace("\"headers\"\nsource", "\"other words\"\nsource");
    let (head, tail) = text.split_at(text.find("[package.musl]").expect("is there"));
    let (flake, rest) = head.split_at(head.find("[seed.base]").expect("is there"));
    let unused = "[package.unused]\nroot = 'base'\nscript = 'nowhere.sh'\ntools = ['cc']\n";
    let moved = format!("{flake}{tail}{unused}{rest}");
    let other = keys(&evaluated(
        &moved,
        &["tiny"],
        &[Target::X86_64],
        &files_in(ROOT),
    ));
    assert_eq!(plain, other);

    // The place of the manifest on this machine.
    let manifest = manifest_in("/else/where", TINY).expect("is sound");
    let request = requested(&["tiny"], &[Target::X86_64]);
    let files = files_in("/else/where");
    let moved = evaluate(&manifest, &lock(&manifest), &request, &files).expect("is sound");
    assert_eq!(plain, keys(&moved));
}

#[test]
fn keys_depend_on_what_is_built() {
    let plain = keys(&tiny(&["musl"], &[Target::X86_64]));
    let changed = |from: &str, to: &str| {
        let text = TINY.replace(from, to);
        keys(&evaluated(
            &text,
            &["musl"],
            &[Target::X86_64],
            &files_in(ROOT),
        ))
    };
    for (from, to) in [
        ("ARCH = \"${target}\"", "ARCH = \"other\""),
        (
            "packages = [\"dash\", \"make\"]",
            "packages = [\"dash\", \"gcc\"]",
        ),
        ("script = \"musl.sh\"", "script = \"headers.sh\""),
        (
            "files = [\"lib/common.sh\"]",
            "files = { x = \"lib/common.sh\" }",
        ),
    ] {
        assert_ne!(plain.last(), changed(from, to).last(), "{from} became {to}");
    }
    let edited = files_in(ROOT).with("/flake/lib/common.sh", "edited");
    let edited = keys(&evaluated(TINY, &["musl"], &[Target::X86_64], &edited));
    assert_ne!(plain.last(), edited.last());
}

#[test]
fn build_platforms_share_recipe_keys_and_nothing_else() {
    let manifest = manifest(TINY);
    let on = |build_platform| {
        let mut request = requested(&["headers"], &[Target::X86_64]);
        request.build_platform = build_platform;
        let found = evaluate(&manifest, &lock(&manifest), &request, &files_in(ROOT));
        let found = found.expect("is sound");
        *all_keys(&found, build_platform)
            .last()
            .expect("has derivations")
    };
    let (here, there) = (on(Target::X86_64), on(Target::Aarch64));
    assert_eq!(here.recipe, there.recipe);
    assert_ne!(here.action, there.action);
}

#[test]
fn targets_share_what_does_not_depend_on_them() {
    let evaluation = tiny(&["musl", "cc"], &Target::ALL);
    let names: Vec<&str> = evaluation
        .graph
        .iter()
        .map(|(_, d)| d.name.as_str())
        .collect();
    let count = |name: &str| names.iter().filter(|n| **n == name).count();
    assert_eq!(
        [
            count("cc"),
            count("seed.base"),
            count("source.musl"),
            count("musl")
        ],
        [1, 1, 1, 2]
    );
    let roots = evaluation
        .roots
        .iter()
        .map(|root| format!("{}@{:?}", root.wanted, root.target));
    assert_eq!(
        roots.collect::<Vec<_>>(),
        ["musl@Some(X86_64)", "musl@Some(Aarch64)", "cc@None"],
    );
}

#[test]
fn parts_and_kinds_can_be_asked_for() {
    let name = |want: &str| {
        let evaluation = tiny(&[want], &[Target::Aarch64]);
        evaluation
            .graph
            .get(evaluation.roots[0].derivation)
            .name
            .clone()
    };
    assert_eq!(name("tiny"), "image.tiny");
    assert_eq!(name("image.tiny#tar"), "format.tar");
    assert_eq!(name("tiny:tar"), "format.tar");
    assert_eq!(name("rootfs.tiny"), "rootfs.tiny");
    assert_eq!(name("rootfs.tiny#tar"), "rootfs.tiny.tar");
    assert_eq!(name("source.musl"), "source.musl");
    assert_eq!(name("musl"), "musl");
    assert_eq!(name("base"), "seed.base");
}

#[test]
fn overrides_and_templates() {
    let text = r#"
[flake]
name = "t"
[seed.base]
debian = "bookworm"
packages = ["dash"]
[template.make]
root = "base"
script = "make.sh"
env = { A = "template", B = "template" }
files = { one = "one" }
target.aarch64.env = { C = "template" }
[package.a]
template = "make"
env = { B = "package", D = "$${plain} ${flake.name}" }
target.aarch64.env = { D = "${target.debian}" }
target.aarch64.files = { two = "two" }
"#;
    let files = Memory::default()
        .with("/flake/make.sh", "make")
        .with("/flake/one", "1")
        .with("/flake/two", "2");
    let found = |target| {
        let evaluation = evaluated(text, &["a"], &[target], &files);
        let derivation = evaluation.graph.get(evaluation.roots[0].derivation);
        let Builder::Exec(exec) = &derivation.builder else {
            panic!("a package is executed");
        };
        let recipe = derivation
            .inputs
            .iter()
            .find(|i| i.at == "/in/recipe")
            .expect("has files");
        let Builder::Local(local) = &evaluation.graph.get(recipe.derivation).builder else {
            panic!("a recipe is local");
        };
        format!("{:?} {:?}\n{:#?}", exec.argv, exec.env, local.origin)
    };
    expect![[r#"
        ["/bin/sh", "-eu", "/in/recipe/make.sh"] {"A": "template", "B": "package", "D": "${plain} t", "KILN_TARGET": "x86_64"}
        Files(
            [
                LocalFile {
                    name: "make.sh",
                    content: Path(
                        "/flake/make.sh",
                    ),
                    executable: false,
                },
                LocalFile {
                    name: "one",
                    content: Path(
                        "/flake/one",
                    ),
                    executable: false,
                },
            ],
        )"#]].assert_eq(&found(Target::X86_64));
    expect![[r#"
        ["/bin/sh", "-eu", "/in/recipe/make.sh"] {"A": "template", "B": "package", "C": "template", "D": "arm64", "KILN_TARGET": "aarch64"}
        Files(
            [
                LocalFile {
                    name: "make.sh",
                    content: Path(
                        "/flake/make.sh",
                    ),
                    executable: false,
                },
                LocalFile {
                    name: "one",
                    content: Path(
                        "/flake/one",
                    ),
                    executable: false,
                },
                LocalFile {
                    name: "two",
                    content: Path(
                        "/flake/two",
                    ),
                    executable: false,
                },
            ],
        )"#]].assert_eq(&found(Target::Aarch64));
}

#[test]
fn a_root_file_system_says_what_its_tree_cannot() {
    let evaluation = tiny(&["rootfs.tiny"], &[Target::X86_64]);
    let root = evaluation.graph.get(evaluation.roots[0].derivation);
    expect![[r#"
        Rootfs(
            Rootfs {
                modes: {
                    "/etc/motd": Attributes {
                        mode: 420,
                        uid: 0,
                        gid: 5,
                    },
                },
                devices: {
                    "/dev/console": Device {
                        block: false,
                        major: 5,
                        minor: 1,
                        attributes: Attributes {
                            mode: 402,
                            uid: 0,
                            gid: 0,
                        },
                    },
                },
                directories: {
                    "/proc": Attributes {
                        mode: 365,
                        uid: 0,
                        gid: 0,
                    },
                },
                links: {},
                users: [
                    "root:x:0:0::/root:/bin/sh",
                ],
                groups: [
                    "root:x:0:",
                ],
                remove: [],
                prefer: {
                    "/etc/motd": "(files)",
                    "/init": "(files)",
                },
            },
        )"#]]
    .assert_eq(&format!("{:#?}", root.builder));
}

#[test]
fn a_boot_check_is_data() {
    let manifest = manifest(TINY);
    let platforms = (Target::X86_64, Target::Aarch64);
    let (graph, info) = kiln_derivations::manifest::evaluate::boot_check(
        &manifest,
        &lock(&manifest),
        "tiny",
        platforms,
        &files_in(ROOT),
    )
    .expect("is sound");
    assert_eq!(graph.get(info.image.derivation).name, "image.tiny");
    assert_eq!(info.image.cmdline, "console=ttyAMA0");
    assert_eq!(
        (info.expect.as_str(), info.limit_s, info.cpus),
        ("up", 300, 1)
    );
}

#[test]
fn a_material_seed_is_the_targets_own() {
    let text = TINY.replace(
        "materials = [\"headers\"]",
        "materials = [\"headers\", \"seed.base\"]",
    );
    let evaluation = evaluated(&text, &["musl"], &[Target::Aarch64], &files_in(ROOT));
    let seeds = evaluation
        .graph
        .iter()
        .filter(|(_, d)| d.name == "seed.base");
    let targets: Vec<Option<Target>> = seeds.map(|(_, d)| d.target).collect();
    assert_eq!(targets, [None, Some(Target::Aarch64)]);
}
