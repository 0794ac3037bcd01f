//! Looks whether a cache is whole: that everything it holds is what it says, and
//! that everything is there that is named.
