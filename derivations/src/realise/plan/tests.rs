//! Plans over a world that remembers what it was told.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;

use kiln_store::hash::Digest;

use super::*;
use crate::derivation::{Builder, Fetch, Input, Local, LocalOrigin, OUT, Role, Unpack};

/// Knows what it is told, and remembers it.
#[derive(Default)]
struct World {
    known: RefCell<BTreeMap<ActionKey, OutputMap>>,
    present: RefCell<HashSet<TreeId>>,
    /// What others claim, if anybody is asked, and who was asked about.
    claims: Option<BTreeMap<RecipeKey, Claim>>,
    asked: RefCell<Vec<String>>,
}

impl Oracle for World {
    type Error = Infallible;

    fn outputs(&self, action: &ActionKey) -> Result<Option<OutputMap>, Infallible> {
        Ok(self.known.borrow().get(action).cloned())
    }

    fn is_present(&self, tree: &TreeId) -> Result<bool, Infallible> {
        Ok(self.present.borrow().contains(tree))
    }

    fn asks_others(&self) -> bool {
        self.claims.is_some()
    }

    fn claimed(&self, asked: &[Asked<'_>]) -> Result<Vec<Option<Claim>>, Infallible> {
        let claims = self.claims.as_ref().expect("somebody is asked");
        let names = asked.iter().map(|it| it.name.to_owned());
        self.asked.borrow_mut().extend(names);
        Ok(asked
            .iter()
            .map(|it| claims.get(&it.recipe).cloned())
            .collect())
    }
}

fn tree(text: &str) -> TreeId {
    TreeId(Digest::of(text.as_bytes()))
}

fn step(name: &str, source: &str, inputs: &[DerivationId]) -> Derivation {
    let input = |&derivation| Input {
        derivation,
        output: OUT.to_owned(),
        role: Role::Material,
        at: "/src".to_owned(),
    };
    Derivation {
        name: name.to_owned(),
        description: String::new(),
        target: None,
        executed_on: None,
        builder: Builder::Fetch(Fetch {
            urls: Vec::new(),
            first_seen: String::new(),
            hash: source.to_owned(),
            size_bytes: 0,
            unpack: Unpack::Git,
        }),
        inputs: inputs.iter().map(input).collect(),
        outputs: vec![OUT.to_owned()],
    }
}

/// source → compile → image, the source's content as given.
fn chain(source: &str) -> (Graph, [DerivationId; 3]) {
    let mut graph = Graph::default();
    let a = graph.add(step("source", source, &[]));
    let b = graph.add(step("compile", "cc", &[a]));
    let c = graph.add(step("image", "pack", &[b]));
    (graph, [a, b, c])
}

/// Runs a plan to its end; `make` says what a derivation's output is.
fn run(
    world: &World,
    graph: &Graph,
    root: DerivationId,
    make: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let mut plan = Plan::new(graph, &[root], true);
    let mut built = Vec::new();
    loop {
        let Ok(ready) = plan.advance(world);
        let Some(&id) = ready.first() else {
            return built;
        };
        plan.start(id);
        let State::Running(keys) = *plan.state(id) else {
            unreachable!()
        };
        let name = graph.get(id).name.clone();
        let output = tree(&make(&name));
        let outputs = vec![(OUT.to_owned(), output)];
        world.present.borrow_mut().insert(output);
        world
            .known
            .borrow_mut()
            .insert(keys.action, outputs.clone());
        plan.finish(id, outputs);
        built.push(name);
    }
}

#[test]
fn builds_each_once_and_then_nothing() {
    let world = World::default();
    let (graph, [_, _, root]) = chain("v1");
    let make = |name: &str| name.to_owned();
    assert_eq!(
        run(&world, &graph, root, &make),
        ["source", "compile", "image"]
    );
    assert_eq!(run(&world, &graph, root, &make), Vec::<String>::new());
}

#[test]
fn stops_where_an_output_did_not_change() {
    let world = World::default();
    let make = |name: &str| name.to_owned();
    let (graph, [_, _, root]) = chain("v1");
    run(&world, &graph, root, &make);
    let (changed, [_, _, root]) = chain("v2: a comment");
    // The source differs, but what is made of it does not.
    assert_eq!(run(&world, &changed, root, &make), ["source"]);
}

#[test]
fn does_not_ask_for_bytes_that_no_one_reads() {
    let world = World::default();
    let make = |name: &str| name.to_owned();
    let (graph, [_, _, root]) = chain("v1");
    run(&world, &graph, root, &make);
    world.present.borrow_mut().remove(&tree("source"));
    world.present.borrow_mut().remove(&tree("compile"));
    assert_eq!(run(&world, &graph, root, &make), Vec::<String>::new());
    world.present.borrow_mut().remove(&tree("image"));
    assert_eq!(
        run(&world, &graph, root, &make),
        ["source", "compile", "image"]
    );
}

#[test]
fn skips_what_needs_a_failure_and_nothing_else() {
    let world = World::default();
    let mut graph = Graph::default();
    let a = graph.add(step("a", "1", &[]));
    let b = graph.add(step("b", "2", &[a]));
    let c = graph.add(step("c", "3", &[]));
    let d = graph.add(step("d", "4", &[b, c]));
    let mut plan = Plan::new(&graph, &[d], true);
    let Ok(ready) = plan.advance(&world);
    assert_eq!(ready, [a, c]);
    plan.start(a);
    plan.fail(a);
    let Ok(ready) = plan.advance(&world);
    assert_eq!(ready, [c]);
    assert_eq!(*plan.state(b), State::Skipped);
    assert_eq!(*plan.state(d), State::Skipped);
}

/// seed (a tool of compile), source → compile → image.
fn with_tool(source: &str) -> (Graph, [DerivationId; 4]) {
    let mut graph = Graph::default();
    let seed = graph.add(step("seed", "tools", &[]));
    let a = graph.add(step("source", source, &[]));
    let mut compile = step("compile", "cc", &[a]);
    compile.inputs.push(Input {
        derivation: seed,
        output: OUT.to_owned(),
        role: Role::Tool,
        at: "/toolchain".to_owned(),
    });
    let b = graph.add(compile);
    let c = graph.add(step("image", "pack", &[b]));
    (graph, [seed, a, b, c])
}

/// Builds everything elsewhere and returns a world that knows nothing itself, and
/// whom others tell all that they built but `unclaimed`.
fn after_others(graph: &Graph, root: DerivationId, unclaimed: &[&str]) -> World {
    let elsewhere = World::default();
    run(&elsewhere, graph, root, &str::to_owned);
    let mut plan = Plan::new(graph, &[root], false);
    let Ok(_) = plan.advance(&elsewhere);
    let mut claims = BTreeMap::new();
    for (id, state) in plan.states() {
        let (keys, outputs) = state.outputs().expect("it was built");
        let claim = Claim {
            action: keys.action,
            outputs: outputs.clone(),
        };
        if !unclaimed.contains(&graph.get(id).name.as_str()) {
            claims.insert(keys.recipe, claim);
        }
    }
    World {
        claims: Some(claims),
        ..World::default()
    }
}

/// What can be started, with what it would be.
fn ready(plan: &mut Plan<'_>, graph: &Graph, world: &World) -> Vec<String> {
    let Ok(ready) = plan.advance(world);
    let describe = |id: &DerivationId| match plan.state(*id) {
        State::Absent(..) => format!("pull {}", graph.get(*id).name),
        State::Missing(_) => format!("build {}", graph.get(*id).name),
        other => panic!("not startable: {other:?}"),
    };
    ready.iter().map(describe).collect()
}

#[test]
fn what_others_built_needs_nothing_that_it_was_built_with() {
    let (graph, [seed, source, _, image]) = with_tool("v1");
    let world = after_others(&graph, image, &["seed"]);
    let mut plan = Plan::new(&graph, &[image], true);
    assert_eq!(ready(&mut plan, &graph, &world), ["pull image"]);
    // Nobody asked about the tool, and of the source only its digest is known.
    assert_eq!(*world.asked.borrow(), ["source", "compile", "image"]);
    assert_eq!(*plan.state(seed), State::Unresolved);
    assert!(matches!(plan.state(source), State::Claimed(..)));
    plan.start(image);
    plan.finish(image, vec![(OUT.to_owned(), tree("image"))]);
    assert_eq!(ready(&mut plan, &graph, &world), [""; 0]);
    assert_eq!(plan.unfinished(), []);
}

#[test]
fn what_nobody_built_needs_the_direct_inputs_and_no_more() {
    let (graph, [_, _, compile, image]) = with_tool("v1");
    let world = after_others(&graph, image, &["image"]);
    let mut plan = Plan::new(&graph, &[image], true);
    assert_eq!(ready(&mut plan, &graph, &world), ["pull compile"]);
    plan.start(compile);
    plan.finish(compile, vec![(OUT.to_owned(), tree("compile"))]);
    assert_eq!(ready(&mut plan, &graph, &world), ["build image"]);
}

#[test]
fn a_tool_that_nobody_built_is_built_for_what_nobody_built() {
    let (graph, [seed, _, _, image]) = with_tool("v1");
    let world = after_others(&graph, image, &["seed", "compile", "image"]);
    let mut plan = Plan::new(&graph, &[image], true);
    assert_eq!(ready(&mut plan, &graph, &world), ["build seed"]);
    plan.start(seed);
    plan.finish(seed, vec![(OUT.to_owned(), tree("seed"))]);
    assert_eq!(ready(&mut plan, &graph, &world), ["pull source"]);
}

#[test]
fn what_others_cannot_give_is_built_from_what_they_can() {
    let (graph, [_, _, compile, image]) = with_tool("v1");
    let world = after_others(&graph, image, &[]);
    let mut plan = Plan::new(&graph, &[image], true);
    assert_eq!(ready(&mut plan, &graph, &world), ["pull image"]);
    plan.start(image);
    plan.refuse(image);
    assert_eq!(
        plan.refused(image),
        Some(&vec![(OUT.to_owned(), tree("image"))])
    );
    assert_eq!(ready(&mut plan, &graph, &world), ["pull compile"]);
    plan.start(compile);
    plan.refuse(compile);
    assert_eq!(
        ready(&mut plan, &graph, &world),
        ["pull seed", "pull source"]
    );
}

#[test]
fn nobody_is_asked_about_files_that_are_here() {
    let mut graph = Graph::default();
    let files = graph.add(Derivation {
        builder: Builder::Local(Local {
            tree: tree("files"),
            origin: LocalOrigin::Files(Vec::new()),
        }),
        ..step("files", "", &[])
    });
    let image = graph.add(step("image", "pack", &[files]));
    let world = World {
        claims: Some(BTreeMap::new()),
        ..World::default()
    };
    let mut plan = Plan::new(&graph, &[image], true);
    // What is built from them is asked about at once, and reads them here.
    assert_eq!(ready(&mut plan, &graph, &world), ["build files"]);
    assert_eq!(*world.asked.borrow(), ["image"]);
    // Whoever wants the files themselves may have them from others.
    let mut plan = Plan::new(&graph, &[files], true);
    assert_eq!(ready(&mut plan, &graph, &world), ["build files"]);
    assert_eq!(*world.asked.borrow(), ["image", "files"]);
}

#[test]
fn bytes_that_were_let_go_are_had_from_others() {
    let (graph, [.., image]) = with_tool("v1");
    let mut world = after_others(&graph, image, &[]);
    let claims = world.claims.take();
    run(&world, &graph, image, &str::to_owned);
    world.claims = claims;
    world.present.borrow_mut().remove(&tree("image"));
    let mut plan = Plan::new(&graph, &[image], true);
    assert_eq!(ready(&mut plan, &graph, &world), ["pull image"]);
    assert_eq!(*world.asked.borrow(), ["image"]);
}

#[test]
fn who_asks_nobody_builds_with_tools_too() {
    let (graph, [.., image]) = with_tool("v1");
    let built = run(&World::default(), &graph, image, &str::to_owned);
    assert_eq!(built, ["seed", "source", "compile", "image"]);
}
