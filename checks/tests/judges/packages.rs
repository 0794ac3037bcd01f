//! Debian packages of the pinned seeds, unpacked by kiln and by dpkg and GNU
//! tar: names, contents, executable bits and links are the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use kiln_checks::program::repository;
use kiln_derivations::archive::{Limits, deb};
use kiln_derivations::derivation::Target;
use kiln_derivations::fetch::{Cancel, FetchConfig, FetchRequest, Fetcher, Silent};
use kiln_derivations::manifest::load::load_lock;
use kiln_derivations::manifest::lock::PinnedPackage;
use kiln_store::hash::{Digest, TreeId};
use kiln_store::objects::{Memory, Objects};
use kiln_store::tree::Node;

use crate::tools::{Tools, text};

/// How many packages are compared, the smallest of all seeds.
const PACKAGES: usize = 130;
/// And these, for what they hold: hard links, setuid files, many links.
const ALSO: [&str; 4] = ["bash", "coreutils", "perl-base", "libc6"];

/// What stands at a path.
#[derive(PartialEq, Eq, Debug)]
enum Item {
    Directory,
    Link(Vec<u8>),
    File { digest: Digest, executable: bool },
}

type Items = BTreeMap<Vec<u8>, Item>;

#[test]
fn packages_are_what_dpkg_unpacks() {
    let tools = Tools::build();
    let packages = chosen();
    assert!(packages.len() >= 100, "only {} are pinned", packages.len());
    let fetcher = Fetcher::new(FetchConfig::of_machine(tools.path("downloads")));
    let fetcher = fetcher.expect("downloads can be kept");
    let requests: Vec<_> = packages.iter().map(request).collect();
    let fetched = fetcher.fetch_all(&requests, 8, &Silent, &Cancel::default());
    for (package, fetched) in packages.iter().zip(fetched) {
        let fetched = fetched.unwrap_or_else(|error| panic!("{}: {error}", package.name));
        let ours = ours(&fetched.path);
        let theirs = theirs(&tools, &fetched.path);
        let different: Vec<_> = ours
            .keys()
            .chain(theirs.keys())
            .filter(|path| ours.get(*path) != theirs.get(*path))
            .map(|path| String::from_utf8_lossy(path))
            .collect();
        assert!(different.is_empty(), "{}: {different:?}", package.name);
        fs::remove_file(&fetched.path).expect("it is ours");
    }
}

/// The smallest packages of all seeds, and some large ones.
fn chosen() -> Vec<PinnedPackage> {
    let platform = Target::host().expect("a target");
    let lock = load_lock(&repository().join("flake-like.lock")).expect("it parses");
    let all = lock.seeds.values().flat_map(|seed| seed.packages(platform));
    let by_hash: BTreeMap<&str, &PinnedPackage> = all.map(|it| (it.sha256.as_str(), it)).collect();
    let mut packages: Vec<_> = by_hash.into_values().cloned().collect();
    packages.sort_by_key(|package| package.size);
    let (mut chosen, large) = match packages.len() {
        length if length > PACKAGES => {
            let large = packages.split_off(PACKAGES);
            (packages, large)
        }
        _ => (packages, Vec::new()),
    };
    let also = large
        .into_iter()
        .filter(|it| ALSO.contains(&it.name.as_str()));
    chosen.extend(also);
    chosen
}

fn request(package: &PinnedPackage) -> FetchRequest {
    FetchRequest {
        name: package.name.clone(),
        candidates: vec![format!("debian:{}", package.path).parse().expect("a URL")],
        sha256: package.sha256.parse().expect("a hash"),
        blake3: None,
        size: Some(package.size),
        first_seen: None,
    }
}

fn ours(package: &Path) -> Items {
    let objects = Memory::default();
    let file = BufReader::new(File::open(package).expect("it was fetched"));
    let unpacked = deb::unpack(file, &Limits::default(), &objects).expect("it is a package");
    let mut items = Items::new();
    walk_tree(&objects, &unpacked.data.tree, b"", &mut items);
    items
}

fn walk_tree(objects: &Memory, tree: &TreeId, parent: &[u8], items: &mut Items) {
    let directory = objects.directory(tree).expect("it was written");
    for entry in directory.entries() {
        let path = [parent, b"/", entry.name.as_bytes()].concat();
        let item = match &entry.node {
            Node::Directory { tree } => {
                walk_tree(objects, tree, &path, items);
                Item::Directory
            }
            Node::Symlink { target } => Item::Link(target.clone()),
            Node::File {
                content,
                executable,
                ..
            } => Item::File {
                digest: *content.digest(),
                executable: *executable,
            },
        };
        items.insert(path, item);
    }
}

fn theirs(tools: &Tools, package: &Path) -> Items {
    let directory = tools.path("theirs");
    fs::create_dir(&directory).expect("it is new");
    let mut dpkg = tools.command("dpkg-deb", &["--fsys-tarfile", text(package)]);
    let mut dpkg = dpkg.stdout(Stdio::piped()).spawn().expect("it starts");
    let archive = dpkg.stdout.take().expect("it is piped");
    let mut tar = tools.command(
        "tar",
        &["-x", "--no-same-owner", "-p", "-C", text(&directory)],
    );
    let status = tar.stdin(archive).status().expect("it starts");
    assert!(status.success(), "tar of {package:?}: {status}");
    assert!(
        dpkg.wait().expect("it was started").success(),
        "dpkg-deb of {package:?}"
    );
    let mut items = Items::new();
    walk_disk(&directory, b"", &mut items);
    fs::remove_dir_all(&directory).expect("it is ours");
    items
}

fn walk_disk(directory: &Path, parent: &[u8], items: &mut Items) {
    for entry in fs::read_dir(directory).expect("it was unpacked") {
        let entry = entry.expect("it can be read");
        let path = [parent, b"/", entry.file_name().as_bytes()].concat();
        let kind = entry.metadata().expect("it is there");
        let item = if kind.is_dir() {
            walk_disk(&entry.path(), &path, items);
            Item::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).expect("it is a link");
            Item::Link(target.as_os_str().as_bytes().to_vec())
        } else {
            let mut content = Vec::new();
            let mut file = File::open(entry.path()).expect("it can be read");
            file.read_to_end(&mut content).expect("it can be read");
            Item::File {
                digest: Digest::of(&content),
                executable: kind.permissions().mode() & 0o100 != 0,
            }
        };
        items.insert(path, item);
    }
}
