//! A cache behind a network without bandwidth limits, on which time is counted
//! in round trips: requests that are under way at one time share one.
//!
//! No clock is involved. A request is answered when nothing more can happen
//! without an answer: when every other thread of this process sleeps, and did so
//! for a while. So a slow or busy machine counts as a fast and idle one does. It
//! needs the process for itself, hence one [`Meter`] at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use kiln_store::cache::backend::{Backend, BackendError, Body, ByteRange, Listed, Source};
use kiln_store::cache::name::Name;

/// For how long all threads have to have slept. What sleeps by a timer (a
/// database that is busy) is awake again by then.
const QUIET: Duration = Duration::from_millis(15);

/// A request, as the server sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// In which round trip, from one.
    pub round: u64,
    /// About which file, or files.
    pub name: String,
    /// Bytes of content that were sent in answer.
    pub bytes: u64,
}

/// What was asked since the meter was made.
#[derive(Debug, Default)]
pub struct Log(pub Vec<Request>);

impl Log {
    /// How many requests about names with this beginning.
    pub fn count(&self, prefix: &str) -> usize {
        self.about(prefix).count()
    }

    /// Bytes of the answers to them.
    pub fn bytes(&self, prefix: &str) -> u64 {
        self.about(prefix).map(|request| request.bytes).sum()
    }

    /// Round trips until the first of them is asked; all, if none is.
    pub fn rounds_before(&self, prefix: &str) -> u64 {
        let rounds = self.about(prefix).map(|request| request.round - 1);
        rounds.min().unwrap_or_else(|| self.rounds())
    }

    /// All round trips.
    pub fn rounds(&self) -> u64 {
        let rounds = self.0.iter().map(|request| request.round);
        rounds.max().unwrap_or_default()
    }

    fn about(&self, prefix: &str) -> impl Iterator<Item = &Request> {
        let is_it = move |request: &&Request| request.name.starts_with(prefix);
        self.0.iter().filter(is_it)
    }
}

#[derive(Default)]
struct State {
    /// Round trips that are over.
    rounds: u64,
    /// Requests that wait for the end of the one that goes on.
    waiting: usize,
    log: Log,
    is_over: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer to a request; returns its place in the log.
    fn travel(&self, name: &str) -> usize {
        let mut state = self.state();
        let round = state.rounds + 1;
        let place = state.log.0.len();
        state.log.0.push(Request {
            round,
            name: name.to_owned(),
            bytes: 0,
        });
        state.waiting += 1;
        self.changed.notify_all();
        while state.rounds < round {
            state = wait(&self.changed, state);
        }
        place
    }

    /// Ends round trips until the meter is dropped.
    fn tick(&self) {
        loop {
            let mut state = self.state();
            while state.waiting == 0 && !state.is_over {
                state = wait(&self.changed, state);
            }
            if state.is_over {
                return;
            }
            drop(state);
            wait_for_quiet();
            let mut state = self.state();
            state.rounds += 1;
            state.waiting = 0;
            self.changed.notify_all();
        }
    }
}

fn wait<'s>(changed: &Condvar, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// Counts the round trips of all caches behind it.
pub struct Meter {
    shared: Arc<Shared>,
    ticker: Option<thread::JoinHandle<()>>,
    _alone: MutexGuard<'static, ()>,
}

impl Meter {
    /// Begins to count, once no other meter does.
    pub fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::new(Shared::default());
        let ticking = Arc::clone(&shared);
        Self {
            shared,
            ticker: Some(thread::spawn(move || ticking.tick())),
            _alone: alone,
        }
    }

    /// A cache as it is far away.
    pub fn far(&self, near: Box<dyn Backend>) -> Box<dyn Backend> {
        Box::new(Far {
            near,
            shared: Arc::clone(&self.shared),
        })
    }

    /// What was asked.
    pub fn into_log(self) -> Log {
        std::mem::take(&mut self.shared.state().log)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_all();
        if let Some(ticker) = self.ticker.take() {
            let ended = ticker.join();
            assert!(ended.is_ok() || thread::panicking(), "the ticker panicked");
        }
    }
}

struct Far {
    near: Box<dyn Backend>,
    shared: Arc<Shared>,
}

impl Backend for Far {
    fn place(&self) -> String {
        self.near.place()
    }

    fn open(&self, name: &Name, range: Option<ByteRange>) -> Result<Option<Body>, BackendError> {
        let place = self.shared.travel(name.as_str());
        let opened = self.near.open(name, range)?;
        // All that the server sends counts, whether or not it is read.
        let sent = opened.as_ref().and_then(|body| body.length);
        self.shared.state().log.0[place].bytes = match &opened {
            None => 0,
            Some(_) => sent.expect("it knows how much it sends"),
        };
        Ok(opened)
    }

    fn size(&self, name: &Name) -> Result<Option<u64>, BackendError> {
        self.shared.travel(name.as_str());
        self.near.size(name)
    }

    fn put(
        &self,
        name: &Name,
        content: &mut dyn Source,
        size_bytes: u64,
    ) -> Result<(), BackendError> {
        self.shared.travel(name.as_str());
        self.near.put(name, content, size_bytes)
    }

    fn list(&self, prefix: &str) -> Result<Option<Vec<Listed>>, BackendError> {
        self.shared.travel(prefix);
        self.near.list(prefix)
    }

    fn remove(&self, name: &Name) -> Result<(), BackendError> {
        self.shared.travel(name.as_str());
        self.near.remove(name)
    }
}

/// Waits until every other thread of this process sleeps.
///
/// If two looks at all threads find each of them asleep, and none has run in
/// between, then all slept together at the end of the first look. A thread that
/// is to wake another counts as awake until it has; one that waits for a disk
/// does not count as asleep.
fn wait_for_quiet() {
    loop {
        let before = sleepers();
        thread::sleep(QUIET);
        if before.is_some() && before == sleepers() {
            return;
        }
    }
}

/// For each other thread, how often it was put to sleep; none if one is awake.
fn sleepers() -> Option<BTreeMap<String, Vec<String>>> {
    let own = fs::read_link("/proc/thread-self").expect("procfs is mounted");
    let own = own.file_name().map(|name| name.to_owned());
    let mut sleepers = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/task").expect("procfs is mounted") {
        let entry = entry.expect("procfs can be read");
        if Some(entry.file_name()) == own {
            continue;
        }
        let switches = switches(&entry.path().join("status"))?;
        sleepers.insert(entry.file_name().to_string_lossy().into_owned(), switches);
    }
    Some(sleepers)
}

/// How often a thread was switched to and from; none if it is awake, or gone.
fn switches(status: &Path) -> Option<Vec<String>> {
    let text = match fs::read_to_string(status) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return None,
        Err(error) => panic!("{status:?}: {error}"),
    };
    let is_asleep = text.lines().any(|line| line.starts_with("State:\tS"));
    let switches = text.lines().filter(|line| line.contains("ctxt_switches"));
    let switches: Vec<String> = switches.map(str::to_owned).collect();
    assert_eq!(switches.len(), 2, "the kernel counts them: {text}");
    is_asleep.then_some(switches)
}

fn is_gone(error: &io::Error) -> bool {
    // ESRCH, if it ends while its file is read.
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_store::cache::memory::Memory;
    use kiln_store::cache::small;

    #[test]
    fn what_is_asked_at_one_time_is_one_round_trip() {
        let near = Memory::default();
        let name = |text: &str| Name::new(text).expect("a name");
        for one in ["a/1", "a/2", "a/3", "b/1"] {
            small::write(&near, &name(one), b"four").expect("memory");
        }
        let meter = Meter::new();
        let far = meter.far(Box::new(near));
        let read = |text: &str| {
            // What a thread does before it asks takes no time.
            thread::sleep(QUIET / 5);
            let read = small::read(&*far, &name(text), 10).expect("memory");
            assert_eq!(read.is_some(), text != "b/2");
        };
        thread::scope(|scope| {
            for one in ["a/1", "a/2", "a/3"] {
                scope.spawn(move || read(one));
            }
        });
        read("b/1");
        read("b/2");
        drop(far);
        let log = meter.into_log();
        assert_eq!((log.count("a/"), log.count("")), (3, 5));
        assert_eq!((log.bytes("a/"), log.bytes("")), (12, 16));
        assert_eq!((log.rounds_before("b/"), log.rounds()), (1, 3));
        assert_eq!(log.rounds_before("c/"), 3);
    }
}
