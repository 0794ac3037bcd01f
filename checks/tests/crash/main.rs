//! kiln is interrupted, killed, and run several times at once. The store is
//! sound each time, nothing that was reported is lost, nothing runs on, and the
//! next run goes on.

#[path = "../misfortune_support/mod.rs"]
mod support;

mod interrupted;
mod killed;
mod sandbox_killed;
mod several;
