//! Root file systems: what a tree alone cannot say, and the archive that says
//! it to the tools that pack images.
//!
//! - [`meta`]: owners, modes and device nodes as a text file of the output.
//! - [`packaged`]: what Debian packages say of those.
//! - [`rootfs`]: packages, files, devices and users put together.
//! - [`archive`]: a root file system as a tar, from which the packing tools
//!   take owners and nodes, since a sandbox can neither mknod nor chown.

pub mod archive;
pub mod meta;
pub mod packaged;
pub mod rootfs;
