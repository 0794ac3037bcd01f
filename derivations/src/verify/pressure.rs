//! Other work for the machine, so that a builder has less of it.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// No more than this is taken, however much is free.
const MOST_BYTES: u64 = 1 << 30;
const PAGE_BYTES: usize = 4096;

/// Keeps processors busy, until dropped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// One busy thread for each of `processors`.
    pub(super) fn start(processors: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut turns = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    turns = black_box(turns.wrapping_add(1));
                }
            })
        };
        Self {
            threads: (0..processors).map(spin).collect(),
            stop,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A loop does not panic.
            let _ = thread.join();
        }
    }
}

/// Takes a quarter of what is free, until dropped.
pub(super) struct Ballast {
    _bytes: Vec<u8>,
}

impl Ballast {
    /// `free_bytes` is what the machine has available.
    pub(super) fn take(free_bytes: u64) -> Self {
        let wanted = (free_bytes / 4).min(MOST_BYTES);
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
        // Memory that was never written to is not taken.
        for page in bytes.chunks_mut(PAGE_BYTES) {
            page[0] = 1;
        }
        Self {
            _bytes: black_box(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{Duration, Instant};

    /// What another process, such as a builder, reads.
    fn seen(program: &str, file: &str) -> u64 {
        let output = Command::new("awk").args([program, file]).output();
        let text = String::from_utf8(output.expect("awk runs").stdout).expect("digits");
        text.trim().parse().expect("a number")
    }

    #[test]
    fn another_process_sees_the_load() {
        let running = || seen("/^procs_running/ { print $2 }", "/proc/stat");
        let _load = Load::start(6);
        // The machine may be slow to start threads, but not that slow.
        let end = Instant::now() + Duration::from_secs(20);
        while running() <= 6 {
            assert!(Instant::now() < end, "only {} are running", running());
        }
    }

    #[test]
    fn another_process_has_less_memory() {
        let own = || {
            seen(
                "/^RssAnon/ { print $2 }",
                &format!("/proc/{}/status", std::process::id()),
            )
        };
        let before_kib = own();
        let _ballast = Ballast::take(1 << 30);
        let more_kib = own().saturating_sub(before_kib);
        assert!(more_kib > 200 << 10, "{more_kib} KiB were taken of 256 MiB");
    }
}
