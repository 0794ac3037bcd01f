//! Builders that use up too much: ended within the limit, the host usable.

use std::process::Command;
use std::time::{Duration, Instant};

use kiln_derivations::sandbox::{
    CancelToken, Exit, Limit, LimitTier, SandboxError, cgroup_available,
};

use crate::support::{Kiln, Run};

/// Runs, and expects it to be ended by `limit` in time.
fn ended_by(limit: Limit, kiln: &Kiln) -> Run {
    let start = Instant::now();
    let run = kiln.run();
    assert_eq!(run.outcome.exit, Exit::Limit(limit), "{}", run.log);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    run
}

#[test]
fn the_tier_is_named() {
    let expected = if cgroup_available().is_ok() {
        LimitTier::Cgroup
    } else {
        LimitTier::Polling
    };
    assert_eq!(Kiln::script("true").run().outcome.tier, expected);
}

#[test]
fn hard_limits_are_not_pretended() {
    let mut kiln = Kiln::script("true");
    kiln.request.limits.hard = true;
    match kiln
        .try_run(&CancelToken::new().unwrap())
        .map(|run| run.outcome)
    {
        Ok(outcome) => assert_eq!(outcome.tier, LimitTier::Cgroup),
        Err(error) => assert!(matches!(error, SandboxError::NoHardLimits(_)), "{error}"),
    }
}

#[test]
fn a_fork_bomb_ends_and_the_host_goes_on() {
    let kiln = Kiln::attack("fork-bomb");
    let bomb = std::thread::spawn(move || ended_by(Limit::Processes, &kiln).outcome);
    while !bomb.is_finished() {
        assert!(Command::new("true").status().unwrap().success());
    }
    bomb.join().unwrap();
}

#[test]
fn a_memory_hog_ends() {
    let run = ended_by(Limit::Memory, &Kiln::attack("memory"));
    assert!(run.outcome.peak_rss_bytes < 2 << 30, "{:?}", run.outcome);
}

#[test]
fn shared_memory_is_bounded_and_counts() {
    let mut kiln = Kiln::attack("shared-memory");
    kiln.request.limits.memory_bytes = 128 << 20;
    let run = ended_by(Limit::Memory, &kiln);
    assert_eq!(
        run.log, "MiB: 64\n",
        "files are bounded to half, then memory follows"
    );
}

#[test]
fn a_log_flood_is_cut() {
    let run = ended_by(Limit::Log, &Kiln::attack("flood"));
    assert_eq!((run.outcome.log_bytes, run.log.len()), (1 << 20, 1 << 20));
}

#[test]
fn a_flood_at_the_end_is_cut_too() {
    let mut kiln = Kiln::script("printf 1234567890");
    kiln.request.limits.log_bytes = 9;
    assert_eq!(ended_by(Limit::Log, &kiln).log, "123456789");
    kiln.request.limits.log_bytes = 10;
    assert_eq!(kiln.succeed(), "1234567890");
}

#[test]
fn a_full_output_ends() {
    ended_by(Limit::Output, &Kiln::attack("fill"));
}

#[test]
fn hanging_ends_by_wall_time() {
    let mut kiln = Kiln::script("trap '' TERM INT; while true; do echo working; sleep 0.1; done");
    // Longer than a busy machine takes to start a builder.
    kiln.request.limits.wall_s = 5;
    kiln.request.limits.silence_s = 0;
    let run = ended_by(Limit::Wall, &kiln);
    assert!(
        run.log.starts_with("working\n"),
        "{:?} {}",
        run.outcome,
        run.log
    );
}

#[test]
fn silence_ends() {
    let mut kiln = Kiln::script("echo a; sleep 1.2; echo b; sleep 1.2; echo c; sleep 60");
    kiln.request.limits.silence_s = 2;
    assert_eq!(ended_by(Limit::Silence, &kiln).log, "a\nb\nc\n");
}

#[test]
fn a_stopped_builder_ends_by_silence() {
    let mut kiln = Kiln::script("kill -STOP $$");
    kiln.request.limits.silence_s = 1;
    ended_by(Limit::Silence, &kiln);
}

#[test]
fn deep_trees_and_huge_directories_do_no_harm() {
    assert_eq!(Kiln::attack("deep").succeed(), "deep\n");
    assert_eq!(Kiln::attack("huge").succeed(), "huge\n");
}

#[test]
fn a_deep_file_counts() {
    let mut kiln = Kiln::attack("deep").with("STAY_MS", "60000");
    kiln.request.limits.output_bytes = 1 << 20;
    ended_by(Limit::Output, &kiln);
}
