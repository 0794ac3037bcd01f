//! A process at work in the store: its lease file, its temporary files.
//!
//! The lease file is flocked for as long as the process lives, so nobody has
//! to guess from process numbers who is alive. What a dead session left is
//! swept by the next open (`sweep.rs`). A session is started by the first thing
//! that writes or leases; whoever only looks up leaves no trace.

mod record;
mod sweep;
mod temporary;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::durable::GroupSync;
use crate::error::{During, StoreError};
use crate::hash::TreeId;
use crate::layout::{LEASES, Layout, TMP};
use crate::lock::{flock, is_linked};
use crate::sys;

pub(crate) use record::Stamp;
pub(crate) use sweep::{live, sweep};
pub(crate) use temporary::{Aside, Temporary};

/// This process's session.
#[derive(Debug)]
pub(crate) struct Session {
    layout: Arc<Layout>,
    sync: Arc<GroupSync>,
    id: String,
    lease: File,
    next_name: AtomicU64,
    /// Whether the lease says, durably, that this session writes objects.
    announced: Mutex<bool>,
    /// Whether objects were written since the last sync began.
    unsynced: AtomicBool,
    /// How often each tree is leased.
    leased: Mutex<HashMap<TreeId, usize>>,
}

impl Session {
    /// Starts a session. The caller keeps gc out meanwhile.
    pub(crate) fn start(layout: Arc<Layout>, sync: Arc<GroupSync>) -> Result<Self, StoreError> {
        let (id, lease) = create_lease(&layout)?;
        let tmp = format!("{TMP}/{id}");
        fs::mkdirat(layout.fd(), &tmp, Mode::RWXU).during("create", &tmp)?;
        Ok(Self {
            layout,
            sync,
            id,
            lease,
            next_name: AtomicU64::new(0),
            announced: Mutex::new(false),
            unsynced: AtomicBool::new(false),
            leased: Mutex::default(),
        })
    }

    /// The store this works in.
    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The name of this session's lease file.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A name that no other thread or process uses.
    pub(crate) fn unique_name(&self) -> String {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.id)
    }

    /// A path for something half-written, which is swept if we die.
    pub(crate) fn temporary_path(&self) -> String {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        format!("{TMP}/{}/{number}", self.id)
    }

    /// To be called before an object gets its name. Once a session, this says
    /// so in the lease, and makes it durable before any object can be.
    pub(crate) fn announce_write(&self) -> Result<(), StoreError> {
        let mut announced = self.announced.lock().unwrap_or_else(|e| e.into_inner());
        if !*announced {
            self.append("writes\n")?;
            self.lease.sync_data().during("sync", self.lease_path())?;
            *announced = true;
        }
        self.unsynced.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Returns when every object written so far, by anyone, is on the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let unsynced = self.unsynced.swap(false, Ordering::SeqCst);
        let synced = self.sync.sync(self.layout.fd());
        if synced.is_err() && unsynced {
            self.unsynced.store(true, Ordering::SeqCst);
        }
        synced.during("sync", self.layout.path())
    }

    /// Writes small files so that each is either durable, as every object
    /// written before is, or has not got its name. One sync serves all.
    pub(crate) fn write_durably(
        &self,
        directory: &str,
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let write = |(path, bytes): (String, Vec<u8>)| {
            let mut temporary = Temporary::create(self)?;
            temporary.write(&bytes)?;
            Ok((path, temporary))
        };
        let written = files.into_iter().map(write);
        let written: Vec<_> = written.collect::<Result<_, StoreError>>()?;
        self.sync()?;
        for (path, temporary) in written {
            temporary.replace(&path)?;
        }
        let directory_fd = self.layout.directory(directory)?;
        fs::fsync(directory_fd).during("sync", directory)
    }

    /// Tells gc that `tree` is used. The caller keeps gc out meanwhile.
    pub(crate) fn lease(&self, tree: TreeId) -> Result<(), StoreError> {
        let mut leased = self.leased.lock().unwrap_or_else(|e| e.into_inner());
        let count = leased.entry(tree).or_default();
        if *count == 0 {
            self.append(&format!("+ {tree}\n"))?;
        }
        *count += 1;
        Ok(())
    }

    /// Takes back one [`Self::lease`].
    pub(crate) fn release(&self, tree: &TreeId) {
        let mut leased = self.leased.lock().unwrap_or_else(|e| e.into_inner());
        let Some(count) = leased.get_mut(tree) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            leased.remove(tree);
            // If this is lost, gc keeps the tree until we end: the safe side.
            let _ = self.append(&format!("- {tree}\n"));
        }
    }

    fn append(&self, line: &str) -> Result<(), StoreError> {
        // One write to a file opened for appending is not torn.
        let written = (&self.lease).write_all(line.as_bytes());
        written.during("write", self.lease_path())
    }

    fn lease_path(&self) -> String {
        format!("{LEASES}/{}", self.id)
    }
}

impl Drop for Session {
    /// The lease goes last, and only once nothing depends on it any more:
    /// while it is there, the next open looks after what we left.
    fn drop(&mut self) {
        let removed = sys::remove_tree(self.layout.fd(), format!("{TMP}/{}", self.id).as_bytes());
        let synced = !self.unsynced.load(Ordering::SeqCst) || self.sync().is_ok();
        if removed.is_ok() && synced {
            let _ = fs::unlinkat(self.layout.fd(), self.lease_path(), AtFlags::empty());
        }
    }
}

/// Makes and locks a lease file of a new name, and writes its head.
fn create_lease(layout: &Layout) -> Result<(String, File), StoreError> {
    loop {
        let id = random_id().during("read", "/dev/urandom")?;
        let path = format!("{LEASES}/{id}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC;
        let file = fs::openat(layout.fd(), &path, flags, Mode::RUSR | Mode::WUSR);
        let file = match file {
            Err(Errno::EXIST) => continue,
            other => other.during("create", &path)?,
        };
        // Another open may have taken it for a dead session's before we had
        // the lock, and swept it.
        let locked = flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive);
        if locked.is_err() || !is_linked(file.as_fd()).during("stat", &path)? {
            continue;
        }
        let start = fs::fstat(&file).during("stat", &path)?;
        let head = record::head(layout.boot(), std::process::id(), Stamp::changed(&start));
        let mut file = File::from(file);
        file.write_all(head.as_bytes()).during("write", &path)?;
        return Ok((id, file));
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}
