//! The sandbox, seen from both sides.
//!
//! This test program is its own attacker: a copy of it lies in the build root
//! as `/bin/attacker`, and when it is started with `KILN_ATTACK` set it does
//! what [`attacker`] says for that name, prints what it saw and leaves, before
//! the test harness runs. The tests judge from outside.
//!
//! Everything runs as the user of the tests; as root, [`as_user`] runs all of
//! it once more as an ordinary user.

mod as_user;
mod attacker;
mod attacks;
mod contract;
mod emulated;
mod ending;
mod finding;
mod limits;
mod observables;
mod pinned;
mod shell;
mod support;
