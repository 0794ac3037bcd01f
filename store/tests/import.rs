//! What is captured of a directory, and what is refused.

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use kiln_store::import::{ImportError, Limits, Refused, Rules};
use kiln_store::objects::Objects;
use kiln_store::tree::Node;
use rustix::fs::{FileType, Mode, mknodat};
use support::{Fixture, write_tree};

/// Makes something in a directory next to harmless files, and expects its
/// capture to be refused by name.
fn check_refused(name: &str, make: impl Fn(&Path), expected: Refused) {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    make(&source.join(name));
    match fixture.try_import(&source, Limits::default()) {
        Err(ImportError::Refused { path, what }) => {
            assert_eq!((path.as_path(), what), (Path::new(name), expected));
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("to chmod");
}

#[test]
fn what_no_tree_holds_is_refused_by_name() {
    let suid = |mode| {
        move |path: &Path| {
            fs::write(path, "x").expect("to write");
            chmod(path, mode);
        }
    };
    check_refused("a/b/su", suid(0o4755), Refused::SpecialBits);
    check_refused("sg", suid(0o2755), Refused::SpecialBits);
    let directory = |path: &Path| {
        fs::create_dir(path).expect("to create");
        chmod(path, 0o2755);
    };
    check_refused("a/sgdir", directory, Refused::SpecialBits);
    let fifo = |path: &Path| {
        let here = fs::File::open(path.parent().expect("a parent")).expect("to open");
        let name = path.file_name().expect("a name");
        mknodat(here.as_fd(), name, FileType::Fifo, Mode::RWXU, 0).expect("to make a fifo");
    };
    check_refused("a/fifo", fifo, Refused::Fifo);
    let socket = |path: &Path| drop(UnixListener::bind(path).expect("to bind"));
    check_refused("socket", socket, Refused::Socket);
}

#[test]
fn a_local_source_may_have_special_bits() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let expected = fixture.import(&source);
    chmod(&source.join("a"), 0o2755);
    let imported = fixture.store.import_path(&source, &Rules::source());
    assert_eq!(imported.expect("to import"), expected);
}

#[test]
fn limits_hold_to_the_last() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    fs::create_dir_all(source.join("a/b")).expect("to create");
    fs::write(source.join("a/b/ten"), "0123456789").expect("to write");
    fs::write(source.join("five"), "01234").expect("to write");
    let exact = Limits {
        bytes: 15,
        entries: 4,
        depth: 3,
    };
    let check = |limits| fixture.try_import(&source, limits);
    let imported = check(exact).expect("what just fits");
    assert_eq!((imported.bytes, imported.entries), (15, 4));
    let bytes = Limits { bytes: 14, ..exact };
    assert!(matches!(
        check(bytes),
        Err(ImportError::TooLarge { limit: 14 })
    ));
    let entries = Limits {
        entries: 3,
        ..exact
    };
    assert!(matches!(
        check(entries),
        Err(ImportError::TooMany { limit: 3 })
    ));
    let depth = Limits { depth: 2, ..exact };
    assert!(matches!(
        check(depth),
        Err(ImportError::TooDeep { limit: 2, .. })
    ));
}

#[test]
fn symlinks_are_kept_and_never_followed() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    symlink("/etc/passwd", source.join("file")).expect("to link");
    symlink("/etc", source.join("directory")).expect("to link");
    let tree = fixture.import(&source).tree;
    let directory = fixture.store.directory(&tree).expect("a directory");
    let link = |target: &str| Node::Symlink {
        target: target.as_bytes().to_vec(),
    };
    assert_eq!(directory.get(b"file"), Some(&link("/etc/passwd")));
    assert_eq!(directory.get(b"directory"), Some(&link("/etc")));
}

#[test]
fn hard_links_and_modes_do_not_matter() {
    let fixture = Fixture::new();
    let (linked, plain) = (fixture.dir("linked"), fixture.dir("plain"));
    fs::write(linked.join("a"), "x").expect("to write");
    fs::hard_link(linked.join("a"), linked.join("b")).expect("to link");
    chmod(&linked.join("a"), 0o600);
    for name in ["a", "b"] {
        fs::write(plain.join(name), "x").expect("to write");
    }
    assert_eq!(fixture.import(&linked), fixture.import(&plain));
}

/// A builder that takes away its own right to read.
#[test]
fn what_denies_reading_is_read_all_the_same() {
    let fixture = Fixture::new();
    let (denied, plain) = (fixture.dir("denied"), fixture.dir("plain"));
    for root in [&denied, &plain] {
        fs::create_dir(root.join("d")).expect("to create");
        fs::write(root.join("d/secret"), "x").expect("to write");
        fs::write(root.join("d/run"), "x").expect("to write");
        chmod(&root.join("d/run"), 0o755);
    }
    chmod(&denied.join("d/secret"), 0o000);
    chmod(&denied.join("d/run"), 0o100);
    let root = fs::File::open(&denied).expect("to open");
    let expected = fixture.import(&plain);
    for (inner, outer) in [
        (0o000, 0o700),
        (0o400, 0o500),
        (0o100, 0o400),
        (0o200, 0o000),
    ] {
        chmod(&denied, 0o700);
        chmod(&denied.join("d"), inner);
        chmod(&denied, outer);
        let rules = Rules::output(Limits::default());
        let imported = fixture.store.import(root.as_fd(), &rules);
        assert_eq!(
            imported.expect("to import"),
            expected,
            "{inner:o} in {outer:o}"
        );
    }
}

#[test]
fn what_is_ignored_is_not_even_looked_at() {
    let fixture = Fixture::new();
    let (source, plain) = (fixture.dir("source"), fixture.dir("plain"));
    fs::create_dir_all(source.join("target/debug")).expect("to create");
    drop(UnixListener::bind(source.join("target/socket")).expect("to bind"));
    fs::write(source.join("kept"), "x").expect("to write");
    fs::write(plain.join("kept"), "x").expect("to write");
    let ignore = |path: &Path, directory: bool| directory && path == Path::new("target");
    let rules = Rules {
        ignore: Some(&ignore),
        ..Rules::source()
    };
    let imported = fixture.store.import_path(&source, &rules);
    assert_eq!(imported.expect("to import"), fixture.import(&plain));
}

#[test]
fn a_changed_local_source_is_seen() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    fs::write(source.join("a"), "1").expect("to write");
    let import = || fixture.store.import_path(&source, &Rules::source());
    let first = import().expect("to import").tree;
    fs::write(source.join("a"), "2").expect("to write");
    let second = import().expect("to import").tree;
    assert_ne!(first, second);
    fs::write(source.join("a"), "1").expect("to write");
    assert_eq!(import().expect("to import").tree, first);
}

#[test]
fn the_descriptor_may_have_been_read_from() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    write_tree(&source);
    let dir = fs::File::open(&source).expect("to open");
    let rules = Rules::output(Limits::default());
    let import = || fixture.store.import(dir.as_fd(), &rules);
    assert_eq!(import().expect("once"), import().expect("twice"));
}

#[test]
fn a_deep_tree_is_refused_and_not_walked() {
    let fixture = Fixture::new();
    let source = fixture.dir("source");
    support::nest(&source, 3000);
    let error = fixture.try_import(&source, Limits::default());
    assert!(
        matches!(error, Err(ImportError::TooDeep { limit: 256, .. })),
        "{error:?}"
    );
    fixture.remove_nested(&source);
}
