//! A store that rots says so, and heals.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use kiln_checks::program::repository;
use kiln_checks::{Kiln, Scratch};

#[test]
fn a_flipped_bit_is_found_named_and_healed() {
    let scratch = Scratch::new();
    let kiln = |args: &[&str]| {
        let kiln = Kiln::new(scratch.path(), &scratch.join("store"));
        kiln.env("KILN_MANIFEST", repository()).args(args)
    };
    let build = || kiln(&["build", "seed.bwrap", "--out", "out"]).json();
    let before = build()["outputs"][0]["tree"].clone();
    let whole = kiln(&["verify"]).json();
    assert!(whole["files"].as_u64() > Some(0), "{whole}");
    assert_eq!(whole["damaged"], serde_json::json!([]));

    let digest = flip_a_bit(&scratch);
    let found = kiln(&["--json", "verify"]).run().expect_status(3);
    let damaged = found.json()["damaged"].clone();
    assert_eq!(damaged.as_array().map(Vec::len), Some(1), "{damaged}");
    assert_eq!(damaged[0]["digest"], digest.as_str());

    kiln(&["gc", "--damaged"]).succeed();
    kiln(&["verify"]).succeed();
    fs::remove_dir_all(scratch.join("out")).expect("it is ours");
    assert_eq!(build()["outputs"][0]["tree"], before);
    assert!(
        scratch
            .join("store/blobs")
            .join(&digest[..2])
            .join(&digest)
            .exists()
    );
    kiln(&["verify"]).succeed();
}

/// Flips one bit of the blob of bubblewrap's library, and returns its digest.
fn flip_a_bit(scratch: &Scratch) -> String {
    let path = blobs(scratch).pop().expect("the store has blobs");
    let mut bytes = fs::read(&path).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("it is ours");
    file.write_all(&bytes).expect("it can be written");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("it is ours");
    let name = path.file_name().expect("it has a name");
    name.to_string_lossy().into_owned()
}

/// The plain (not executable) files, smallest first.
fn blobs(scratch: &Scratch) -> Vec<PathBuf> {
    let shards = fs::read_dir(scratch.join("store/blobs")).expect("a store has blobs");
    let files = shards.flat_map(|shard| {
        let shard = fs::read_dir(shard.expect("listed").path()).expect("a shard");
        shard.map(|entry| entry.expect("listed").path())
    });
    let mut files: Vec<_> = files
        .filter(|path| !path.to_string_lossy().ends_with('x'))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).map_or(0, |found| found.len()));
    files
}
