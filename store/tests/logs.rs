//! Build logs.

mod support;

use std::io::{Read, Write};

use kiln_store::hash::{ActionKey, Digest};
use support::Fixture;

#[test]
fn logs_are_read_while_they_grow_and_afterwards() {
    let fixture = Fixture::new();
    let action = ActionKey(Digest::of(b"action"));
    let read = || {
        let log = fixture.store.read_log(&action).expect("to open");
        log.map(|mut log| {
            let mut text = String::new();
            log.read_to_string(&mut text).expect("to read");
            text
        })
    };
    assert_eq!(read(), None);
    let mut writer = fixture.store.write_log(&action).expect("to begin");
    writer.write_all(b"cc -c a.c\n").expect("to write");
    assert_eq!(read().as_deref(), Some("cc -c a.c\n"));
    writer.finish().expect("to finish");
    assert_eq!(read().as_deref(), Some("cc -c a.c\n"));
    assert!(!fixture.store.log_path(&action).exists());
}
