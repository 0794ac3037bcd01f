//! Builders of both platforms make the same bytes, and their claims meet.
//!
//! This is the part that takes minutes: musl's headers, by a shell, sed and
//! make of either platform. The other platform's run in the pinned emulator,
//! which needs Linux 6.7 or later; `kiln doctor` says what else.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kiln_checks::program::repository;
use kiln_checks::{Events, Kiln, Project, Scratch};
use kiln_store::cache::claims;
use kiln_store::cache::directory::Directory;
use kiln_store::hash::RecipeKey;
use kiln_store::realisation::SignedRealisation;
use kiln_store::trust::key::SecretKey;
use serde_json::Value;

const HEADERS: [&str; 3] = ["musl-headers", "--target", "aarch64"];

/// Where root runs the tests, the other platform's builders are an ordinary
/// user's: nothing of that is in a claim either. (Root's own are in the tests of
/// the sandbox.)
#[test]
fn both_build_platforms_come_to_the_same_claim_and_together_are_believed() {
    let scratch = Scratch::of_user();
    let project = Project::copy_to(&scratch.join("project"));
    let there = || Kiln::as_user(project.directory(), &scratch.join("there"));
    let here = || Kiln::new(repository(), &scratch.join("here"));
    let foreign = match ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    };
    let (native, emulated) = (headers(here(), ARCH), headers(there(), foreign));
    assert_eq!(native["outputs"], emulated["outputs"]);
    assert_eq!(native["recipe"], emulated["recipe"], "C is the same");
    let action = |event: &Value| event["derivation"]["action"].clone();
    assert_ne!(action(&native), action(&emulated), "K is not");

    let team = Team::new(&scratch, [ARCH, foreign]);
    team.share(here(), ARCH);
    team.pull(&scratch.join("one")).expect_status(4);
    team.share(there(), foreign);
    let pulled = team.pull(&scratch.join("two"));
    assert_eq!(pulled.status, 0, "{}", pulled.stderr);
    let built = pulled.events.built();
    assert!(built.is_empty(), "{built:?}");

    let recipe = native["recipe"].as_str().expect("a key").parse();
    team.flip_a_bit(&recipe.expect("64 digits"), foreign);
    let refused = team.pull(&scratch.join("three")).expect_status(4);
    for word in ["musl-headers", "contradict", "x86_64", "aarch64"] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
}

/// The event of building musl's headers for one target on a build platform.
fn headers(kiln: Kiln, build_platform: &str) -> Value {
    let kiln = kiln.args(["build", "--no-result"]).args(HEADERS);
    let kiln = kiln.args(["--build-platform", build_platform]);
    let Events(events) = kiln.succeed().events;
    let is_it =
        |event: &&Value| event["event"] == "built" && event["derivation"]["name"] == "musl-headers";
    let built = events.iter().find(is_it);
    built.expect("an empty store has to build it").clone()
}

/// Those who build on one platform each, share one cache, and believe only what
/// both came to.
struct Team<'s> {
    scratch: &'s Scratch,
}

impl<'s> Team<'s> {
    fn new(scratch: &'s Scratch, platforms: [&str; 2]) -> Self {
        let team = Self { scratch };
        let (cache, config) = (scratch.join("cache"), scratch.join("config"));
        for directory in [&cache, &config] {
            fs::create_dir(directory).expect("it is ours");
            open_to_all(directory);
        }
        let keys = platforms.map(|platform| {
            let key = SecretKey::generate().expect("random numbers");
            key.write(&team.key(platform)).expect("writable");
            let public = key.public();
            format!("{{ key = \"{public}\", build-platform = \"{platform}\" }},")
        });
        let text = format!(
            "[cache.team]\nurl = \"{}\"\n[trust]\nrequire = 2\ndistinct = [\"build-platform\"]\nkeys = [{}]\n",
            cache.display(),
            keys.concat()
        );
        fs::write(config.join("config.toml"), text).expect("writable");
        team
    }

    fn key(&self, platform: &str) -> std::path::PathBuf {
        self.scratch.join(&format!("key-{platform}"))
    }

    fn share(&self, kiln: Kiln, platform: &str) {
        // As its builder's user, who alone may read it.
        let key = self.key(platform);
        kiln.own(&key);
        let to = self.scratch.join("cache");
        let kiln = kiln
            .args(["push", "--build-platform", platform])
            .args(HEADERS);
        kiln.args([
            "--to".as_ref(),
            to.as_os_str(),
            "--key".as_ref(),
            key.as_os_str(),
        ])
        .succeed();
        open_to_all(&to);
    }

    fn pull(&self, store: &Path) -> kiln_checks::Outcome {
        let kiln = Kiln::new(repository(), store).env("KILN_CONFIG", self.scratch.join("config"));
        kiln.args(["pull", "--no-result"]).args(HEADERS).run()
    }

    /// Has a platform's claim name another output, rightly signed.
    fn flip_a_bit(&self, recipe: &RecipeKey, platform: &str) {
        let directory = self.scratch.join("cache");
        // By the hint alone it would not be found.
        fs::remove_dir_all(directory.join("hints")).expect("it is there");
        let key = SecretKey::from_seed(self.seed(platform));
        let cache = Directory::new(&directory);
        let claim = claims::read(&cache, recipe, &key.public()).expect("it is right");
        let mut claim = claim.expect("it was shared").realisation;
        let mut digest = *claim.outputs[0].1.digest().as_bytes();
        digest[0] ^= 1;
        claim.outputs[0].1 = kiln_store::hash::TreeId(kiln_store::hash::Digest::from_bytes(digest));
        let flipped: SignedRealisation = claim.signed_by(&key);
        let name = claims::claim_name(recipe, &key.public());
        fs::write(directory.join(name.as_str()), flipped.encode()).expect("writable");
    }

    fn seed(&self, platform: &str) -> [u8; 32] {
        let text = fs::read_to_string(self.key(platform)).expect("it was written");
        let secret = text.lines().nth(2).expect("three lines");
        let digits = secret.strip_prefix("secret ").expect("a secret");
        let digest: kiln_store::hash::Digest = digits.parse().expect("64 digits");
        *digest.as_bytes()
    }
}

/// The next to share is another user; the servers of real teams have one of
/// their own.
fn open_to_all(directory: &Path) {
    let all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(directory, all).expect("it is ours");
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            open_to_all(&path);
        }
    }
}
