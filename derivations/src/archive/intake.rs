//! Contents on their way into the store, on other threads.
//!
//! The reading thread decompresses and hands over small files whole; workers
//! hash and write them. A large file is written by the reading thread itself,
//! piece by piece, so that nothing large is ever held. The queue is bounded:
//! at most [`QUEUE_FILES`] small files wait.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use kiln_store::hash::ContentId;
use kiln_store::objects::{ObjectError, Objects};

use super::draft::Slot;

const SMALL_FILE_BYTES: u64 = 256 << 10;
const QUEUE_FILES: usize = 256;
const MAX_WORKERS: usize = 4;

struct Job {
    slot: Slot,
    bytes: Vec<u8>,
    executable: bool,
}

type Written = (usize, ContentId, u64);

/// Takes contents in, and numbers them.
pub(super) struct Intake<'a> {
    objects: &'a dyn Objects,
    queue: SyncSender<Job>,
    own: Vec<Written>,
    next: usize,
}

impl Intake<'_> {
    /// Takes a file of `size` bytes from `content`, which must hold as many.
    pub(super) fn file(
        &mut self,
        content: &mut dyn Read,
        size: u64,
        executable: bool,
    ) -> Result<Slot, ObjectError> {
        let slot = Slot(self.next);
        self.next += 1;
        if size > SMALL_FILE_BYTES {
            let (id, size) = self.objects.put_file(content, executable)?;
            self.own.push((slot.0, id, size));
            return Ok(slot);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        content
            .read_to_end(&mut bytes)
            .map_err(|source| ObjectError::Io {
                what: "reading content".to_owned(),
                source,
            })?;
        let job = Job {
            slot,
            bytes,
            executable,
        };
        // Sending fails once all workers have failed, whose errors come first.
        let sent = self.queue.send(job).map_err(|_| ObjectError::Io {
            what: "writing content".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        });
        sent.map(|()| slot)
    }
}

/// Runs `read` with an intake. Returns what it returned, and all contents by
/// slot. A failure of the store comes before one of `read`.
pub(super) fn with_intake<T, E: From<ObjectError>>(
    objects: &dyn Objects,
    read: impl FnOnce(&mut Intake<'_>) -> Result<T, E>,
) -> Result<(T, Vec<(ContentId, u64)>), E> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let (queue, jobs) = sync_channel(QUEUE_FILES);
        // Shared by the workers alone: when the last one ends, sending fails.
        let jobs = Arc::new(Mutex::new(jobs));
        let workers: Vec<_> = (0..workers.min(MAX_WORKERS))
            .map(|_| {
                let jobs = Arc::clone(&jobs);
                scope.spawn(move || work(objects, &jobs))
            })
            .collect();
        drop(jobs);

        let mut intake = Intake {
            objects,
            queue,
            own: Vec::new(),
            next: 0,
        };
        let outcome = read(&mut intake);
        let Intake {
            queue,
            mut own,
            next,
            ..
        } = intake;
        drop(queue);
        for worker in workers {
            match worker.join() {
                Ok(written) => own.extend(written?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let value = outcome?;
        Ok((value, in_order(own, next)))
    })
}

fn work(objects: &dyn Objects, jobs: &Mutex<Receiver<Job>>) -> Result<Vec<Written>, ObjectError> {
    let mut written = Vec::new();
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return Ok(written) };
        let (id, size) = objects.put_file(&mut job.bytes.as_slice(), job.executable)?;
        written.push((job.slot.0, id, size));
    }
}

fn in_order(mut written: Vec<Written>, count: usize) -> Vec<(ContentId, u64)> {
    written.sort_unstable_by_key(|(slot, ..)| *slot);
    debug_assert_eq!(written.len(), count);
    written
        .into_iter()
        .map(|(_, id, size)| (id, size))
        .collect()
}
