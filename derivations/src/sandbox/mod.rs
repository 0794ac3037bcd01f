//! One build in a sandbox: the contract between a builder and everything else.
//!
//! A [`SandboxRequest`] is plain data; [`run`] starts bubblewrap for it and
//! gives an [`Outcome`] when no process of it is left. Reading order:
//!
//! - [`request`]: what is asked and answered.
//! - [`command`]: the contract as bubblewrap's options; [`seccomp`]: as system
//!   calls; [`rlimits`]: as resource limits. All three are pure.
//! - `supervise`: the life of one run, in numbered steps; `launch` and `spawn`:
//!   how it starts; `report` and `process`: how it is known; `log`: what it
//!   says; `limits`: how it is held; `terminal`: for `kiln shell`.
//! - `emulation`: programs of another architecture; `resident`: those of them that
//!   stay in memory.
//! - [`bwrap`]: which bubblewrap; [`probe`]: whether it works here, and what to
//!   do if not; [`facts`]: what is recorded of the host.
//! - [`variation`]: what `verify` changes of all that.
//!
//! What is not known here: the store, manifests, derivations, the graph, and
//! whether an output is any good. `docs/observables.md` lists what a builder
//! can see in here, `docs/threat-model.md` what it is kept from.

pub mod bwrap;
mod cancel;
pub mod command;
mod emulation;
mod error;
pub mod facts;
mod launch;
mod limits;
mod log;
pub mod probe;
mod process;
mod report;
pub mod request;
mod resident;
pub mod rlimits;
pub mod seccomp;
mod spawn;
mod supervise;
mod terminal;
pub mod variation;

pub use bwrap::Bwrap;
pub use cancel::CancelToken;
pub use emulation::NoEmulation;
pub use error::{BadRequest, SandboxError};
pub use limits::cgroup::available as cgroup_available;
pub use request::{
    Emulator, Exit, HostUser, Identity, InputName, Limit, LimitTier, Limits, Mount, MountPoint,
    Outcome, Resident, SandboxRequest, Terminal,
};
pub use supervise::{Output, run};
pub use variation::Variation;
