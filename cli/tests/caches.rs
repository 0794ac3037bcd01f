//! Sharing through a cache where no sandbox is needed: what is pulled, what is
//! believed, and what hostile and broken caches get.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use kiln_store::cache::claims;
use kiln_store::cache::directory::Directory;
use kiln_store::cache::hint;
use kiln_store::realisation::SignedRealisation;
use kiln_store::trust::key::SecretKey;
use support::Project;

const MANIFEST: &str = r#"
[flake]
name    = "paper"
targets = ["x86_64", "aarch64"]

[source.folder]
path = "folder"

[compose.both]
packages = ["source.folder", "source.words"]

[source.words]
url = "file:WORDS"
raw = true

[rootfs.small]
packages = ["both"]
files    = { "/etc/motd" = { text = "hello\n" } }
"#;

const NAME: &str = "rootfs.small";

/// A project that was built in the store `store` and shared through the cache
/// `cache`, with a policy that believes its key.
struct Shared(Project);

impl Shared {
    fn new() -> Self {
        let project = Project::new(MANIFEST);
        fs::create_dir(project.path("cache")).expect("writable");
        project.check(&["key", "generate"], 0, &["ed25519:"], &[]);
        project.check(&["lock"], 0, &[], &[]);
        project.check(&["build", "--no-result", NAME], 0, &[], &[]);
        let shared = Self(project);
        shared.believe(&[], 1);
        shared.0.check(&["push", NAME], 0, &["claims"], &[]);
        shared
    }

    fn key(&self) -> SecretKey {
        SecretKey::read(Path::new(&self.0.path("config/key"))).expect("it was made")
    }

    /// Has the policy believe the project's own key and these others.
    fn believe(&self, others: &[&SecretKey], require: usize) {
        let own = self.key();
        let keys: Vec<_> = std::iter::once(&own)
            .chain(others.iter().copied())
            .enumerate()
            .map(|(at, key)| format!("{{ key = \"{}\", operator = \"o{at}\" }},", key.public()))
            .collect();
        self.0.write(
            "config/config.toml",
            &format!(
                "[cache.here]\nurl = \"{}\"\n[trust]\nrequire = {require}\ndistinct = [\"operator\"]\nkeys = [{}]\n",
                self.0.path("cache"),
                keys.concat(),
            ),
        );
    }

    fn cache(&self) -> Directory {
        Directory::new(self.0.path("cache"))
    }

    /// All files of the cache below `folder`.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::from(self.0.path("cache")).join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("it is there") {
                let path = entry.expect("readable").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files
    }

    /// The claim about the root file system: the one with another output than
    /// all others, since it has the most inputs.
    fn claim(&self) -> SignedRealisation {
        let text = self
            .0
            .kiln("store", &["build", "--no-result", NAME])
            .output();
        let text = String::from_utf8(text.expect("kiln starts").stdout).expect("text");
        let tree = text.split(' ').next().expect("a digest").to_owned();
        let mut claims = self.files("claims").into_iter().map(|path| {
            let bytes = fs::read(path).expect("readable");
            SignedRealisation::decode(&bytes).expect("it is one")
        });
        let is_it = |it: &SignedRealisation| it.realisation.outputs[0].1.to_string() == tree;
        claims.find(is_it).expect("it was claimed")
    }

    fn forget_hints(&self) {
        fs::remove_dir_all(self.0.path("cache/hints")).expect("it is there");
    }

    fn pull(&self, status: i32, stderr: &[&str]) {
        let args = ["pull", "--no-result", NAME];
        self.0.check_in("other", &args, status, &[], stderr);
    }
}

#[test]
fn what_was_shared_is_had_without_a_build_and_with_the_store_out_of_reach() {
    let shared = Shared::new();
    let project = &shared.0;
    project.check(
        &["build", "--out", &project.path("here"), NAME],
        0,
        &[],
        &[],
    );
    fs::rename(project.path("store"), project.path("away")).expect("it is ours");
    let plan = ["build", "--dry-run", NAME];
    let planned = project.kiln("other", &plan).output().expect("kiln starts");
    let planned = String::from_utf8(planned.stdout).expect("text");
    assert_eq!(planned, "pull: rootfs.small (x86_64)\n");
    let out = project.path("there");
    let pulled = ["pull", "--out", &out, NAME];
    project.check_in(
        "other",
        &pulled,
        0,
        &[],
        &["0 built", "pulled  rootfs.small"],
    );
    for file in ["tree/etc/motd", "tree/words", "tree/file", "meta"] {
        let read = |side: &str| fs::read(format!("{}/{file}", project.path(side)));
        assert_eq!(read("here").expect("built"), read("there").expect("pulled"));
    }
    // And from now on nobody has to be asked.
    let again = ["build", "--offline", "--no-result", NAME];
    project.check_in("other", &again, 0, &[], &["nothing to do"]);
    let plan = ["build", "--offline", "--dry-run", NAME];
    project.check_in("other", &plan, 0, &[], &["nothing to do"]);
    fs::remove_dir_all(project.path("cache")).expect("it is ours");
    project.check_in("other", &again, 0, &[], &["nothing to do"]);
}

#[test]
fn without_hints_it_takes_longer_and_comes_to_the_same() {
    let shared = Shared::new();
    shared.forget_hints();
    shared.pull(0, &["0 built", "pulled  rootfs.small"]);
}

#[test]
fn what_changed_is_built_from_what_others_have() {
    let shared = Shared::new();
    let manifest = fs::read_to_string(shared.0.path("flake-like.toml")).expect("readable");
    shared
        .0
        .write("flake-like.toml", &manifest.replace("hello", "good day"));
    let args = ["build", "--no-result", NAME];
    let said = ["pulled  both", "made    rootfs.small"];
    shared.0.check_in("other", &args, 0, &[], &said);
    // Only who builds may.
    shared
        .0
        .write("flake-like.toml", &manifest.replace("hello", "good night"));
    shared.pull(4, &["kiln build"]);
}

#[test]
fn nobody_is_believed_unasked() {
    let shared = Shared::new();
    let cache = format!("[cache.here]\nurl = \"{}\"\n", shared.0.path("cache"));
    shared.0.write("config/config.toml", &cache);
    shared.pull(4, &["nobody"]);
    let stranger = SecretKey::from_seed([9; 32]);
    let policy = format!(
        "{cache}[trust]\nkeys = [{{ key = \"{}\" }}]\n",
        stranger.public()
    );
    shared.0.write("config/config.toml", &policy);
    shared.pull(4, &["nobody"]);
    let args = ["build", "--no-result", NAME];
    shared
        .0
        .check_in("other", &args, 0, &[], &["made    rootfs.small"]);
}

#[test]
fn two_must_agree_where_two_are_required() {
    let shared = Shared::new();
    let second = SecretKey::from_seed([2; 32]);
    shared.believe(&[&second], 2);
    shared.pull(4, &["nobody"]);
    for path in shared.files("claims") {
        let bytes = fs::read(path).expect("readable");
        let claim = SignedRealisation::decode(&bytes).expect("it is one");
        let signed = claim.realisation.signed_by(&second);
        claims::write(&shared.cache(), &signed).expect("writable");
    }
    shared.pull(0, &["pulled  rootfs.small"]);
}

#[test]
fn a_contradiction_is_shown_and_stops() {
    let shared = Shared::new();
    let second = SecretKey::from_seed([2; 32]);
    shared.believe(&[&second], 1);
    let mut claim = shared.claim().realisation;
    let other = "00".repeat(32).parse().expect("a digest");
    claim.outputs[0].1 = other;
    claims::write(&shared.cache(), &claim.signed_by(&second)).expect("writable");
    shared.forget_hints();
    let (own, second) = (
        shared.key().public().to_string(),
        second.public().to_string(),
    );
    shared.pull(
        4,
        &[
            "contradict",
            NAME,
            &own,
            "operator o0",
            &second,
            "operator o1",
            &"00".repeat(32),
        ],
    );
    let verify = ["verify", "--caches", NAME];
    let said = [
        "differs   rootfs.small",
        "  agrees: ",
        "  differs: ",
        &second,
        "1 differ",
    ];
    shared.0.check(&verify, 5, &said, &[]);
    let info = ["store", "info"];
    shared
        .0
        .check_in("other", &info, 0, &["files         0"], &[]);
}

#[test]
fn forged_stripped_misplaced_and_damaged_claims_do_not_count() {
    let shared = Shared::new();
    shared.forget_hints();
    let path = |claim: &SignedRealisation| {
        let name = claims::claim_name(&claim.realisation.recipe, &shared.key().public());
        shared.0.path(&format!("cache/{name}"))
    };
    let good = shared.claim();
    let mut forged = good.clone();
    forged.realisation.facts = vec![("a".to_owned(), "b".to_owned())];
    let mut stripped = good.clone();
    (stripped.realisation.key, stripped.signature) = (None, None);
    let another = good
        .realisation
        .clone()
        .signed_by(&SecretKey::from_seed([9; 32]));
    for (bytes, why) in [
        (forged.encode(), "forged"),
        (stripped.encode(), "not signed"),
        (another.encode(), "another key's"),
        (b"nonsense".to_vec(), "damaged"),
    ] {
        fs::write(path(&good), bytes).expect("writable");
        shared.pull(4, &[why, "does not count"]);
    }
    fs::write(path(&good), good.encode()).expect("writable");
    shared.pull(0, &["pulled"]);
}

#[test]
fn a_false_hint_costs_requests_and_nothing_else() {
    let shared = Shared::new();
    for path in shared.files("hints") {
        let mut claims = hint::decode(&fs::read(&path).expect("readable")).expect("a hint");
        for claim in &mut claims {
            claim.signature = Some([0; 64]);
        }
        fs::write(&path, hint::encode(claims)).expect("writable");
    }
    shared.pull(0, &["pulled"]);
    for path in shared.files("hints") {
        fs::write(&path, b"no hint").expect("writable");
    }
    // A file of nonsense is told, and the claims themselves are still there.
    let args = ["pull", "--no-result", NAME];
    let said = ["hints/", "does not count", "pulled  rootfs.small"];
    shared.0.check_in("third", &args, 0, &[], &said);
}

#[test]
fn bytes_that_are_gone_or_wrong_are_built_instead() {
    for damage in ["gone", "cut", "changed"] {
        let shared = Shared::new();
        for path in shared.files("packs") {
            let bytes = fs::read(&path).expect("readable");
            match damage {
                "gone" => fs::remove_file(&path).expect("it is ours"),
                "cut" => fs::write(&path, &bytes[..bytes.len() / 2]).expect("writable"),
                _ => {
                    let flipped: Vec<_> = bytes.iter().map(|byte| byte ^ 1).collect();
                    fs::write(&path, flipped).expect("writable");
                }
            }
        }
        let args = ["build", "--no-result", NAME];
        let said = ["it is built here", "made    rootfs.small"];
        shared.0.check_in("other", &args, 0, &[], &said);
        shared.0.check_in("other", &["verify"], 0, &[], &[]);
    }
}

#[test]
fn a_key_is_followed_by_another_and_revoked() {
    let shared = Shared::new();
    let project = &shared.0;
    let new = project.path("new-key");
    let made = project.check(&["key", "generate", &new], 0, &["ed25519:"], &[]);
    let public = String::from_utf8(made.stdout).expect("text");
    // What the new key claims counts once the old one says so.
    fs::remove_dir_all(project.path("cache/claims")).expect("it is there");
    shared.forget_hints();
    project.check(&["push", "--key", &new, NAME], 0, &["claims"], &[]);
    shared.pull(4, &["nobody"]);
    project.check(&["key", "rotate", public.trim()], 0, &["serial 1"], &[]);
    shared.pull(0, &["pulled"]);
    let old = fs::read(shared.files("keys").first().expect("a statement")).expect("readable");

    project.check(&["key", "revoke", "--key", &new], 0, &["serial 1"], &[]);
    let third = ["pull", "--no-result", NAME];
    project.check_in("third", &third, 4, &[], &["nobody"]);
    // Whoever serves the old statement again is not taken in.
    project.check(&["key", "revoke"], 0, &["serial 2"], &[]);
    project.check_in("fourth", &third, 4, &[], &["nobody"]);
    let path = project.path(&format!(
        "cache/{}",
        claims::statement_name(&shared.key().public())
    ));
    fs::write(path, old).expect("writable");
    project.check_in("fourth", &third, 4, &[], &["an old statement", "nobody"]);
}

#[test]
fn a_cache_that_does_not_answer_is_skipped_with_one_line() {
    let shared = Shared::new();
    let config = fs::read_to_string(shared.0.path("config/config.toml")).expect("readable");
    // Nothing listens on the port of a listener that is gone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let dead = format!("[cache.dead]\nurl = \"http://user:secret@127.0.0.1:{port}\"\n");
    shared
        .0
        .write("config/config.toml", &format!("{dead}{config}"));
    let args = ["pull", "--no-result", NAME];
    let said = ["dead is skipped", "pulled  rootfs.small"];
    let output = shared.0.check_in("other", &args, 0, &[], &said);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.matches("dead").count(), 1, "{stderr}");
    assert!(!stderr.contains("secret"), "{stderr}");
}

#[test]
fn a_signer_keeps_to_its_first_claim() {
    let shared = Shared::new();
    let mut claim = shared.claim().realisation;
    claim.outputs[0].1 = "00".repeat(32).parse().expect("a digest");
    let forged = claim.signed_by(&shared.key());
    let name = claims::claim_name(&forged.realisation.recipe, &shared.key().public());
    fs::write(shared.0.path(&format!("cache/{name}")), forged.encode()).expect("writable");
    shared.forget_hints();
    shared.0.check(&["push", NAME], 4, &[], &["contradicts"]);
    // And what was there before is still there.
    let there = fs::read(shared.0.path(&format!("cache/{name}"))).expect("readable");
    assert_eq!(there, forged.encode());
}

#[test]
fn two_push_at_once() {
    let shared = Shared::new();
    fs::remove_dir_all(shared.0.path("cache")).expect("it is ours");
    fs::create_dir(shared.0.path("cache")).expect("writable");
    let push = || {
        let mut kiln = shared.0.kiln("store", &["push", NAME]);
        kiln.spawn().expect("kiln starts")
    };
    let pushers: Vec<_> = (0..4).map(|_| push()).collect();
    for mut pusher in pushers {
        assert!(pusher.wait().expect("it ends").success());
    }
    shared.pull(0, &["pulled  rootfs.small"]);
}

#[test]
fn a_file_takes_it_to_where_there_is_no_network() {
    let shared = Shared::new();
    let project = &shared.0;
    let file = project.path("small.tar.zst");
    project.check(&["export", &file, NAME], 0, &["5 claims"], &[]);
    project.check(&["export", &file, NAME], 2, &[], &["there already"]);
    fs::remove_dir_all(project.path("cache")).expect("it is ours");
    let import = ["import", "--offline", "--no-result", &file, NAME];
    let policy = fs::read_to_string(project.path("config/config.toml")).expect("readable");
    project.write("config/config.toml", "");
    project.check_in("other", &import, 2, &[], &["nobody is trusted"]);
    project.write("config/config.toml", &policy);
    project.check_in("other", &import, 0, &[], &["pulled  rootfs.small"]);
    let again = ["build", "--offline", "--no-result", NAME];
    project.check_in("other", &again, 0, &[], &["nothing to do"]);
    assert_eq!(
        fs::read_dir(project.path("other/build"))
            .expect("it is there")
            .count(),
        0
    );
}

#[test]
fn a_file_of_somebody_elses_making_is_refused() {
    let shared = Shared::new();
    let file = shared.0.path("evil.tar.zst");
    let import = ["import", "--no-result", &file, NAME];
    let archive = |name: &[u8], kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, content).expect("memory");
        archive.into_inner().expect("memory")
    };
    let regular = tar::EntryType::Regular;
    let zeros = vec![0; 300 << 20];
    for (unpacked, why) in [
        (
            archive(b"../escaped", regular, b"x"),
            "no name of a file in a cache",
        ),
        (
            archive(b"/escaped", regular, b"x"),
            "no name of a file in a cache",
        ),
        (
            archive(b"packs", tar::EntryType::Symlink, b""),
            "no file of a cache",
        ),
        (archive(b"packs/x", regular, &zeros), "far more"),
        (b"no archive at all".to_vec(), "kiln export"),
    ] {
        let packed = zstd::bulk::compress(&unpacked, 1).expect("memory");
        fs::write(&file, packed).expect("writable");
        shared.0.check_in("other", &import, 2, &[], &[why]);
    }
    fs::write(&file, b"no zstd").expect("writable");
    shared
        .0
        .check_in("other", &import, 2, &[], &["kiln export"]);
    assert!(!Path::new(&shared.0.path("escaped")).exists());
    assert_eq!(
        fs::read_dir(shared.0.path("other/build"))
            .expect("it is there")
            .count(),
        0
    );
}

#[test]
fn a_cache_is_looked_after() {
    let shared = Shared::new();
    let check = ["cache", "check", "here"];
    shared.0.check(&check, 0, &["0 problems"], &[]);
    let gc = ["cache", "gc", "here"];
    shared
        .0
        .check(&gc, 0, &["0 files removed", "0 half-written"], &[]);
    // What a killed writer left, two days ago and now.
    let left = |name: &str, age_s: u64| {
        let path = PathBuf::from(shared.0.path("cache/packs")).join(name);
        let file = fs::File::create(&path).expect("writable");
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(age_s);
        file.set_modified(then).expect("it is ours");
        path
    };
    let old = left(".tmp-1-1-aa", 2 * 86400);
    let new = left(".tmp-1-2-bb", 60);
    shared.0.check(&gc, 0, &["1 half-written"], &[]);
    assert!(!old.exists() && new.exists());
    fs::remove_file(new).expect("it is ours");
    let pack = shared.files("packs").pop().expect("a pack");
    fs::write(&pack, b"x").expect("writable");
    let name = pack
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    shared.0.check(&check, 3, &[&name], &[]);
    let there = ["cache", "check", "there"];
    shared.0.check(&there, 2, &[], &["there"]);
    // The configuration alone names it too.
    fs::remove_file(shared.0.path("flake-like.toml")).expect("it is ours");
    shared.0.check(&check, 3, &[&name], &[]);
    shared.0.check(&["cache", "list"], 0, &["here"], &[]);
    shared.0.check(&["key", "revoke"], 0, &["in here"], &[]);
}

#[test]
fn mistakes_are_told() {
    let project = Project::new(MANIFEST);
    project.check(&["key", "show"], 2, &[], &["kiln key generate"]);
    project.check(&["key", "generate"], 0, &["ed25519:"], &[]);
    project.check(&["key", "generate"], 2, &[], &["never overwritten"]);
    project.check(&["lock"], 0, &[], &[]);
    project.check(&["push", NAME], 2, &[], &["no cache", "--to"]);
    let cache = project.path("nothing");
    project.check(&["push", "--to", &cache, NAME], 2, &[], &["not built here"]);
    project.check(
        &["push", "--to", "gopher://x", NAME],
        2,
        &[],
        &["gopher", "https:"],
    );
    project.check(
        &["key", "rotate", "ed25519:00", "--to", &cache],
        2,
        &[],
        &["64"],
    );
    project.write(
        "config/config.toml",
        "[cache.x]\nurl = \"/x\"\n[trust]\nrequire = 2\n",
    );
    project.check(
        &["build", NAME],
        2,
        &[],
        &["config.toml", "can never agree"],
    );
}
