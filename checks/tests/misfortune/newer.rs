//! A store or an index that a newer kiln made: refused in one line, and nothing
//! of it is touched.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::support::{Listing, Shop, Who, listing};

const PACKAGE: &str =
    "[package.p]\nroot = \"base\"\ncommand = [\"/bin/sh\", \"-c\", \"echo x > /out/x\"]\n";

/// No command takes the store, and all say why in one line.
fn check(shop: &Shop, said: &str) {
    let before = listing(&shop.store());
    for arguments in [
        &["build", "--no-result", "--offline", "p"][..],
        &["verify"],
        &["gc"],
        &["log", "p"],
        &["store", "info"],
    ] {
        let outcome = shop.kiln(arguments).run().expect_status(6);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
    assert_same(&before, &listing(&shop.store()));
}

fn assert_same(before: &Listing, after: &Listing) {
    let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(differs).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_store_of_a_newer_version() {
    for who in Who::all() {
        let shop = Shop::new(who, PACKAGE);
        fs::write(shop.store().join("version"), "kiln store 2\n").expect("it is ours");
        check(
            &shop,
            "is a store of version 2, but this kiln reads only up to version 1",
        );
    }
}

/// Where a SQLite file has its `user_version`.
const USER_VERSION_AT: u64 = 60;

#[test]
fn an_index_of_a_newer_version() {
    for who in Who::all() {
        let shop = Shop::new(who, PACKAGE);
        let index = shop.store().join("kiln.db");
        let file = File::options().write(true).open(index).expect("it is ours");
        file.write_all_at(&99_u32.to_be_bytes(), USER_VERSION_AT)
            .expect("it is ours");
        check(&shop, "99");
        // The index is only derived: it can be made anew, and then all is well.
        shop.kiln(&["store", "rebuild"]).succeed();
        shop.build(&["p"]).expect_status(0);
        shop.assert_sound();
    }
}

#[test]
fn what_is_no_store_is_left_alone() {
    for who in Who::all() {
        let shop = Shop::without_store(who, PACKAGE);
        fs::create_dir(shop.store()).expect("it is new");
        fs::write(shop.store().join("letters"), "dear").expect("it is ours");
        who.own(&shop.store());
        let before = listing(&shop.store());
        let outcome = shop.build(&["p"]).expect_status(6);
        assert!(outcome.stderr.contains("letters"), "{}", outcome.stderr);
        assert_same(&before, &listing(&shop.store()));
    }
}
