//! kiln beside the least that the same work can cost, measured in one run:
//!
//! ```text
//! cargo bench --package kiln-checks --bench floors -- DIR
//! ```
//!
//! DIR, on the disk that matters, holds the stores and stays for the next run.
//!
//! | work | floor |
//! |---|---|
//! | a build with nothing to do, of `minsys` | a process that starts and ends |
//! | a chain of trivial derivations | the sandbox alone, with nothing kept |
//! | the Linux tree taken into an empty store | hashing its files |
//! | the same again, unchanged | a walk that looks at each file |
//! | rehashing it | hashing its files |
//!
//! Numbers are the median of several runs. Ratios count; times are of a machine
//! that other work may share.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_checks::program::repository;
use kiln_checks::{Kiln, Outcome, Scratch};

/// Links of the chain.
const LINKS: usize = 100;
const RUNS: usize = 5;

fn main() {
    // cargo adds `--bench`.
    let place = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    let place = PathBuf::from(place.expect("usage: cargo bench … -- DIR"));
    fs::create_dir_all(&place).expect("the directory can be made");
    println!("| work | kiln | floor | ratio |\n|---|--:|--:|--:|");
    nothing_to_do(&place);
    chain(&place);
    linux_tree(&place);
}

/// One line of the table.
fn row(work: &str, kiln: Duration, floor: Duration) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = ms(kiln) / ms(floor).max(1e-3);
    println!(
        "| {work} | {:.1} ms | {:.1} ms | {ratio:.2} |",
        ms(kiln),
        ms(floor)
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn repeat(mut run: impl FnMut() -> Duration) -> Duration {
    median((0..RUNS).map(|_| run()).collect())
}

fn own(store: &Path, scratch: &Scratch) -> Kiln {
    Kiln::new(scratch.path(), store).env("KILN_MANIFEST", repository())
}

fn nothing_to_do(place: &Path) {
    let (store, scratch) = (place.join("minsys"), Scratch::new());
    let build = || own(&store, &scratch).args(["build", "minsys", "--no-result", "--quiet"]);
    build().succeed();
    let kiln = repeat(|| {
        let run = build().succeed();
        assert_eq!(run.events.end()["built"], 0);
        run.cpu
    });
    let floor = repeat(|| own(&store, &scratch).args(["--version"]).succeed().cpu);
    row(
        "`build minsys` with nothing to do, CPU; floor: `kiln --version`",
        kiln,
        floor,
    );
}

/// Derivations that each copy one file of the one before.
fn chain(place: &Path) {
    let (store, scratch) = (place.join("chain"), Scratch::new());
    let project = kiln_checks::Project::copy_to(scratch.path());
    let name = "link-0";
    let mut last = Duration::ZERO;
    let mut turn = 0_u64;
    let kiln = repeat(|| {
        turn += 1;
        // Another first link each time, so that all of the chain is built.
        let start = Instant::now().elapsed().as_nanos();
        let seed = format!("{turn} {start} {}", std::process::id());
        fs::create_dir_all(scratch.join("derivations/recipes/chain")).expect("writable");
        project.write("derivations/recipes/chain/recipe.toml", &links(&seed));
        let build = |name: &str| {
            Kiln::new(scratch.path(), &store).args(["build", name, "--no-result", "--quiet"])
        };
        build(name).succeed();
        let run = build(&format!("link-{LINKS}")).succeed();
        last = run.wall;
        run.wall / u32::try_from(LINKS).expect("few")
    });
    let run = |words: &[&str]| -> Outcome {
        Kiln::new(scratch.path(), &store)
            .args(["run", "--quiet", name, "--"])
            .args(words)
            .succeed()
    };
    // `kiln run` makes one sandbox and keeps nothing. What kiln itself takes to
    // start is in both measurements, and so taken off.
    let once = repeat(|| run(&["/bin/true"]).wall);
    let nothing = repeat(|| {
        Kiln::new(scratch.path(), &store)
            .args(["build", name, "--no-result", "--quiet"])
            .succeed()
            .wall
    });
    let floor = once.saturating_sub(nothing);
    row(
        "a link of a chain of 100, wall; floor: its sandbox",
        kiln,
        floor,
    );
}

fn links(seed: &str) -> String {
    let mut text = String::new();
    for link in 0..=LINKS {
        let (materials, command) = match link {
            0 => (String::new(), format!("echo {seed} > /out/x")),
            _ => {
                let before = link - 1;
                (
                    format!("materials = [\"link-{before}\"]\n"),
                    format!("cat /in/link-{before}/x > /out/x; echo {link} >> /out/x"),
                )
            }
        };
        write!(
            text,
            "[package.link-{link}]\nroot = \"base\"\n{materials}\
             command = [\"/bin/sh\", \"-euc\", \"{command}\"]\n\n"
        )
        .expect("a string takes it");
    }
    text
}

fn linux_tree(place: &Path) {
    let (downloads, scratch) = (place.join("sources"), Scratch::new());
    let tree = place.join("linux-tree");
    if !tree.exists() {
        let words = ["build", "source.linux", "--quiet", "--out"];
        own(&downloads, &scratch)
            .args(words)
            .args([&tree])
            .succeed();
    }
    let manifest = format!(
        "[flake]\nname = \"bench\"\ntargets = [\"x86_64\", \"aarch64\"]\n\n[source.tree]\npath = {:?}\n",
        tree.display().to_string()
    );
    fs::write(scratch.join("flake-like.toml"), manifest).expect("writable");
    let store = place.join("import");
    let kiln = |words: &[&str]| Kiln::new(scratch.path(), &store).args(words).succeed();
    let (mut first, mut again, mut rehash) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let _ = fs::remove_dir_all(&store);
        kiln(&["lock", "--quiet"]);
        first.push(kiln(&["build", "source.tree", "--no-result", "--quiet"]).cpu);
        again.push(kiln(&["build", "source.tree", "--no-result", "--quiet"]).cpu);
        rehash.push(kiln(&["verify"]).cpu);
    }
    let hash = repeat(|| cpu(|| visit(&tree, &mut hash_file)));
    let look = repeat(|| cpu(|| visit(&tree, &mut |_| ())));
    row(
        "the Linux tree into an empty store, CPU; floor: hashing it",
        median(first),
        hash,
    );
    row(
        "the same again, CPU; floor: looking at every file",
        median(again),
        look,
    );
    row("rehashing it, CPU; floor: hashing it", median(rehash), hash);
}

/// CPU time of this process while `work` runs.
fn cpu(work: impl FnOnce()) -> Duration {
    let now = || {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: it points to a live value.
        let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        assert_eq!(done, 0, "every Linux has this clock");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let before = now();
    work();
    now() - before
}

fn visit(directory: &Path, file: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        let kind = fs::symlink_metadata(&path).expect("it is there");
        if kind.is_dir() {
            visit(&path, file);
        } else if kind.is_file() {
            file(&path);
        }
    }
}

fn hash_file(path: &Path) {
    let digest = kiln_store::hash::Digest::of_file(path);
    std::hint::black_box(digest.expect("readable"));
}
