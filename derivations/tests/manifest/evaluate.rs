//! What evaluation makes of a manifest, and what its keys depend on.

use std::collections::BTreeMap;
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
          K e13f731adb41d62b9e90f35686d6d46cc30108e827cc03a2d820b32a28deba26
          C 258e8f00b6db850f6ea7dac1c33ae640cccbb72239815b7b77e3c3b262bb535a
        dash_1.0.deb
          K 8b7d7308c4b97f95dde2d247774d078c7e2f09b424b29fc7f6670491bbe8710e
          C 4f25b73029303294cd53a44f7e161800c9c7877a1e5fcaf9755e021213b4595c
        make_1.0.deb
          K 4d45d01fda9c000d92829e02ecc9b88eb2e162a258b1d424042de5b7d0b28deb
          C 61f32ad2e9c001b4439906474c261a7e0def4e83d880bf1c343bcfccd77d7dd5
        seed.base
          K a85b87cc68abe66755b022c6d7a91bc8486097614465ab9c1716d3a89dfae865
          C 56673d6b80b316c9fc8f274d11106c6b8bc8dc56c1e2bb6f2d194221cc1dd658
        cc
          K 83a28fb8e7569bf8b7e839d40dbf40cb80e7fb98d9019d362ff06075a6a7926e
          C 6735456a492533790e68658aa778a9068c83f91689ae9043a1ad651f538705ea
        source.musl
          K d8d2ebadba354e277375ef0d269079674fe2b4d64d234da8b0d4303ead1a8275
          C ee4c6cdeb7af9ea843c1f56b7133526c97a981fc445766de12b71f383e2df3d2
        headers.recipe
          K d54bb200b814b5c83f06b3f8240c9449fc3a30fd1046cb76a552ff676f267113
          C 9b84bdb359327e1e852456b0e883d52dff09f07262585a5486e4bae8ffdef011
        headers
          K e0fc060cb01533c66b8737979a7293a9de97ce65e4ece1cd03087ed3ccdc0956
          C b2ae15b241c13d50635c47a3e9f66825b130c35f78d3c855de6f986311da58e2
        musl.recipe
          K 0ae1ebecfd00a34b2733afb0df0e627aeca4fc958a3df32e6d0d5c9cb59083f9
          C 66323c7550a3d77649b140d55e326608d20e47cf776ceba6a143470091b50b88
        musl
          K cc87bfb151a34b24a3878e40896b458f75a155d4f8f5ec4d71989e6524c03be8
          C 945537fea46f4fff82cba3428d37ba8ddb698e6beb62ae04f937896a493844e1
        sh.recipe
          K 0ddd5d57d2f822bbd0ce5f5f85b0aaf6939ec24a447bb8ef5642e1e8585750e8
          C df3158c8331ac9a255449d97e2410d99c097d68f66909005af4eb5cfae1e73ec
        merge.sysroot
          K 4ba34ce9a80f51f1a1cc0cb9a79703e23af4a39716084d44e378a0eae9ba52db
          C 6827f9603ddcd0ef79919b132d14233ff462326dca78fbc82c29b8b54f275768
        sh
          K f8d67bda2237a2d0a4cba8602187f70e7bf1b720c97905a3d0abc89d1265d4fe
          C ad24fd33dd623273ad9e675583da389612bf94d603f70b2bc0002f772c684dfe
        tiny.files
          K 975a9ada9d76d5b46e12858bfda0ec479e22c605af6dc8ee6d8915020e4c49bb
          C 2ad908be1fb18b1072aca94fa913a4e448d053d6163c756d035b4e73766997ac
        rootfs.tiny
          K bc7e2c99099c2e2f354543b56afc6a9778730e56c02634f8f2858dc94edc6e4c
          C 6c72d7dd9e8a7186526907b9ed45e11fcf14f05a7a0bcb678d0e7574d1208757
        rootfs.tiny.tar
          K 0b01aabd1e82dce4d619f060ca7c1e80d84c4edb8162dde91209450f41c132ff
          C 3b35d886b643dd88045f500427efc9244b49ee0158d0d2525ce748e57cc7460f
        tar.recipe
          K 48fc96ec77acc467aa3a3056c1e3afd781b79627af3754bc213c37dfd6121f23
          C 53cf8c0f5662d8949a2d33ea032ee973d26e978e90e8c51c0832400f83c86422
        format.tar
          K c048eeffcc967be10d5d1372f0bc1ac22fb64555514fd7d20e72d4c306e6e14c
          C 56b2b36b74d707c9ab653e67da86cc722d80a4ff2ea4d39ac86c4619c473238c
        tiny.cmdline
          K e78c67c27a16e8ba9c6ebec131e543fdc95c0205190451b692d85ff586635c4b
          C a4a939ab2590e0ddc158c16fc501751ea0b04d199c77a09744e9352eab5b7e58
        image.tiny
          K 3225fae757640b921b28ee9e7c0d0d307579028aa47f8b992080f3a6424be486
          C c38501c7bad42c964e2b55b14ce31384050a172e50ddd05d4ad41311eefdbb9f
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

/// What the platforms build with `cc` meets under one C, although they have
/// different bytes of `cc`; the claims about `cc` and the root do not meet.
#[test]
fn build_platforms_share_recipe_keys_but_for_what_is_executed() {
    let manifest = manifest(TINY);
    let on = |build_platform| {
        let mut request = requested(&["sh"], &[Target::X86_64]);
        request.build_platform = build_platform;
        let found = evaluate(&manifest, &lock(&manifest), &request, &files_in(ROOT));
        let found = found.expect("is sound");
        let keys = all_keys(&found, build_platform);
        let named = found.graph.iter().zip(keys);
        named
            .map(|((_, derivation), keys)| (derivation.name.clone(), keys))
            .collect::<BTreeMap<_, _>>()
    };
    let (here, there) = (on(Target::X86_64), on(Target::Aarch64));
    for name in ["headers", "musl", "sh"] {
        assert_eq!(here[name].recipe, there[name].recipe, "{name}");
        assert_ne!(here[name].action, there[name].action, "{name}");
    }
    for name in ["cc", "seed.base"] {
        assert_ne!(here[name].recipe, there[name].recipe, "{name}");
        assert_eq!(here[name].lineage, there[name].lineage, "{name}");
    }
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
