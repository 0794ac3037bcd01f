//! Attacks, judged from outside.
