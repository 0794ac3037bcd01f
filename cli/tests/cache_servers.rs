//! Making a cache, looking at it, serving it: `kiln cache init`, `info`, `serve`.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Project;

const MANIFEST: &str = r#"
[flake]
name    = "paper"
targets = ["x86_64", "aarch64"]

[source.words]
url = "file:WORDS"
raw = true

[rootfs.small]
packages = ["source.words"]
files    = { "/etc/motd" = { text = "hello\n" } }
"#;

const NAME: &str = "rootfs.small";

/// A project that was built, with a key that its policy believes.
fn built() -> Project {
    let project = Project::new(MANIFEST);
    project.check(&["key", "generate"], 0, &["ed25519:"], &[]);
    project.check(&["lock"], 0, &[], &[]);
    project.check(&["build", "--no-result", NAME], 0, &[], &[]);
    believe(&project, &project.path("cache"));
    project
}

/// Has the configuration name a cache, and believe the project's key.
fn believe(project: &Project, url: &str) {
    let shown = project.check(&["key", "show"], 0, &[], &[]);
    let key = String::from_utf8(shown.stdout).expect("text");
    let key = key.trim();
    let config =
        format!("[cache.here]\nurl = \"{url}\"\n[trust]\nkeys = [{{ key = \"{key}\" }}]\n");
    project.write("config/config.toml", &config);
}

fn json(project: &Project, args: &[&str], status: i32) -> Value {
    let args = [args, &["--json"]].concat();
    let output = project.check(&args, status, &[], &[]);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let names = entries.map(|it| it.expect("readable").file_name().into_string());
    let mut names: Vec<_> = names.collect::<Result<_, _>>().expect("text");
    names.sort();
    names
}

/// A server that ends with the test.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(project: &Project, args: &[&str]) -> Self {
        let own = ["cache", "serve", "--listen", "127.0.0.1:0"];
        let mut kiln = project.kiln("store", &[&own, args].concat());
        let mut child = kiln
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kiln starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("no URL in `{line}`"));
        Self {
            url: url.trim_end_matches(';').to_owned(),
            child,
        }
    }

    /// Ctrl-C. Returns the status and what was said.
    fn stop(mut self) -> (Option<i32>, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("it runs");
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("it is piped");
        pipe.read_to_string(&mut stderr).expect("text");
        (self.child.wait().expect("it ends").code(), stderr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

#[test]
fn a_directory_becomes_a_cache_once() {
    let project = Project::new(MANIFEST);
    let cache = project.path("my-cache");
    let said = [
        "write   yes",
        "read    yes",
        "parts   yes",
        "list    yes",
        "remove  yes",
        "is a cache now",
        "[cache.my-cache]\n",
        &format!("url = \"{cache}\""),
    ];
    // A path as shells write it, and no manifest is needed.
    fs::remove_file(project.path("flake-like.toml")).expect("it is ours");
    project.check(&["cache", "init", "my-cache"], 0, &said, &[]);
    assert_eq!(names(&cache), ["kiln-cache"]);
    let file = fs::read(Path::new(&cache).join("kiln-cache")).expect("it is there");
    assert_eq!(file, b"kiln cache 1\n");
    let again = ["is a cache already, of version 1; nothing was changed"];
    project.check(&["cache", "init", &cache], 0, &again, &[]);
    project.check(
        &["cache", "init", &format!("file://{cache}")],
        0,
        &again,
        &[],
    );
    let document = json(&project, &["cache", "init", &cache], 0);
    assert_eq!(
        (&document["made"], &document["serves"]),
        (&false.into(), &true.into())
    );
    assert_eq!(names(&cache), ["kiln-cache"]);
    fs::create_dir(project.path("other")).expect("writable");
    let document = json(&project, &["cache", "init", "other"], 0);
    assert_eq!(document["abilities"]["parts"]["works"], true);
}

#[test]
fn what_cannot_be_a_cache_is_left_as_it_was() {
    let project = Project::new(MANIFEST);
    // Somebody's own files.
    project.check(
        &["cache", "init", "folder"],
        2,
        &[],
        &["other files, such as `file`"],
    );
    assert_eq!(names(&project.path("folder")), ["file"]);
    let missing = project.path("missing/cache");
    project.check(&["cache", "init", &missing], 6, &[], &["has to be there"]);
    project.check(
        &["cache", "init", "gopher://x"],
        2,
        &[],
        &["gopher", "https:"],
    );
    // Where nothing can be written, also not for root: what is served is for readers.
    fs::create_dir(project.path("empty")).expect("writable");
    let serving = Serving::start(&project, &[&project.path("empty")]);
    let said = [
        "write   no: ",
        "405",
        "read    not tried",
        "cannot be a cache",
    ];
    project.check(&["cache", "init", &serving.url], 6, &said, &[]);
    let document = json(&project, &["cache", "init", &serving.url], 6);
    assert_eq!(document["serves"], false);
    assert_eq!(names(&project.path("empty")), [""; 0]);
}

#[test]
fn what_a_cache_holds_is_counted_and_whose_it_is() {
    let project = built();
    let cache = project.path("cache");
    project.check(&["cache", "init", "here"], 0, &["is a cache now"], &[]);
    project.check(&["push", NAME], 0, &["claims"], &[]);
    let said = [
        cache.as_str(),
        "format      version 1\n",
        "parts       come alone",
        "packs       1 (",
        "statements  0 (",
        "in the policy here",
    ];
    project.check(&["cache", "info", "here"], 0, &said, &[]);
    let document = json(&project, &["cache", "info", &cache], 0);
    let holds = &document["holds"];
    let signer = &holds["signers"][0];
    assert_eq!(
        (&signer["claims"], &signer["counts"]),
        (&holds["claims"]["files"], &true.into())
    );
    assert!(holds["claims"]["files"].as_u64() > Some(0));
    let packs = names(&format!("{cache}/packs"));
    let pack = names(&format!("{cache}/packs/{}", packs[0])).remove(0);
    let size = fs::metadata(format!("{cache}/packs/{}/{pack}", packs[0])).expect("there");
    assert_eq!(holds["packs"]["bytes"], size.len());
    // Who revokes a key is told apart; and who is not listed.
    project.check(&["key", "revoke"], 0, &[], &[]);
    project.check(
        &["cache", "info", "here"],
        0,
        &["revoked", "statements  1 ("],
        &[],
    );
    project.write("config/config.toml", "");
    fs::remove_dir_all(format!("{cache}/keys")).expect("it is there");
    fs::remove_file(format!("{cache}/kiln-cache")).expect("it is there");
    let said = [
        "not in the policy here",
        "which it does not say itself",
        "not tried",
    ];
    project.check_in("other", &["cache", "info", &cache], 0, &said, &[]);
}

#[test]
fn a_team_pulls_from_what_is_served() {
    let project = built();
    let cache = project.path("cache");
    project.check(&["cache", "init", "here"], 0, &[], &[]);
    project.check(&["push", NAME], 0, &[], &[]);
    let serving = Serving::start(&project, &["--verbose", &cache]);
    believe(&project, &serving.url);
    let pull = ["pull", "--no-result", NAME];
    let slowly = ["pull", "--bandwidth", "100M", "--no-result", NAME];
    project.check_in("other", &slowly, 0, &[], &["pulled  rootfs.small"]);
    let nonsense = ["pull", "--bandwidth", "2 mb", NAME];
    project.check(&nonsense, 2, &[], &["no rate", "`2M`"]);
    let said = [
        "parts       come alone",
        "listing     this kind of server has none",
    ];
    project.check(&["cache", "info", &serving.url], 0, &said, &[]);
    project.check(&["push", NAME], 6, &[], &["405"]);
    let (status, stderr) = serving.stop();
    assert_eq!(status, Some(0), "{stderr}");
    for word in [
        "GET /packs/",
        " 206 ",
        "GET /trees/",
        "GET /kiln-cache 200 13 B",
    ] {
        assert!(stderr.contains(word), "no `{word}` in {stderr}");
    }
    // Nothing listens any more.
    project.check_in("third", &pull, 4, &[], &["here is skipped"]);
    let nowhere = ["cache", "serve", "nowhere"];
    project.check(&nowhere, 2, &[], &["is no directory", "kiln cache init"]);
}

#[test]
fn a_cache_of_another_time_is_not_touched() {
    let project = built();
    let cache = project.path("cache");
    project.check(&["cache", "init", "here"], 0, &[], &[]);
    project.check(&["push", NAME], 0, &[], &[]);
    let file = format!("{cache}/kiln-cache");
    let pull = ["pull", "--no-result", NAME];
    for (content, why) in [
        ("kiln cache 2\nand more\n", "a cache of version 2"),
        ("<html>\n", "`kiln-cache` is damaged"),
    ] {
        fs::write(&file, content).expect("writable");
        project.check_in("other", &pull, 4, &[], &["here is skipped", why]);
        for args in [
            &["push", NAME][..],
            &["cache", "gc", "here"],
            &["cache", "check", "here"],
            &["cache", "info", "here"],
            &["cache", "init", "here"],
        ] {
            project.check(args, 6, &[], &[why]);
        }
        let build = ["build", "--no-result", NAME];
        let store = format!("builder-{}", content.len());
        project.check_in(&store, &build, 0, &[], &["made    rootfs.small"]);
    }
    fs::write(&file, "kiln cache 1\n").expect("writable");
    project.check_in("other", &pull, 0, &[], &["pulled  rootfs.small"]);
}
