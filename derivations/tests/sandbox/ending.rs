//! How a sandbox ends, and that it does.

use std::time::{Duration, Instant};

use kiln_derivations::sandbox::{CancelToken, Exit};

use crate::support::Kiln;

#[test]
fn cancelling_kills_everything_at_once() {
    let kiln = Kiln::script("trap '' TERM INT HUP; (trap '' TERM; sleep 60) & sleep 60");
    let cancel = CancelToken::new().unwrap();
    let other = cancel.clone();
    let start = Instant::now();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        other.cancel();
    });
    let run = kiln.try_run(&cancel).unwrap();
    stopper.join().unwrap();
    assert_eq!(run.outcome.exit, Exit::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(cancel.is_cancelled());
}

#[test]
fn a_cancelled_token_stops_the_next_run_too() {
    let cancel = CancelToken::new().unwrap();
    cancel.cancel();
    let kiln = Kiln::script("echo ran > /out/ran; sleep 60");
    assert_eq!(kiln.try_run(&cancel).unwrap().outcome.exit, Exit::Cancelled);
    assert!(!kiln.request.out_dir.join("ran").exists());
}
