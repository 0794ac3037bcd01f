//! What leaves the store: a user may do anything to it, and harms nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_checks::Scratch;

use crate::{Shared, shared};

const FILE: &str = "initramfs.cpio.gz";
const OWNER_WRITES: u32 = 0o200;

#[test]
fn result_is_a_copy_that_the_user_may_change() {
    let directory = Scratch::new();
    let shared = shared();
    let build = shared.own(directory.path()).args(["build", "minsys"]);
    build.succeed();
    let result = directory.join("result");
    assert!(result.symlink_metadata().expect("made").is_symlink());
    assert_apart_from_the_store(shared, &directory, &result);
}

#[test]
fn out_is_a_copy_that_the_user_may_change() {
    let directory = Scratch::new();
    let shared = shared();
    let build = shared.own(directory.path()).args(["build", "minsys"]);
    build.args(["--out", "here"]).succeed();
    assert!(!directory.join("result").exists(), "--out takes its place");
    assert_apart_from_the_store(shared, &directory, &directory.join("here"));
}

fn assert_apart_from_the_store(shared: &Shared, directory: &Scratch, copy: &Path) {
    let blob = blob(shared, directory, &copy.join(FILE));
    let (blob, file) = (fs::metadata(blob), fs::metadata(copy.join(FILE)));
    let (blob, file) = (blob.expect("a blob"), file.expect("a copy"));
    assert_eq!(blob.len(), file.len(), "they have the same content");
    assert_ne!(
        (blob.dev(), blob.ino()),
        (file.dev(), file.ino()),
        "one inode"
    );
    for entry in fs::read_dir(copy).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        let mode = entry.metadata().expect("it is there").mode();
        assert_ne!(mode & OWNER_WRITES, 0, "{:?} is read-only", entry.path());
    }
}

/// The blob with a file's content.
fn blob(shared: &Shared, directory: &Scratch, file: &Path) -> PathBuf {
    let verify = shared
        .own(directory.path())
        .args(["verify", "--against", "minsys"]);
    let verified = verify.args([file]).json();
    assert_eq!(verified["same"], true, "{verified}");
    let digest = verified["expected"].as_str().expect("a digest").to_owned();
    shared.store().join("blobs").join(&digest[..2]).join(digest)
}

#[test]
fn a_changed_file_is_told_from_what_was_built() {
    let directory = Scratch::new();
    let shared = shared();
    let build = shared.own(directory.path()).args(["build", "minsys"]);
    build.args(["--out", "here"]).succeed();
    let file = directory.join("here").join(FILE);
    let mut bytes = fs::read(&file).expect("it can be read");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::write(&file, bytes).expect("it can be written");
    let verify = shared
        .own(directory.path())
        .args(["verify", "--against", "minsys"]);
    let outcome = verify.args([&file]).run().expect_status(3);
    for part in ["expected", "got", FILE] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}
