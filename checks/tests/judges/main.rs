//! Outside judges: programs that other people wrote look at what kiln writes
//! and at what it reads, and have to see the same.
//!
//! - [`tools`]: the judges, from the pinned seed of `project/`. None of them
//!   packed what it looks at, and none is of the machine.
//! - [`images`]: disks, initramfs and archives of one odd root file system.
//! - [`packages`]: Debian packages, unpacked by kiln and by dpkg.

mod images;
mod packages;
mod tools;
