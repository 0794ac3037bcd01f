//! radosgw: Ceph's S3 server, here on `dbstore`, one SQLite file, without a
//! cluster.
//!
//! `dbstore` of Ceph 18 sends the beginning of a file as any part of it, under
//! headers that say otherwise. So parts are judged elsewhere (`misfortune` in the
//! library), on a server that is no more than a test's. So are races: once in a
//! hundred runs, who reads a file while it is written gets some of both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use kiln_checks::Scratch;
use kiln_store::cache::backend::Kind;
use kiln_store::cache::contract;
use rusty_s3::{Bucket, S3Action, UrlStyle};

use crate::servers::{Programs, Server, Start, scratch};
use crate::{access, cache, get, name, put};

const START: Start<'_> = Start {
    program: "radosgw",
    arguments: &[
        "-c",
        "ceph.conf",
        "-n",
        "client.kiln",
        "--no-mon-config",
        "-f",
    ],
    config: "ceph.conf",
};
const ID: &str = "KILNKILNKILN";
const SECRET: &str = "s3cret/key+of=kiln";
/// More than a page of a listing has.
const FILES: usize = 1010;

/// Starts it, with a user and the bucket `team`.
fn start() -> Server {
    let server = Server::start(with_user(), &START, config);
    make_bucket(server.address());
    server
}

/// A database with a user, while nobody else has it open.
///
/// `radosgw-admin` of Ceph 18 hangs in about one of twenty runs: it tells its
/// `db_gc` thread to end before that one waits for being told. Then it has done
/// its work, but did not say how that went, so it begins anew.
fn with_user() -> Scratch {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    #[rustfmt::skip]
    let arguments = [
        "-c", "ceph.conf", "-n", "client.kiln", "--no-mon-config", "user", "create",
        "--uid", "kiln", "--display-name", "kiln", "--access-key", ID, "--secret", SECRET,
    ];
    for _ in 0..5 {
        let scratch = scratch(&["db", "data"]);
        let text = config(nowhere, scratch.path());
        fs::write(scratch.join(START.config), text).expect("it can be written");
        let printed = Programs::get().run_or_give_up("radosgw-admin", &arguments, scratch.path());
        if printed.is_some() {
            return scratch;
        }
    }
    panic!("radosgw-admin {arguments:?} does not end");
}

fn config(address: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "[global]
fsid = 11111111-2222-3333-4444-555555555555
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_host = 127.0.0.1:1
[client]
rgw_backend_store = dbstore
rgw_config_store = dbstore
dbstore_db_dir = {directory}/db
dbstore_db_name_prefix = kiln
dbstore_config_uri = file:{directory}/db/config.db
rgw_data = {directory}/data
rgw_frontends = beast endpoint={address}
rgw_enable_apis = s3
rgw_enable_ops_log = false
admin_socket =
run_dir = {directory}
log_file = {directory}/rgw.log
keyring = {directory}/keyring
"
    )
}

fn make_bucket(address: SocketAddr) {
    let endpoint = format!("http://{address}").parse().expect("a URL");
    let bucket = Bucket::new(endpoint, UrlStyle::Path, "team", "us-east-1").expect("a bucket");
    let credentials = rusty_s3::Credentials::new(ID, SECRET);
    let url = bucket
        .create_bucket(&credentials)
        .sign(Duration::from_secs(60));
    let made = ureq::put(url.as_str()).send_empty();
    made.unwrap_or_else(|error| panic!("the bucket is not made: {error}"));
}

fn url(server: &Server) -> String {
    format!("s3://team/caches/kiln?endpoint=http://{}", server.address())
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];

#[test]
fn a_bucket_keeps_the_contract_of_whole_files() {
    let server = start();
    contract::check_whole_files(&*cache(&url(&server), &access(&KEYS)));
}

#[test]
fn listings_go_on_over_pages() {
    let server = start();
    let cache = cache(&url(&server), &access(&KEYS));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for file in (thread..FILES).step_by(4) {
                    put(&**cache, &format!("many/{file}"), b"x").expect("it goes");
                }
            });
        }
    });
    let listed = cache.list("many/").expect("it goes").expect("it lists");
    let names: std::collections::BTreeSet<_> = listed.iter().map(|file| &file.name).collect();
    assert_eq!((listed.len(), names.len()), (FILES, FILES));
}

#[test]
fn keys_come_from_profiles_too_and_wrong_ones_are_denied() {
    let server = start();
    let at = url(&server);
    put(&*cache(&at, &access(&KEYS)), "file", b"content").expect("it may");

    let file = server.path("credentials");
    let text = format!(
        "[default]\naws_access_key_id = no\naws_secret_access_key = no\n\n[ci]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n"
    );
    fs::write(&file, text).expect("it can be written");
    let file = file.to_str().expect("a plain path");
    let profile = access(&[("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "ci")]);
    assert_eq!(
        get(&*cache(&at, &profile), "file").as_deref(),
        Some(&b"content"[..])
    );

    let wrong = [KEYS[0], ("AWS_SECRET_ACCESS_KEY", "wr0ng")];
    let unknown = access(&[("AWS_SHARED_CREDENTIALS_FILE", file)]);
    for access in [access(&wrong), unknown, access(&[])] {
        let cache = cache(&at, &access);
        let (read, write) = (
            cache.open(&name("file"), None).map(|_| ()),
            put(&*cache, "new", b"x"),
        );
        let list = cache.list("").map(|_| ());
        for error in [read, write, list] {
            let error = error.expect_err("nobody may");
            assert!(matches!(error.kind, Kind::Denied(_)), "{error}");
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains("wr0ng") && !shown.contains("Signature="),
                "{shown}"
            );
        }
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let server = start();
    let at = format!("s3://elsewhere?endpoint=http://{}", server.address());
    let cache = cache(&at, &access(&KEYS));
    for error in [put(&*cache, "file", b"x"), cache.list("").map(|_| ())] {
        let error = error.expect_err("it is not there").to_string();
        assert!(
            error.contains("NoSuchBucket") && error.contains("s3://elsewhere"),
            "{error}"
        );
    }
}
