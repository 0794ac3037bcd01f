//! Downloads that fail or lie.

use std::fs;

use kiln_checks::Outcome;

use crate::support::server::{Answer, Server, nobody, noise, pinned};
use crate::support::{Shop, Who, failure_of, names};

/// A project with one source at `urls`, pinned to `content`.
fn shop(who: Who, urls: &[String], content: &[u8]) -> Shop {
    let urls_text = urls.iter().map(|url| format!("\"{url}\""));
    let urls_text: Vec<_> = urls_text.collect();
    let source = format!(
        "[source.s]\nraw = true\nurls = [{}]\n",
        urls_text.join(", ")
    );
    let shop = Shop::without_store(who, &source);
    shop.lock(vec![pinned("s", urls, content)]);
    shop
}

fn build(shop: &Shop) -> Outcome {
    shop.kiln(&["build", "--no-result", "s"]).run()
}

/// Nothing of the download is left, and nothing was built.
fn assert_nothing_kept(shop: &Shop) {
    assert_eq!(names(&shop.store().join("downloads")), [""; 0]);
    assert_eq!(names(&shop.store().join("realisations")), [""; 0]);
    shop.assert_sound();
}

#[test]
fn a_wrong_hash_says_what_was_expected_what_came_and_from_where() {
    for who in Who::all() {
        let (right, wrong) = (noise(1, 5000), noise(2, 5000));
        let server = Server::start(Answer::Content(wrong.clone()));
        let url = server.url("file");
        let shop = shop(who, std::slice::from_ref(&url), &right);
        let outcome = build(&shop).expect_status(3);
        let hash = |content: &[u8]| pinned("", &[], content).sha256;
        for part in [&hash(&right), &hash(&wrong), &url] {
            assert!(
                outcome.stderr.contains(part),
                "{part} in {}",
                outcome.stderr
            );
        }
        assert_eq!(failure_of(&outcome.events, "source.s").0, "hash-mismatch");
        assert_nothing_kept(&shop);
    }
}

#[test]
fn a_wrong_size_is_a_mismatch_too() {
    let (right, wrong) = (noise(1, 5000), noise(1, 6000));
    let server = Server::start(Answer::Content(wrong));
    let shop = shop(Who::me(), &[server.url("file")], &right);
    let outcome = build(&shop).expect_status(3);
    for part in ["5000", "6000", &server.url("file")] {
        assert!(
            outcome.stderr.contains(part),
            "{part} in {}",
            outcome.stderr
        );
    }
    assert_nothing_kept(&shop);
}

#[test]
fn after_a_lie_the_next_candidate_serves() {
    let (right, wrong) = (noise(1, 5000), noise(2, 5000));
    let liar = Server::start(Answer::Content(wrong));
    let honest = Server::start(Answer::Content(right.clone()));
    let urls = [liar.url("file"), honest.url("file")];
    let shop = shop(Who::me(), &urls, &right);
    let outcome = build(&shop).expect_status(0);
    assert!(outcome.stderr.contains(&urls[0]), "{}", outcome.stderr);
    shop.assert_sound();
}

#[test]
fn a_missing_file_is_looked_for_at_the_next_candidate() {
    for who in Who::all() {
        let right = noise(1, 5000);
        let (without, with) = (
            Server::start(Answer::NotFound),
            Server::start(Answer::Content(right.clone())),
        );
        let urls = [without.url("file"), with.url("file")];
        let shop = shop(who, &urls, &right);
        let outcome = build(&shop).expect_status(0);
        let failed = outcome.events.of_kind("candidate-failed").next();
        let failed = failed.expect("the first candidate is told");
        assert_eq!(failed["url"], urls[0].as_str());
        assert_eq!(failed["why"], "not found");
        shop.assert_sound();
    }
}

#[test]
fn a_truncated_download_ends_and_goes_on_later() {
    let right = noise(1, 200_000);
    let server = Server::start(Answer::CutOff(right.clone()));
    let url = server.url("file");
    let shop = shop(Who::me(), std::slice::from_ref(&url), &right);
    let outcome = build(&shop).expect_status(6);
    assert!(outcome.stderr.contains(&url), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("cut off after"),
        "{}",
        outcome.stderr
    );
    assert_eq!(failure_of(&outcome.events, "source.s").0, "unavailable");
    // A part may be kept, under a name that says so; no claim is.
    for name in names(&shop.store().join("downloads")) {
        assert!(name.ends_with(".part"), "{name}");
    }
    assert_eq!(names(&shop.store().join("realisations")), [""; 0]);
    server.set(Answer::Content(right));
    build(&shop).expect_status(0);
    assert_eq!(names(&shop.store().join("downloads")), [""; 0]);
    shop.assert_sound();
}

#[test]
fn a_mirror_that_is_down_is_a_clear_end() {
    for who in Who::all() {
        let right = noise(1, 5000);
        let urls = [nobody("a"), nobody("b")];
        let shop = shop(who, &urls, &right);
        let outcome = build(&shop).expect_status(6);
        for url in &urls {
            assert!(outcome.stderr.contains(url), "{}", outcome.stderr);
        }
        assert!(
            outcome.stderr.contains("no connection"),
            "{}",
            outcome.stderr
        );
        assert_eq!(failure_of(&outcome.events, "source.s").0, "unavailable");
        assert_nothing_kept(&shop);
    }
}

#[test]
fn offline_asks_nobody() {
    let right = noise(1, 5000);
    let server = Server::start(Answer::Content(right.clone()));
    let shop = shop(Who::me(), &[server.url("file")], &right);
    let outcome = shop.build(&["s"]).expect_status(6);
    assert!(outcome.stderr.contains("--offline"), "{}", outcome.stderr);
    assert_eq!(server.requests(), [""; 0]);
    assert_nothing_kept(&shop);
    // What is here already is served without network.
    build(&shop).expect_status(0);
    fs::remove_dir_all(shop.store().join("downloads")).expect("it is ours");
    shop.build(&["s"]).expect_status(0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_archive_that_is_damaged_is_told_as_one() {
    let content = b"this is no archive".to_vec();
    let server = Server::start(Answer::Content(content.clone()));
    let url = server.url("file.tar.gz");
    let shop = Shop::without_store(Who::me(), &format!("[source.s]\nurl = \"{url}\"\n"));
    shop.lock(vec![pinned("s", &[url], &content)]);
    let outcome = build(&shop).expect_status(1);
    assert_eq!(failure_of(&outcome.events, "source.s").0, "archive");
    assert_eq!(names(&shop.store().join("realisations")), [""; 0]);
    shop.assert_sound();
}
