//! The attackers: what runs inside, by name.
