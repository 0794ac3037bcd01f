//! Sends what a cache lacks of some trees.
//!
//! 1. What the cache says of these trees and of some base trees is read, and
//!    whether the packs are there that this relies on.
//! 2. For each tree in turn (`sender.rs`): what of its files is nowhere is cut
//!    into chunks; the indexes are chosen that the tree will refer to
//!    (`choose.rs`); chunks that those lack are gathered into frames.
//! 3. Other threads pack the frames, one puts them into packs in their order
//!    (`packs.rs`), and some upload (`upload.rs`): a pack, then the indexes that
//!    are complete with it, then the descriptions of their trees.
//!
//! So whatever is read in a cache is there, and a push that is killed leaves at
//! most files that nothing names. What was remembered of it is found again, and
//! not sent a second time.
//!
//! Memory: a few packs and frames, and the indexes of what is pushed. Content is
//! read as a stream.

mod base;
mod choose;
mod packs;
mod sender;
mod upload;
mod walk;
mod watched;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::backend::Backend;
use super::error::CacheError;
use super::frame::Packer;
use super::index::Chunk;
use super::remembered::Remembered;
use super::transfer::Reader;
use super::watch::Watch;
use crate::hash::{ContentId, TreeId};
use crate::objects::Objects;

use packs::{Item, Raw};
use upload::Uploads;

/// What contents consist of.
type Surveyed = HashMap<ContentId, Vec<Chunk>>;

/// What a push did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pushed {
    /// Trees that the cache has now and did not have before.
    pub trees: u64,
    /// Packs that were written.
    pub packs: u64,
    /// Indexes that were written.
    pub indexes: u64,
    /// Bytes of all files that were written.
    pub bytes: u64,
}

/// What is pushed, and where from.
pub struct Push<'a> {
    /// Where to.
    pub backend: &'a dyn Backend,
    /// Where from.
    pub objects: &'a dyn Objects,
    /// Trees of which the cache is asked what it has; those that it does not
    /// have are passed over. Older versions of what is pushed do best.
    pub base: &'a [TreeId],
    /// Indexes that were read or written before.
    pub remembered: &'a Remembered,
    /// Told of bytes of content that the cache has when they are sent, unpacked;
    /// and of what is read of the cache.
    pub watch: &'a dyn Watch,
}

impl Push<'_> {
    /// Sends what the cache lacks of `trees`. On return it has all of them.
    pub fn run(&self, trees: &[TreeId]) -> Result<Pushed, CacheError> {
        let reader = Reader {
            backend: self.backend,
            watch: self.watch,
        };
        let base = base::load(&reader, trees, self.base, self.remembered)?;
        let mut todo = Vec::new();
        for tree in trees {
            if !base.complete.contains(tree) && !todo.contains(tree) {
                todo.push(*tree);
            }
        }
        if todo.is_empty() {
            return Ok(Pushed::default());
        }
        self.send(reader, base, &todo)
    }

    fn send(
        &self,
        reader: Reader<'_>,
        base: base::Base,
        trees: &[TreeId],
    ) -> Result<Pushed, CacheError> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let uploads = Uploads::new(self.backend, self.remembered, self.watch);
        let (raw, to_pack) = sync_channel::<(Raw, SyncSender<packs::Packed>)>(threads);
        let (items, in_order) = sync_channel::<Item>(2 * threads);
        let (batches, to_upload) = sync_channel(0);
        let (empty, buffers) = channel();
        let (to_pack, to_upload) = (Mutex::new(to_pack), Mutex::new(to_upload));
        let ledger = packs::Ledger::new(&base.catalogue);
        let mut sender = sender::Sender {
            reader,
            objects: self.objects,
            catalogue: base.catalogue,
            threads,
            frames: raw,
            items,
            raw: Raw::default(),
            buffers,
            uploads: &uploads,
            announced: HashSet::new(),
        };
        // Each step ends when the one before it has hung up, or the one after.
        let (cut, packed) = std::thread::scope(|scope| {
            for _ in 0..threads {
                let empty = empty.clone();
                let to_pack = &to_pack;
                scope.spawn(move || pack_frames(to_pack, &empty));
            }
            for _ in 0..upload::THREADS {
                scope.spawn(|| uploads.run(&to_upload));
            }
            let packing = scope.spawn(move || packs::Packing::new(ledger, batches).run(in_order));
            let cut = sender.run(trees);
            drop(sender);
            let packed = match packing.join() {
                Ok(packed) => packed,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            (cut, packed)
        });
        // An upload that failed is why the steps before it were cut short.
        let pushed = uploads.finish()?;
        packed?;
        cut?;
        Ok(pushed)
    }
}

/// Packs frames until there are no more; hands back the buffers.
fn pack_frames(queue: &Mutex<Receiver<(Raw, SyncSender<packs::Packed>)>>, empty: &Sender<Vec<u8>>) {
    let mut packer = Packer::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((raw, reply)) = next else {
            return;
        };
        let packed = match &mut packer {
            Ok(packer) => packer.pack(&raw.bytes),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        };
        let packed = packed.map(|bytes| (bytes, raw.bytes.len() as u32, raw.chunks));
        // Nobody waits for it any more if the push has failed.
        let _ = reply.send(packed);
        let _ = empty.send(raw.bytes);
    }
}
