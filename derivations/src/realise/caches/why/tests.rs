//! Causes that are planted, one at a time, between what was shared and what is
//! asked for: each must be named, with the derivation that it is in.

use std::cell::Cell;
use std::collections::BTreeMap;

use kiln_store::cache::memory::Memory;
use kiln_store::hash::{ActionKey, Digest, TreeId};
use kiln_store::realisation::{OutputMap, Realisation, SignedRealisation};
use kiln_store::store::{OpenOptions, Store};
use kiln_store::trust::key::SecretKey;
use kiln_store::trust::policy::{Policy, TrustedKey};
use kiln_store::trust::statement::Statement;

use super::*;
use crate::cancel::Cancel;
use crate::derivation::resolve::{Keys, ResolvedInput, keys};
use crate::derivation::{
    Attributes, Builder, Compose, Derivation, Device, Exec, Fetch, Input, Limits, Local,
    LocalOrigin, OUT, Role, Rootfs, Unpack,
};
use crate::realise::caches::Cache;
use crate::realise::caches::hints::Subjects;
use crate::realise::caches::recipes::project;
use crate::realise::caches::share::Share;

type Planting<'c> = &'c dyn Fn(&mut Derivation);

fn tree(text: &str) -> TreeId {
    TreeId(Digest::of(text.as_bytes()))
}

/// A small system: sources, a seed, a libc, a program of two layers, a root file
/// system and its archive, which is asked for.
struct System<'c> {
    graph: Graph,
    change: Planting<'c>,
}

impl System<'_> {
    fn add(
        &mut self,
        name: &str,
        builder: Builder,
        inputs: &[(DerivationId, Role, &str)],
    ) -> DerivationId {
        let target = !matches!(builder, Builder::Fetch(_) | Builder::Local(_));
        let input = |&(derivation, role, at): &(DerivationId, Role, &str)| Input {
            derivation,
            output: OUT.to_owned(),
            role,
            at: at.to_owned(),
        };
        let outputs: &[&str] = match builder {
            Builder::Local(_) => &[OUT],
            _ => &["doc", OUT],
        };
        let mut derivation = Derivation {
            name: name.to_owned(),
            description: String::new(),
            target: target.then_some(Target::X86_64),
            executed_on: None,
            builder,
            inputs: inputs.iter().map(input).collect(),
            outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
        };
        (self.change)(&mut derivation);
        self.graph.add(derivation)
    }
}

fn fetch(hash: &str, unpack: Unpack) -> Builder {
    Builder::Fetch(Fetch {
        urls: vec!["https://example.org/a".to_owned()],
        first_seen: String::new(),
        hash: hash.repeat(64),
        size_bytes: 1000,
        unpack,
    })
}

fn tar() -> Unpack {
    Unpack::Tar {
        strip: 1,
        keep: vec!["src/*".to_owned()],
    }
}

fn script(platform: Target) -> Exec {
    Exec {
        platform,
        argv: vec!["/bin/bash".to_owned(), "/script/build.sh".to_owned()],
        env: BTreeMap::from([
            ("CFLAGS".to_owned(), "-Os".to_owned()),
            ("LDFLAGS".to_owned(), "-static".to_owned()),
        ]),
        uid: 1000,
        limits: Limits::default(),
        copy_source: false,
        at: None,
    }
}

fn local(text: &str) -> Builder {
    Builder::Local(Local {
        tree: tree(text),
        origin: LocalOrigin::Files(Vec::new()),
    })
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    pairs.iter().map(owned).collect()
}

fn system(platform: Target, change: Planting<'_>) -> (Graph, DerivationId) {
    let mut all = System {
        graph: Graph::default(),
        change,
    };
    let deb = all.add("clang.deb", fetch("d", Unpack::Deb), &[]);
    let seed = Builder::Compose(Compose {
        seed: Some(Digest::of(b"lock record")),
        ..Compose::default()
    });
    let seed = all.add("seed", seed, &[(deb, Role::Material, "clang")]);
    let musl_source = all.add("musl-source", fetch("a", tar()), &[]);
    let source = all.add("busybox-source", fetch("b", tar()), &[]);
    let recipe = all.add("busybox-script", local("make"), &[]);
    let musl = [
        (seed, Role::Root, "/"),
        (musl_source, Role::Material, "/src"),
    ];
    let musl = all.add("musl", Builder::Exec(script(platform)), &musl);
    let busybox = [
        (seed, Role::Root, "/"),
        (source, Role::Material, "/src"),
        (recipe, Role::Material, "/script"),
        (musl, Role::Material, "/sysroot"),
    ];
    let busybox = all.add("busybox", Builder::Exec(script(platform)), &busybox);
    let layers = Builder::Compose(Compose {
        links: texts(&[("/bin/sh", "busybox")]),
        prefer: texts(&[("/lib/*", "musl")]),
        remove: vec!["/usr/share/**".to_owned()],
        ..Compose::default()
    });
    let inputs = [
        (busybox, Role::Material, "busybox"),
        (musl, Role::Material, "musl"),
    ];
    let base = all.add("base", layers, &inputs);
    let null = Device {
        block: false,
        major: 1,
        minor: 3,
        attributes: attributes(0o666),
    };
    let rootfs = Builder::Rootfs(Rootfs {
        modes: BTreeMap::from([("/etc/shadow".to_owned(), attributes(0o600))]),
        devices: BTreeMap::from([("/dev/null".to_owned(), null)]),
        directories: BTreeMap::from([("/tmp".to_owned(), attributes(0o1777))]),
        links: texts(&[("/init", "/bin/sh")]),
        users: vec!["root:x:0:0::/:/bin/sh".to_owned()],
        groups: vec!["root:x:0:".to_owned()],
        ..Rootfs::default()
    });
    let rootfs = all.add("rootfs", rootfs, &[(base, Role::Material, "base")]);
    let image = all.add(
        "image",
        Builder::Archive,
        &[(rootfs, Role::Material, "rootfs")],
    );
    (all.graph, image)
}

fn attributes(mode: u32) -> Attributes {
    Attributes {
        mode,
        uid: 0,
        gid: 0,
    }
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn policy(require: usize, keys: &[(u8, &[&str])]) -> Policy {
    let key = |(seed, names): &(u8, &[&str])| {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        TrustedKey::new(secret(*seed).public(), BTreeMap::new(), &names).expect("globs")
    };
    Policy {
        require,
        distinct: Vec::new(),
        keys: keys.iter().map(key).collect(),
    }
}

fn store(scratch: &tempfile::TempDir) -> Store {
    Store::open(&scratch.path().join("store"), &OpenOptions::default()).expect("a store")
}

/// A team's cache, and the machine of somebody with an empty store.
struct Rig {
    cache: Vec<Cache>,
    policy: Policy,
    store: Store,
    _scratch: tempfile::TempDir,
}

impl Rig {
    fn new(policy: Policy) -> Self {
        let scratch = tempfile::tempdir().expect("room");
        let store = store(&scratch);
        let cache = Cache::new("team", Box::new(Memory::default()), &store).expect("memory");
        Self {
            cache: vec![cache],
            policy,
            store,
            _scratch: scratch,
        }
    }

    /// Somebody else builds all of a system, and shares it. What a derivation makes
    /// is told by its action key and `salt`.
    fn share(&self, by: u8, (graph, root): &(Graph, DerivationId), salt: &str) {
        let scratch = tempfile::tempdir().expect("room");
        let store = store(&scratch);
        let realised = build(&store, graph, salt);
        let share = Share {
            store: &store,
            cache: &self.cache[0],
            key: &secret(by),
            subjects: &[Digest::of(b"sketch")],
            project: &project("team"),
            sources: false,
            watch: &(),
        };
        share.run(graph, &[*root], &realised).expect("it can");
    }

    fn explain(&self, (graph, root): &(Graph, DerivationId)) -> Vec<Explained> {
        self.explain_one(graph, *root)
    }

    fn explain_one(&self, graph: &Graph, root: DerivationId) -> Vec<Explained> {
        let listener: Vec<Box<dyn crate::event::Listener + Send>> = Vec::new();
        let cancel = Cancel::new().expect("a pipe");
        let subjects = Subjects {
            sketches: vec![Digest::of(b"sketch")],
            labels: Vec::new(),
        };
        let caches = Caches::new(
            &self.store,
            &self.policy,
            &self.cache,
            subjects,
            (&listener, &cancel),
        );
        let caches = caches.expect("a store");
        let own = |action: &ActionKey| {
            let own = self.store.realisations_of_action(action);
            let mut own = own.map_err(crate::build::store_error)?.into_iter();
            let own = own.find(|it| it.signature.is_none());
            Ok(own.map(|it| it.realisation.outputs))
        };
        explain(&caches, &own, graph, root, &project("team")).expect("no conflict")
    }
}

/// Registers that everything was built.
fn build(store: &Store, graph: &Graph, salt: &str) -> Vec<(DerivationId, Keys, OutputMap)> {
    let mut realised: Vec<(DerivationId, Keys, OutputMap)> = Vec::new();
    for (id, derivation) in graph.iter() {
        let resolve = |input: &Input| {
            let (_, keys, outputs) = &realised[input.derivation.index()];
            let output = outputs.iter().find(|(name, _)| *name == input.output);
            ResolvedInput {
                tree: output.expect("it has it").1,
                lineage: keys.lineage,
            }
        };
        let inputs: Vec<_> = derivation.inputs.iter().map(resolve).collect();
        let keys = keys(derivation, &inputs);
        let outputs: OutputMap = derivation
            .outputs
            .iter()
            .map(|name| match &derivation.builder {
                Builder::Local(local) => (name.clone(), local.tree),
                _ => (name.clone(), tree(&format!("{salt}{name}{}", keys.recipe))),
            })
            .collect();
        let claim = Realisation {
            recipe: keys.recipe,
            action: keys.action,
            outputs: outputs.clone(),
            build_platform: "x86_64-linux".to_owned(),
            contract: 1,
            facts: Vec::new(),
            key: None,
        };
        let claim = SignedRealisation {
            realisation: claim,
            signature: None,
        };
        store.register(&[claim]).expect("a store");
        realised.push((id, keys, outputs));
    }
    realised
}

fn find(graph: &Graph, name: &str) -> DerivationId {
    let found = graph.iter().find(|(_, it)| it.name == name);
    found.expect("it has it").0
}

/// Everything that differs by itself, as `derivation: field`.
fn causes(explained: &[Explained]) -> Vec<String> {
    let own = explained.iter().flat_map(|it| {
        let own = it.differences.iter().filter(|it| it.follows_from.is_none());
        own.map(|different| format!("{}: {}", it.name, different.difference.field))
    });
    own.collect()
}

/// A change of one derivation.
fn of<'c>(
    name: &'c str,
    change: impl Fn(&mut Derivation) + 'c,
) -> Box<dyn Fn(&mut Derivation) + 'c> {
    Box::new(move |derivation| {
        if derivation.name == name {
            change(derivation);
        }
    })
}

macro_rules! changed {
    ($name:literal, $variant:ident, $it:ident => $change:expr) => {
        of($name, |derivation: &mut Derivation| {
            match &mut derivation.builder {
                Builder::$variant($it) => {
                    $change;
                }
                other => panic!("{other:?}"),
            }
        })
    };
}

#[test]
fn every_planted_cause_is_named() {
    type Planted = (Box<dyn Fn(&mut Derivation)>, &'static str);
    #[rustfmt::skip]
    let planted: Vec<Planted> = vec![
        (changed!("busybox", Exec, it => it.env.insert("CFLAGS".to_owned(), "-O2".to_owned())), "busybox: env.CFLAGS"),
        (changed!("busybox", Exec, it => it.env.insert("NEW".to_owned(), "1".to_owned())), "busybox: env.NEW"),
        (changed!("busybox", Exec, it => it.env.remove("LDFLAGS")), "busybox: env.LDFLAGS"),
        (changed!("busybox", Exec, it => it.argv[1] = "/script/other.sh".to_owned()), "busybox: argv[1]"),
        (changed!("busybox", Exec, it => it.argv.push("-x".to_owned())), "busybox: argv[2]"),
        (changed!("busybox", Exec, it => it.uid = 0), "busybox: uid"),
        (changed!("busybox", Exec, it => it.limits.memory_bytes = Some(1 << 30)), "busybox: memory"),
        (changed!("busybox", Exec, it => it.limits.processes = Some(100)), "busybox: processes"),
        (changed!("busybox", Exec, it => it.copy_source = true), "busybox: copy-source"),
        (changed!("musl", Exec, it => it.at = Some("/sysroot".to_owned())), "musl: at"),
        (of("busybox", |it| it.outputs.push("zlib".to_owned())), "busybox: outputs[2]"),
        (of("busybox", |it| it.target = Some(Target::Aarch64)), "busybox: target"),
        (of("busybox", |it| it.executed_on = Some(Target::X86_64)), "busybox: executed-on"),
        (of("busybox", |it| { it.inputs.remove(2); }), "busybox: input /script"),
        (of("busybox", |it| { it.inputs[2].at = "/in/more".to_owned(); }), "busybox: input /in/more"),
        (of("busybox", |it| it.inputs[3].role = Role::Tool), "busybox: input /sysroot: role"),
        (of("busybox", |it| it.inputs[3].output = "doc".to_owned()), "busybox: input /sysroot: output"),
        (changed!("busybox-script", Local, it => it.tree = tree("make -j")), "busybox-script: tree"),
        (changed!("busybox-source", Fetch, it => it.hash = "c".repeat(64)), "busybox-source: hash"),
        (changed!("busybox-source", Fetch, it => it.size_bytes = 1001), "busybox-source: size"),
        (changed!("musl-source", Fetch, it => it.unpack = Unpack::Tar { strip: 0, keep: vec!["src/*".to_owned()] }), "musl-source: strip"),
        (changed!("musl-source", Fetch, it => it.unpack = Unpack::Tar { strip: 1, keep: Vec::new() }), "musl-source: keep[0]"),
        (changed!("musl-source", Fetch, it => it.unpack = Unpack::Git), "musl-source: unpack"),
        (changed!("seed", Compose, it => it.seed = Some(Digest::of(b"updated"))), "seed: seed"),
        (changed!("base", Compose, it => it.usr_merge = true), "base: usr-merge"),
        (changed!("base", Compose, it => it.skeleton = true), "base: skeleton"),
        (changed!("base", Compose, it => it.remove.clear()), "base: remove[0]"),
        (changed!("base", Compose, it => it.links.insert("/bin/ls".to_owned(), "busybox".to_owned())), "base: links./bin/ls"),
        (changed!("base", Compose, it => it.prefer.insert("/lib/*".to_owned(), "busybox".to_owned())), "base: prefer./lib/*"),
        (of("base", |it| it.inputs.reverse()), "base: order of inputs"),
        (changed!("rootfs", Rootfs, it => it.modes.insert("/etc/shadow".to_owned(), attributes(0o644))), "rootfs: modes /etc/shadow: mode"),
        (changed!("rootfs", Rootfs, it => it.devices.clear()), "rootfs: devices /dev/null"),
        (changed!("rootfs", Rootfs, it => it.directories.insert("/run".to_owned(), attributes(0o755))), "rootfs: directories /run"),
        (changed!("rootfs", Rootfs, it => it.links.clear()), "rootfs: links./init"),
        (changed!("rootfs", Rootfs, it => it.users.push("kiln:x:1:1::/:".to_owned())), "rootfs: users[1]"),
        (changed!("rootfs", Rootfs, it => it.groups[0] = "root:x:0:kiln".to_owned()), "rootfs: groups[0]"),
    ];
    let rig = Rig::new(policy(1, &[(1, &[])]));
    rig.share(1, &system(Target::X86_64, &|_| ()), "");
    assert!(planted.len() >= 20);
    for (change, expected) in &planted {
        let hit = Cell::new(false);
        let changing = |derivation: &mut Derivation| {
            let before = derivation.clone();
            change(derivation);
            hit.set(hit.get() || *derivation != before);
        };
        let explained = rig.explain(&system(Target::X86_64, &changing));
        assert!(hit.get(), "{expected} was not planted");
        let causes = causes(&explained);
        assert_eq!(
            causes.first().map(String::as_str),
            Some(*expected),
            "{expected}: {explained:#?}"
        );
        let first = &explained[0];
        assert_eq!(first.name, "image");
        assert!(first.differences.iter().all(|it| it.follows_from.is_some()));
    }
}

#[test]
fn what_is_cosmetic_is_no_cause() {
    let rig = Rig::new(policy(1, &[(1, &[])]));
    rig.share(1, &system(Target::X86_64, &|_| ()), "");
    let cosmetic = |derivation: &mut Derivation| {
        derivation.description = "other words".to_owned();
        if let Builder::Fetch(it) = &mut derivation.builder {
            it.urls.clear();
        }
    };
    for change in [&cosmetic as Planting<'_>, &|_| ()] {
        let explained = rig.explain(&system(Target::X86_64, change));
        let [image] = &explained[..] else {
            panic!("{explained:#?}");
        };
        // Nothing was really built, so nobody has the bytes.
        let expected = Verdict::Claimed {
            keys: vec![secret(1).public()],
            lost: vec!["doc".to_owned(), OUT.to_owned()],
        };
        assert_eq!((&image.verdict, image.differences.len()), (&expected, 0));
    }
}

/// Where builders run is in no recipe key.
#[test]
fn another_build_platform_is_no_cause() {
    let rig = Rig::new(policy(1, &[(1, &[])]));
    rig.share(1, &system(Target::X86_64, &|_| ()), "");
    let explained = rig.explain(&system(Target::Aarch64, &|_| ()));
    assert!(matches!(explained[0].verdict, Verdict::Claimed { .. }));
}

#[test]
fn an_older_share_is_compared_with_where_it_is_nearer() {
    let rig = Rig::new(policy(1, &[(1, &[])]));
    let flags = |value: &'static str| changed!("busybox", Exec, it => it.env.insert("CFLAGS".to_owned(), value.to_owned()));
    let both = |derivation: &mut Derivation| {
        flags("-O2")(derivation);
        changed!("busybox", Exec, it => it.uid = 0)(derivation);
    };
    rig.share(1, &system(Target::X86_64, &both), "");
    rig.share(1, &system(Target::X86_64, &flags("-O1")), "");
    rig.share(1, &system(Target::X86_64, &flags("-O0")), "");
    let ours = |derivation: &mut Derivation| {
        flags("-O3")(derivation);
        changed!("busybox", Exec, it => it.uid = 0)(derivation);
    };
    let (graph, _) = system(Target::X86_64, &ours);
    let explained = rig.explain_one(&graph, find(&graph, "busybox"));
    assert_eq!(causes(&explained), ["busybox: env.CFLAGS"]);
}

#[test]
fn who_shared_nothing_alike_is_not_compared_with() {
    let rig = Rig::new(policy(1, &[(1, &[])]));
    let explained = rig.explain(&system(Target::X86_64, &|_| ()));
    assert!(explained[0].nearest.is_none());
    assert_eq!(explained[0].name, "image");
    // What is not known goes down to what has to be fetched or built first.
    let last = explained.iter().filter(|it| it.recipe.is_some());
    assert!(last.clone().count() > 0);
    for one in last {
        assert_eq!(one.verdict, Verdict::Unclaimed, "{}", one.name);
    }
}

#[test]
fn claims_that_do_not_count_are_told_with_the_reason() {
    let system = system(Target::X86_64, &|_| ());
    let discounted = |policy: Policy, change: Option<Statement>| {
        let rig = Rig::new(policy);
        rig.share(1, &system, "");
        if let Some(statement) = change {
            let backend = &*rig.cache[0].backend;
            let key = secret(1).public();
            kiln_store::cache::claims::write_statement(backend, &key, &statement).expect("memory");
        }
        // What is known is asked for first: the source of the libc.
        let source = find(&system.0, "musl-source");
        match &rig.explain_one(&system.0, source)[0].verdict {
            Verdict::Discounted { claims } => claims.iter().map(|it| it.why).collect(),
            other => panic!("{other:?}"),
        }
    };
    let unknown: Vec<_> = discounted(policy(1, &[(2, &[])]), None);
    assert_eq!(unknown, [Discounted::UnknownKey]);
    let elsewhere = discounted(policy(1, &[(1, &["linux*"])]), None);
    assert_eq!(elsewhere, [Discounted::NotForThis]);
    let revoked = Statement::revoked(&secret(1), 1);
    let revoked = discounted(policy(1, &[(1, &[])]), Some(revoked));
    assert_eq!(revoked, [Discounted::Revoked]);
}

#[test]
fn too_few_claims_are_counted() {
    let system = system(Target::X86_64, &|_| ());
    let rig = Rig::new(policy(2, &[(1, &[]), (2, &[])]));
    rig.share(1, &system, "");
    let source = find(&system.0, "musl-source");
    let few = Verdict::TooFew { have: 1, need: 2 };
    assert_eq!(rig.explain_one(&system.0, source)[0].verdict, few);
    rig.share(2, &system, "");
    assert!(matches!(
        rig.explain_one(&system.0, source)[0].verdict,
        Verdict::Claimed { .. }
    ));
}

/// What one built here differs from what others made of the same recipe: what is
/// built with it has another key, and the reason is that it is not reproducible.
#[test]
fn another_output_of_one_recipe_is_a_cause() {
    let system = system(Target::X86_64, &|_| ());
    let rig = Rig::new(policy(1, &[(1, &[])]));
    rig.share(1, &system, "");
    build(&rig.store, &system.0, "another ");
    let explained = rig.explain(&system);
    let causes = causes(&explained);
    assert!(
        causes
            .iter()
            .any(|it| it == "busybox-source: output out of the same recipe"),
        "{explained:#?}"
    );
}
