//! Manifests from outside: what mistakes look like, what evaluation makes of a
//! manifest, what a lock holds.

mod manifest {
    mod evaluate;
    mod load;
    mod lock;
    mod mistakes;
    mod published;
    mod support;
    mod variants;
}
