//! Builders that use up too much.
