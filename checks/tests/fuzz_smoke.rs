//! Every fuzz target, for a moment and without cargo-fuzz: its seeds, and some
//! thousand mutations of them, the same ones in every run.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mutations of each seed.
const ROUNDS: u64 = 2000;
/// Longer than that is a hang.
const LIMIT: Duration = Duration::from_secs(5);

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

fn names(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a directory can be read").path();
        path.file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    entries.map(name).collect()
}

#[test]
fn every_target_has_a_program_and_seeds() {
    let targets: BTreeSet<String> = targets::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names(&directory("fuzz_targets")), targets);
    assert_eq!(names(&directory("seeds")), targets);
}

#[test]
fn targets_bear_mutated_seeds() {
    std::thread::scope(|scope| {
        for (name, target) in targets::TARGETS {
            scope.spawn(move || bears(name, target));
        }
    });
}

fn bears(name: &str, target: targets::Target) {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(directory("seeds").join(name)).expect("seeds") {
        let path = entry.expect("a directory can be read").path();
        seeds.push((path.clone(), fs::read(path).expect("a seed can be read")));
    }
    seeds.sort();
    assert!(!seeds.is_empty(), "{name} has no seed");
    for (path, seed) in &seeds {
        for round in 0..ROUNDS {
            let bytes = match round {
                0 => seed.clone(),
                _ => mutated(seed, round),
            };
            let start = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            if ended.is_err() || start.elapsed() > LIMIT {
                let kept = std::env::temp_dir().join(format!("kiln-fuzz-{name}-{round}"));
                fs::write(&kept, &bytes).expect("the temporary directory is writable");
                panic!("{name} does not bear round {round} of {path:?}, kept as {kept:?}");
            }
        }
    }
}

/// A few changes, decided by the round alone: bits, bytes, spans cut, doubled
/// and moved, and numbers that parsers are afraid of.
fn mutated(seed: &[u8], round: u64) -> Vec<u8> {
    let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.len() as u64);
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(random.below(256) as u8);
        }
        let at = random.below(bytes.len());
        let length = random.below((bytes.len() - at).min(64)) + 1;
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'/', b'9'][random.below(8)],
            2 => drop(bytes.drain(at..at + length)),
            3 => bytes.truncate(at),
            4 => {
                let span = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, span);
            }
            5 => bytes[at..at + length].fill(0xff),
            _ => {
                let insert = random.below(256) as u8;
                bytes.insert(at, insert);
            }
        }
    }
    bytes
}

/// xorshift: the same numbers for the same start.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 |= 1;
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit.max(1)
    }
}
